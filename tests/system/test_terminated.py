"""A turn whose workflow an operator ended from outside: it is settled, and blocks nobody, whoever comes next."""

import pytest
from temporalio.client import Client

from tests.harness import System
from tests.system.stories import HELD, held, read, transcript

MODEL, GOOD = "test/model", "openai/gpt-4"
NEXT = [("Go on", "completed"), ("Cherry here", "completed")]
LINE = [("Begin", "failed"), ("Oh no", "failed")]


@pytest.mark.parametrize(
    ("strategy", "status", "left"),
    [
        ("enqueue", "failed", LINE),
        ("reject", "failed", LINE),
        ("interrupt", "cancelled", [("Begin", "cancelled")]),
        ("rollback", "cancelled", []),
    ],
)
async def test_a_terminated_turn_blocks_nobody(
    system: System, temporal: Client, strategy: str, status: str, left: list[tuple[str, str]]
) -> None:
    system.standin.script(MODEL, HELD)
    session = f"terminated {strategy}"
    begun = await system.interact("Begin", session_id=session, model=MODEL, fallback_models=[], background=True)
    await held(system)
    ended = begun.json()["interaction_id"]
    await temporal.get_workflow_handle(f"interaction-{ended}").terminate("an operator's reason")

    following = await system.interact("Go on", session_id=session, model=GOOD, multitask_strategy=strategy)
    assert (following.status_code, following.json()["status"]) == (200, "completed")
    assert (await read(system, ended))["status"] == status
    stored = await transcript(system, session)
    assert [message["status"] for message in stored] == [end for _, end in left + NEXT]
    for message, (beginning, _) in zip(stored, left + NEXT, strict=True):
        assert message["content"].startswith(beginning)
