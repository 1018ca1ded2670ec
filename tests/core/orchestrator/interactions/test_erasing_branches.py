"""Branches hold the words of what they left: what is erased of a conversation, and what stays."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.errors import SessionErasingError, UnknownResourceError, WorkflowServiceUnavailableError
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.interactions.attic import SECRET, Attic
from tests.core.orchestrator.interactions.talking import Talk, session_of


@pytest.fixture
def attic(database: Database, store: InteractionStore, ledger: AttemptLedger, place: Path | str) -> Attic:
    return Attic(database, store, ledger, place)


@pytest.fixture
async def client(database: Database) -> Talk:
    """A conversation `c` with a branch `c~2`, and that with a branch `c~3`."""
    client = Talk(database)
    await client.turn(f"u: {SECRET}", reply="1")
    await client.turn(f"u: {SECRET}", "a: 1", "u: Two", reply="2")
    await client.turn(f"u: {SECRET}", "a: 1", "u: Other", reply="o")
    await client.turn(f"u: {SECRET}", "a: 1", "u: Other", "a: o", "u: Three", reply="3")
    await client.turn(f"u: {SECRET}", "a: 1", "u: Other", "a: o", "u: Another", reply="a")
    assert sorted(await client.sessions()) == ["c", "c~2", "c~3"]
    return client


async def test_a_conversation_goes_with_all_its_branches(attic: Attic, client: Talk) -> None:
    await client.turn("u: else", reply="e", session_id="d")
    await attic.erasure.erase_session("c")
    assert list(await client.sessions()) == ["d"]
    assert await attic.holds(SECRET) == []


async def test_a_branch_goes_with_those_that_grew_from_it_and_leaves_the_rest(attic: Attic, client: Talk) -> None:
    before = await client.transcript("c")
    await attic.erasure.erase_session("c~2")
    assert list(await client.sessions()) == ["c"]
    assert await client.transcript("c") == before
    again = await client.say(f"u: {SECRET}", "a: 1", "u: Other")
    assert session_of(again) == "c~2"


async def test_a_user_goes_with_branches_and_with_what_had_no_session(attic: Attic, client: Talk) -> None:
    alone = await client.turn(f"u: {SECRET}", "a: 1", "u: Two", reply=SECRET, session_id=None, echo={"a": SECRET})
    followed = await client.turn(f"u: {SECRET}", reply=SECRET, session_id=None)
    await client.turn("u: On", reply=SECRET, session_id=None, answers=followed.request.interaction_id)
    await client.turn("u: else", reply="e", session_id="d", asked={"user_id": "eve"})
    await attic.erasure.erase_user("ada")
    assert await client.sessions() == {}
    assert await attic.holds(SECRET) == []
    assert list(await client.sessions("eve")) == ["d"]
    with pytest.raises(UnknownResourceError):
        await client.store.view(alone.request.interaction_id)


async def test_a_branch_that_begins_while_its_conversation_is_erased_goes_too_or_comes_after(
    attic: Attic, client: Talk
) -> None:
    async def keep_branching() -> None:
        for number in range(5):
            with suppress(SessionErasingError):
                await client.say(f"u: {SECRET}", "a: 1", f"u: branch {number}")

    await asyncio.gather(keep_branching(), attic.erasure.erase_session("c"))
    for session_id, session in (await client.sessions()).items():
        assert session.conversation_id is None or session.conversation_id in await client.sessions()
        assert (await client.transcript(session_id))[:2] == [f"u: {SECRET}", "a: 1"]


async def test_an_erasure_that_breaks_off_leaves_whole_branches_and_is_taken_up_again(
    attic: Attic, client: Talk
) -> None:
    attic.runs.refuse = 2  # the newest branch has one run of each kind
    with pytest.raises(WorkflowServiceUnavailableError):
        await attic.erasure.erase_session("c")
    left = await client.sessions()
    assert "c" in left
    for session_id in left:
        assert (await client.transcript(session_id))[:2] == [f"u: {SECRET}", "a: 1"]
    attic.runs.refuse = 0
    await attic.erasure.erase_session("c")
    assert await attic.holds(SECRET) == []
