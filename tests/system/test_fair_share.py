"""A user who floods the service waits behind its own messages, and keeps nobody else waiting."""

import asyncio

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client

from standin.reply import text_of
from tests.harness import System, until
from tests.system.stories import HELD, eventually

FLOOD = 30
AT_A_TIME = 2
MODEL = "openai/gpt-4"
WAITS = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED


async def test_who_floods_the_service_keeps_nobody_else_waiting(own_system: System, temporal: Client) -> None:
    await own_system.start(WORKER_CONCURRENT_CALLS=str(AT_A_TIME))
    own_system.standin.script(MODEL, *[HELD] * (FLOOD + 2))
    sent: list[str] = await asyncio.gather(*(send(own_system, f"flood {number}", "ada") for number in range(FLOOD)))

    async def all_in_line() -> bool:
        waiting = sum(await asyncio.gather(*(waits(temporal, workflow_id) for workflow_id in sent)))
        return waiting == len(sent) - AT_A_TIME

    await eventually(all_in_line)
    sent += [await send(own_system, "one more", "ada"), await send(own_system, "mine", "eve")]
    await eventually(all_in_line)
    served = await serve(own_system)

    assert sorted(served) == sorted([f"flood {number}" for number in range(FLOOD)] + ["one more", "mine"])
    # Two calls were under way, and the worker may have asked for the next two before eve came.
    assert served.index("mine") <= 3 * AT_A_TIME, served
    # So it would be for eve without a share of her own: sent at the same moment, this one waits for nearly all others.
    assert served.index("one more") >= FLOOD - 2 * AT_A_TIME, served


async def send(system: System, message: str, user_id: str) -> str:
    """Send a message in a session of its own and return its workflow."""
    response = await system.interact(
        message, user_id=user_id, session_id=f"session {message}", model=MODEL, background=True
    )
    assert response.status_code == 202, response.text
    workflow_id: str = response.json()["workflow_id"]
    return workflow_id


async def waits(temporal: Client, workflow_id: str) -> bool:
    """Tell whether a call waits for a worker."""
    described = await temporal.get_workflow_handle(workflow_id).describe()
    return [activity.state for activity in described.raw_description.pending_activities] == [WAITS]


async def serve(system: System) -> list[str]:
    """Let the calls end as they come, two by two, and return in which order they came."""
    ledger = system.standin.ledger
    for served in range(0, FLOOD + 2, AT_A_TIME):
        await until(lambda: len(ledger.calls) == served + AT_A_TIME and all(c.held for c in ledger.calls[served:]))  # noqa: B023
        system.standin.release()
    return [text_of(call.messages[-1]) for call in ledger.calls]
