"""Writers that run side by side on PostgreSQL, in two processes as far as the database knows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from core.orchestrator.calls.cancelling import Cancellations
from core.orchestrator.calls.ledger import AttemptLedger, BegunCall
from core.orchestrator.calls.texts import FinishedText
from core.orchestrator.contracts import CompletionRequest, InteractionStatus
from core.orchestrator.errors import StorageUnavailableError, UnknownResourceError
from core.orchestrator.events import EventBus, TextDelta
from core.orchestrator.interactions.erasing import Erasure
from core.orchestrator.interactions.opening import IdempotencyKey, Opening
from core.orchestrator.interactions.store import Ending, InteractionStore
from core.orchestrator.storage.database import Database, open_database
from core.orchestrator.storage.locks import hold
from core.orchestrator.storage.tables import attempts, interactions, messages, reply_events
from tests.core.orchestrator.domain import (
    CALL,
    NOON,
    PROMPT,
    QUICK,
    FakeRuns,
    begun,
    completion,
    new_id,
    opened,
    opened_watched,
    request,
)
from tests.core.orchestrator.vendors import only_postgresql

pytestmark = only_postgresql
DONE = Ending(InteractionStatus.COMPLETED, reply="Hi")


PATIENCE = timedelta(minutes=1)
"""Nobody is to be refused because a machine is busy."""


@pytest.fixture
async def database(place: str) -> AsyncIterator[Database]:
    database = open_database(place, wait=PATIENCE)
    yield database
    await database.close()


@pytest.fixture
async def elsewhere(place: str) -> AsyncIterator[Database]:
    database = open_database(place, wait=PATIENCE)
    yield database
    await database.close()


@pytest.fixture
def stores(database: Database, elsewhere: Database) -> list[InteractionStore]:
    return [InteractionStore(database), InteractionStore(elsewhere)]


async def numbers(database: Database, interaction_id: str) -> list[int]:
    query = select(reply_events.c.sequence).where(reply_events.c.interaction_id == interaction_id)
    async with database.read() as connection:
        return list(await connection.scalars(query.order_by(reply_events.c.sequence)))


async def test_a_hundred_turns_from_two_processes_have_numbers_without_gap_or_double(
    database: Database, stores: list[InteractionStore]
) -> None:
    await asyncio.gather(*(stores[n % 2].open_turn(request(session_id="shared")) for n in range(100)))
    async with database.read() as connection:
        turns = await connection.scalars(select(interactions.c.turn).order_by(interactions.c.turn))
        assert list(turns) == list(range(1, 101))
        said = await connection.scalars(select(messages.c.sequence).order_by(messages.c.sequence))
        assert list(said) == list(range(1, 200, 2))


@pytest.mark.parametrize("kind", ["turn", "completion"])
async def test_of_fifty_identical_requests_to_two_processes_one_is_opened(
    database: Database, stores: list[InteractionStore], kind: str
) -> None:
    opening = Opening(key=IdempotencyKey("key", "fingerprint"))

    async def open_one(store: InteractionStore) -> str:
        if kind == "completion":
            bare = CompletionRequest(interaction_id=new_id(), user_id="ada")
            return (await store.open_completion(bare, PROMPT, opening)).request.interaction_id
        # Without a session in the request, each has one of its own: nothing but the key brings them together.
        return (await store.open_turn(request(session_id=new_id()), opening)).request.interaction_id

    assert len(set(await asyncio.gather(*(open_one(stores[n % 2]) for n in range(50))))) == 1
    async with database.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(interactions)) == 1


async def test_one_interaction_that_two_processes_open_is_opened_once(stores: list[InteractionStore]) -> None:
    asked = [request(session_id=f"s{n % 7}") for n in range(20)]
    await asyncio.gather(*(store.open_turn(one) for one in asked for store in stores))


async def test_what_a_call_says_ends_with_its_interaction_and_no_number_comes_twice(
    database: Database, elsewhere: Database, stores: list[InteractionStore]
) -> None:
    ledgers = [AttemptLedger(database), AttemptLedger(elsewhere)]
    for _ in range(5):
        interaction_id = await opened_watched(stores[0], session_id=new_id())
        ordinal = await begun(ledgers[0], interaction_id)
        said = [TextDelta(interaction_id=interaction_id, attempt=ordinal, delta=f"{n} ") for n in range(12)]
        half = asyncio.gather(*(ledgers[n % 2].show(delta) for n, delta in enumerate(said)))
        ended, shown = await asyncio.gather(stores[1].end(interaction_id, DONE), half)
        found = await numbers(database, interaction_id)
        assert len(found) == len(set(found))
        assert found[:-1] == list(range(1, len(found)))
        assert found[-1] == len(found) + 2, "the end is the last event"
        assert ended.first
        assert not await ledgers[0].show(said[0])
        assert shown.count(True) <= len(found)


async def test_an_answer_is_kept_or_a_newer_call_begins_but_never_both(
    database: Database, elsewhere: Database, stores: list[InteractionStore]
) -> None:
    ours, theirs = AttemptLedger(database), AttemptLedger(elsewhere)
    for _ in range(8):
        interaction_id = await opened(stores[0], session_id=new_id())
        ordinal = await begun(ours, interaction_id)
        kept, newer = await asyncio.gather(
            ours.succeed(interaction_id, CALL.place, ordinal, completion(), QUICK),
            theirs.begin(interaction_id, CALL, NOON),
        )
        assert isinstance(newer, FinishedText if kept else BegunCall)


async def test_of_two_endings_the_first_stays(database: Database, stores: list[InteractionStore]) -> None:
    for _ in range(5):
        interaction_id = await opened_watched(stores[0], session_id=new_id())
        ends = await asyncio.gather(*(store.end(interaction_id, DONE) for store in stores))
        assert sorted(end.first for end in ends) == [False, True]
        assert len(set(await numbers(database, interaction_id))) == len(await numbers(database, interaction_id))


async def test_a_turn_that_is_told_to_wait_is_signalled_when_the_one_before_it_ends(
    stores: list[InteractionStore],
) -> None:
    for _ in range(8):
        session_id = new_id()
        first = await opened(stores[0], session_id=session_id)
        await stores[0].take_place(first, 0)
        second = request(session_id=session_id)

        async def come_second(second=second) -> bool:  # type: ignore[no-untyped-def]
            await stores[1].open_turn(second)
            return (await stores[1].take_place(second.interaction_id, 0)).waiting_on is not None

        ended, waits = await asyncio.gather(stores[0].end(first, DONE), come_second())
        assert not waits or ended.following == second.interaction_id


async def test_of_marks_and_ends_none_is_lost(database: Database, stores: list[InteractionStore]) -> None:
    for _ in range(5):
        interaction_id = await opened(stores[0], session_id=new_id())
        await stores[0].save_prompt(interaction_id, PROMPT, {})
        await asyncio.gather(Cancellations(database).mark(interaction_id), stores[1].cancel(interaction_id))
        assert await stores[0].is_cancelling(interaction_id)
        found = await numbers(database, interaction_id)
        assert len(found) == len(set(found)) == 1


async def test_a_session_is_erased_whole_while_its_steps_go_on(
    database: Database, elsewhere: Database, stores: list[InteractionStore]
) -> None:
    ledger = AttemptLedger(elsewhere)
    erasure = Erasure(database, stores[0], FakeRuns(), EventBus())

    async def step(what: Awaitable[object]) -> None:
        with suppress(UnknownResourceError, StorageUnavailableError):
            await what

    for _ in range(3):
        session_id = new_id()
        ids = [await opened_watched(stores[0], session_id=session_id) for _ in range(3)]
        ordinals = [await begun(ledger, one) for one in ids]
        steps: Sequence[Awaitable[object]] = [
            *(stores[1].save_prompt(one, PROMPT, {}) for one in ids),
            *(stores[1].end(one, DONE) for one in ids),
            *(
                ledger.show(TextDelta(interaction_id=one, attempt=n, delta="Hi"))
                for one, n in zip(ids, ordinals, strict=True)
            ),
            *(ledger.succeed(one, 0, n, completion(), QUICK) for one, n in zip(ids, ordinals, strict=True)),
        ]
        await asyncio.gather(erasure.erase_session(session_id), *map(step, steps))
        async with database.read() as connection:
            for table in (interactions, messages, reply_events):
                assert await connection.scalar(select(func.count()).select_from(table)) == 0, table.name
            running = select(func.count()).select_from(attempts).where(attempts.c.status.is_(None))
            assert await connection.scalar(running) == 0


async def test_who_holds_a_name_keeps_others_waiting_until_the_commit(database: Database, elsewhere: Database) -> None:
    order: list[str] = []
    holds = asyncio.Event()

    async def second() -> None:
        await holds.wait()
        async with elsewhere.write() as connection:
            await hold(connection, "other", "name")
            order.append("second")

    waiting = asyncio.create_task(second())
    async with database.write() as connection:
        await hold(connection, "name")
        holds.set()
        async with elsewhere.write() as bystander:
            await hold(bystander, "another name")
        order.append("first")
    await waiting
    assert order == ["first", "second"]


async def test_two_who_wait_in_a_circle_are_a_database_that_did_not_answer(
    database: Database, elsewhere: Database
) -> None:
    met = asyncio.Barrier(2)

    async def cross(one: Database, names: Sequence[str]) -> None:
        async with one.write() as connection:
            await hold(connection, names[0])
            await met.wait()
            await hold(connection, names[1])

    outcomes = await asyncio.gather(cross(database, "ab"), cross(elsewhere, "ba"), return_exceptions=True)
    [error] = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(error, StorageUnavailableError)
    assert "deadlock" in str(error)


async def test_a_writer_of_this_process_waits_in_line_without_a_connection(place: str) -> None:
    database = open_database(place, connections=1, wait=PATIENCE)
    try:
        async with asyncio.timeout(5):
            await asyncio.gather(*(InteractionStore(database).open_turn(request(str(n))) for n in range(20)))
        async with database.read() as connection:
            said = await connection.scalars(select(messages.c.content).order_by(messages.c.sequence))
            assert list(said) == [str(n) for n in range(20)]
    finally:
        await database.close()
