"""What is erased is gone wherever it stood, and no step under way brings it back; what was used is counted on."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from core.orchestrator.calls.cancelling import Cancellations
from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.contracts import (
    CompletionRequest,
    InteractionError,
    InteractionStatus,
    MultitaskStrategy,
    StoreResults,
)
from core.orchestrator.errors import (
    ErrorType,
    LLMProviderServiceError,
    SessionErasingError,
    SessionOwnershipError,
    UnknownResourceError,
    WorkflowServiceUnavailableError,
)
from core.orchestrator.events import InteractionCancelled, TextDelta
from core.orchestrator.interactions.opening import IdempotencyKey, Opening
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.memory.conversations import Conversations
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import attempts, erased_interactions, interactions
from core.orchestrator.usage import GroupBy
from tests.core.orchestrator.domain import (
    CALL,
    NOON,
    PROMPT,
    QUICK,
    begun,
    completion,
    new_id,
    opened,
    request,
    talked,
)
from tests.core.orchestrator.interactions.attic import SECRET, Attic
from tests.core.orchestrator.vendors import only_sqlite


@pytest.fixture
def attic(database: Database, store: InteractionStore, ledger: AttemptLedger, place: Path | str) -> Attic:
    return Attic(database, store, ledger, place)


# --- what goes, and what stays ---


async def test_a_session_goes_with_all_that_was_said_in_it(attic: Attic) -> None:
    erased = [await attic.turn(session_id="s1"), await attic.turn(session_id="s1")]
    kept = await talked(attic.store, attic.ledger, "something else", "indeed", session_id="s2")
    assert set(await attic.holds(SECRET)) > {
        "messages",
        "prompts",
        "completions",
        "partials",
        "reply_events",
        "attempts",
    }
    await attic.erasure.erase_session("s1")
    assert await attic.holds(SECRET) == []
    assert await attic.holds("s1") == []
    for interaction_id in erased:
        with pytest.raises(UnknownResourceError):
            await attic.store.view(interaction_id)
    assert (await attic.store.view(kept)).message == "indeed"
    assert sorted(attic.runs.deleted) == sorted(
        f"{kind}-{interaction_id}" for kind in ("interaction", "reconcile") for interaction_id in erased
    )


@only_sqlite
@pytest.mark.parametrize("what", ["session", "user"])
async def test_no_byte_of_what_was_said_is_left_in_a_file(attic: Attic, what: str) -> None:
    with closing(sqlite3.connect(str(attic.place))) as idle:  # keeps the files as they are, as another process does
        await attic.turn(session_id="s1")
        idle.execute("SELECT * FROM messages").fetchall()
        assert "orchestrator.db-wal" in await attic.holds(SECRET)
        await (attic.erasure.erase_session("s1") if what == "session" else attic.erasure.erase_user("ada"))
        assert await attic.holds(SECRET) == []


async def test_a_user_goes_with_sessions_completions_and_name(attic: Attic) -> None:
    for session_id in ("s1", "s2"):
        await attic.turn(session_id=session_id, user_id="rapunzel")
    bare = CompletionRequest(interaction_id=new_id(), user_id="rapunzel")
    key = Opening(key=IdempotencyKey("key-of-rapunzel", "fingerprint"))
    await attic.store.open_completion(bare, PROMPT, key)
    await attic.turn("hello", session_id="bob's", user_id="bob")
    await attic.erasure.erase_user("rapunzel")
    assert await attic.holds("rapunzel") == []
    assert await attic.count() == 1
    assert len(attic.runs.deleted) == 6
    assert await Conversations(attic.database).sessions("bob", after=None, limit=10)


@pytest.mark.parametrize("what", ["session", "user"])
async def test_what_was_used_is_counted_on(attic: Attic, what: str) -> None:
    for session_id, user_id in (("s1", "ada"), ("s2", "ada"), ("s3", "bob")):
        await attic.turn(session_id=session_id, user_id=user_id)
    groups = [await attic.usage(group) for group in (GroupBy.MODEL, GroupBy.PERSONA, GroupBy.DAY)]
    users = (await attic.usage(GroupBy.USER)).items
    if what == "session":
        await attic.erasure.erase_session("s1")
        names = {"ada": "ada", "bob": "bob"}
    else:
        await attic.erasure.erase_user("ada")
        names = {"ada": None, "bob": "bob"}
    assert [await attic.usage(group) for group in (GroupBy.MODEL, GroupBy.PERSONA, GroupBy.DAY)] == groups
    expected = [one.model_copy(update={"key": names[one.key or ""]}) for one in users]
    assert (await attic.usage(GroupBy.USER)).items == expected


async def test_the_numbers_of_a_session_that_was_erased_before_are_nobodys_with_their_user(attic: Attic) -> None:
    await attic.turn(session_id="s1")
    await attic.erasure.erase_session("s1")
    assert [one.key for one in (await attic.usage(GroupBy.USER)).items] == ["ada"]
    await attic.erasure.erase_user("ada")
    assert [one.key for one in (await attic.usage(GroupBy.USER)).items] == [None]
    with pytest.raises(UnknownResourceError, match="ada"):
        await attic.erasure.erase_user("ada")


async def test_what_is_erased_is_its_owners_and_there(attic: Attic) -> None:
    await attic.turn(session_id="s1")
    with pytest.raises(SessionOwnershipError):
        await attic.erasure.erase_session("s1", "eve")
    with pytest.raises(UnknownResourceError):
        await attic.erasure.erase_session("s2", "ada")
    with pytest.raises(UnknownResourceError):
        await attic.erasure.erase_user("eve")
    assert await attic.count() == 1
    await attic.erasure.erase_session("s1", "ada")
    with pytest.raises(UnknownResourceError):
        await attic.erasure.erase_session("s1", "ada")


async def test_a_key_that_was_erased_is_free_again(attic: Attic) -> None:
    opening = Opening(key=IdempotencyKey("key", "fingerprint"))
    await attic.store.open_turn(request(), opening)
    await attic.erasure.erase_session("s1")
    assert not (await attic.store.open_turn(request(), opening)).replayed


async def test_many_completions_go_in_several_transactions(attic: Attic) -> None:
    one = {"kind": "direct", "user_id": "ada", "status": "completed", "request": {}, "created_at": NOON}
    async with attic.database.write() as connection:
        rows = [one | {"interaction_id": new_id(), "ended_at": NOON} for _ in range(250)]
        await connection.execute(insert(interactions), rows)
    await attic.erasure.erase_user("ada")
    assert await attic.count() == 0


# --- what goes on meanwhile ---


async def test_what_has_not_ended_is_ended_first_and_told(attic: Attic) -> None:
    running, queued = await opened(attic.store), await opened(attic.store)
    await attic.store.take_place(running, 0)
    ordinal = await begun(attic.ledger, running)

    async def stop() -> None:
        """The call, woken by the mark, writes down what it has used."""
        await cancellation.wanted()
        error = LLMProviderServiceError("cancelled", error_type=ErrorType.CANCELLED, may_be_billed=True)
        assert await attic.ledger.fail(running, ordinal, error, QUICK, estimated_cost_usd=0.5)

    states: list[int] = []

    async def look() -> None:
        states.append(await attic.count(InteractionStatus.CANCELLED))

    attic.runs.meanwhile.append(look)
    async with Cancellations(attic.database).watch(running) as cancellation:
        await asyncio.gather(attic.erasure_with(farewell=timedelta(seconds=30)).erase_session("s1"), stop())
    assert states == [2]
    assert {event.interaction_id for event in attic.events} == {running, queued}
    assert all(isinstance(event, InteractionCancelled) for event in attic.events)
    assert (await attic.usage()).total.estimated_cost_usd == 0.5


async def test_a_call_whose_worker_is_lost_is_waited_for_a_moment_only(attic: Attic) -> None:
    interaction_id = await opened(attic.store)
    await begun(attic.ledger, interaction_id)
    await attic.erasure.erase_user("ada")
    assert await attic.count() == 0
    assert (await attic.usage()).total.unknown_cost_calls == 1


async def test_no_step_under_way_brings_an_erased_turn_back(attic: Attic) -> None:
    asked = request(SECRET)
    await attic.store.open_turn(asked)
    interaction_id = asked.interaction_id
    ordinal = await begun(attic.ledger, interaction_id)
    await attic.erasure.erase_session("s1")
    with pytest.raises(UnknownResourceError):
        await attic.store.open_turn(asked, Opening(watched=True))
    with pytest.raises(UnknownResourceError):
        await attic.store.take_place(interaction_id, 0)
    with pytest.raises(UnknownResourceError):
        await attic.store.save_prompt(interaction_id, PROMPT, {})
    with pytest.raises(UnknownResourceError):
        await attic.ledger.begin(interaction_id, CALL, NOON)
    assert not await attic.ledger.show(TextDelta(interaction_id=interaction_id, attempt=ordinal, delta=SECRET))
    assert not await attic.ledger.succeed(interaction_id, 0, ordinal, completion(SECRET), QUICK)
    assert not await attic.ledger.fail(interaction_id, ordinal, LLMProviderServiceError(SECRET), QUICK, partial=SECRET)
    await attic.ledger.identify(interaction_id, ordinal, SECRET)
    assert await attic.holds(SECRET) == []


async def test_a_run_that_began_while_its_turn_was_erased_is_deleted_when_it_ends(attic: Attic) -> None:
    asked = request()
    await attic.store.open_turn(asked)
    await attic.erasure.erase_session("s1")
    attic.runs.deleted.clear()
    error = InteractionError(type=ErrorType.UNAVAILABLE, detail="unknown interaction")
    with pytest.raises(UnknownResourceError):
        await attic.results.keep(StoreResults(interaction_id=asked.interaction_id, error=error))
    assert attic.runs.deleted == [f"interaction-{asked.interaction_id}"]
    with pytest.raises(UnknownResourceError):  # a restored backup knows nothing of it: its history is all there is
        await attic.results.keep(StoreResults(interaction_id=new_id(), error=error))
    assert len(attic.runs.deleted) == 1


async def test_a_bill_that_is_looked_for_after_all_is_looked_for_in_vain(attic: Attic) -> None:
    interaction_id = await attic.turn()
    await attic.erasure.erase_session("s1")
    attic.runs.deleted.clear()
    assert not (await attic.reconciliation.look(interaction_id)).again
    assert attic.runs.deleted == [f"reconcile-{interaction_id}"]
    await attic.reconciliation.begin_overdue()
    assert attic.runs.reconciled == []


async def test_a_session_that_is_being_erased_takes_no_turn_and_is_new_afterwards(attic: Attic) -> None:
    opening = Opening(key=IdempotencyKey("key", "fingerprint"))
    first = await attic.store.open_turn(request(SECRET), opening)
    met: list[object] = []

    async def write_on() -> None:
        for strategy in MultitaskStrategy:
            with pytest.raises(SessionErasingError, match="'s1' is being erased"):
                await attic.store.open_turn(request("late"), Opening(strategy=strategy))
        with pytest.raises(SessionOwnershipError):
            await attic.store.open_turn(request("late", user_id="eve"))
        met.append(await attic.store.open_turn(request(SECRET), opening))

    attic.runs.meanwhile.append(write_on)
    await attic.erasure.erase_session("s1")
    assert met == [replace(first, status=InteractionStatus.CANCELLED, replayed=True)]  # found by its key
    assert await attic.count() == 0
    anew = await attic.store.open_turn(request("Hello again"), opening)
    assert not anew.replayed
    [session] = await Conversations(attic.database).sessions("ada", after=None, limit=10)
    assert (session.session_id, session.turns) == ("s1", 1)
    assert (await attic.store.take_place(anew.request.interaction_id, 1000)).messages == 0


async def test_an_erasure_ends_while_others_keep_writing(attic: Attic) -> None:
    await attic.turn()
    refused = asyncio.Event()

    async def write_on() -> None:
        while True:
            try:
                await opened(attic.store, "and another")
            except SessionErasingError:
                refused.set()

    writers = [asyncio.create_task(write_on()) for _ in range(4)]
    try:
        attic.runs.meanwhile.append(refused.wait)
        await asyncio.wait_for(attic.erasure.erase_session("s1"), 20)
    finally:
        for writer in writers:
            writer.cancel()
        await asyncio.wait(writers)


async def test_what_a_user_sends_while_they_are_erased_stays(attic: Attic) -> None:
    for session_id in ("s1", "s2"):
        await attic.turn(session_id=session_id)
    bare = CompletionRequest(interaction_id=new_id(), user_id="ada")

    async def write_on() -> None:
        with pytest.raises(SessionErasingError):
            await opened(attic.store, "late", session_id="s2")
        await talked(attic.store, attic.ledger, "late", "indeed", session_id="s3")
        await attic.store.open_completion(bare, PROMPT)

    attic.runs.meanwhile.append(write_on)
    await attic.erasure.erase_user("ada")
    assert await attic.holds(SECRET) == []
    [session] = await Conversations(attic.database).sessions("ada", after=None, limit=10)
    assert (session.session_id, session.turns) == ("s3", 1)
    assert (await attic.store.view(bare.interaction_id)).status is InteractionStatus.QUEUED
    assert {one.key: one.calls for one in (await attic.usage(GroupBy.USER)).items} == {None: 4, "ada": 1}


async def test_no_turn_is_erased_before_it_has_ended(attic: Attic) -> None:
    first, second = await opened(attic.store), await opened(attic.store)
    await attic.erasure.erase_session("s1")
    assert [event.interaction_id for event in attic.events] == [first, second]


async def test_a_session_that_is_opened_anew_outlives_an_erasure_of_the_one_before(attic: Attic) -> None:
    await attic.turn()

    async def erase_and_open() -> None:
        await attic.erasure.erase_session("s1")
        await opened(attic.store, "anew")

    attic.runs.meanwhile.append(erase_and_open)
    await attic.erasure.erase_session("s1")
    assert await attic.count(InteractionStatus.QUEUED) == 1


async def test_a_session_that_somebody_else_opens_under_the_same_name_is_left_alone(attic: Attic) -> None:
    await attic.turn()

    async def erase_and_open() -> None:
        await attic.erasure.erase_session("s1")
        await opened(attic.store, "mine", user_id="bob")

    attic.runs.meanwhile.append(erase_and_open)
    await attic.erasure.erase_session("s1")
    [session] = await Conversations(attic.database).sessions("bob", after=None, limit=10)
    assert session.turns == 1
    assert await attic.count() == 1


async def test_erasing_twice_at_once_erases_once(attic: Attic) -> None:
    for session_id in ("s1", "s2", "s3"):
        await attic.turn(session_id=session_id)
        await opened(attic.store, session_id=session_id)
    await asyncio.gather(*(attic.erasure.erase_user("ada") for _ in range(4)))
    assert await attic.count() == 0
    async with attic.database.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(erased_interactions)) == 6
        assert await connection.scalar(select(func.count(attempts.c.user_id))) == 0


# --- without Temporal ---


async def test_an_erasure_that_breaks_off_leaves_whole_sessions_and_is_taken_up_again(attic: Attic) -> None:
    for session_id in ("s1", "s2", "s3"):
        await attic.turn(session_id=session_id)
        await opened(attic.store, session_id=session_id)
    attic.runs.refuse = 5
    with pytest.raises(WorkflowServiceUnavailableError):
        await attic.erasure.erase_user("ada")
    left = await Conversations(attic.database).sessions("ada", after=None, limit=10)
    assert 0 < len(left) < 3
    for session in left:
        spoken = await Conversations(attic.database).transcript(session.session_id, user_id="ada", after=0, limit=10)
        assert [message.sequence for message in spoken] == [1, 2, 3]
        with pytest.raises(SessionErasingError):
            await opened(attic.store, session_id=session.session_id)
    assert await attic.count(InteractionStatus.QUEUED) == 0
    attic.runs.refuse = 0
    await attic.erasure.erase_user("ada")
    assert await attic.count() == 0


async def test_readers_of_an_erased_reply_are_woken(attic: Attic) -> None:
    interaction_id = await attic.turn()
    async with attic.database.changes.watch(f"reply:{interaction_id}") as watch:
        await attic.erasure.erase_session("s1")
        assert await watch.changed(5)
