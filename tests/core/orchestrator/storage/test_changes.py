"""Who waits for a write is woken by its commit, whichever process commits it."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from core.orchestrator.events import TextDelta
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.replies.log import append, append_wake
from core.orchestrator.storage.changes import cancel_topic, reply_topic
from core.orchestrator.storage.database import Database, open_database
from tests.core.orchestrator.domain import opened
from tests.core.orchestrator.replies.events import delta

SOON = 5


@pytest.fixture
async def elsewhere(place: Path | str) -> AsyncIterator[Database]:
    """The same database, opened a second time: to it that is what another process is."""
    database = open_database(place)
    yield database
    await database.close()


async def append_both(database: Database, first: TextDelta, second: TextDelta) -> None:
    async with database.write() as connection:
        await append(connection, first)
        await append(connection, second)


async def test_a_commit_of_this_process_wakes_those_who_wait_for_it_and_nobody_else(
    database: Database, store: InteractionStore
) -> None:
    mine, other = await opened(store), await opened(store)
    async with (
        database.changes.watch(reply_topic(mine)) as watch,
        database.changes.watch(reply_topic(other)) as bystander,
        database.changes.watch(cancel_topic(mine)) as call,
    ):
        async with database.write() as connection:
            await append(connection, delta(mine, "Hi"))
            assert not await watch.changed(0)
        assert await watch.changed(0)
        assert not await watch.changed(0)
        assert not await bystander.changed(0)
        assert not await call.changed(0)


async def test_a_transaction_that_fails_wakes_nobody_then_or_later(database: Database, store: InteractionStore) -> None:
    interaction_id = await opened(store)
    async with database.changes.watch(reply_topic(interaction_id)) as watch:
        with pytest.raises(IntegrityError):
            await append_both(database, delta(interaction_id, "Hi"), delta("nobody", "Hi"))
        await opened(store, session_id="another")
        assert not await watch.changed(0)


async def test_a_commit_of_another_process_wakes_those_who_wait_for_it_and_nobody_else(
    database: Database, elsewhere: Database, store: InteractionStore
) -> None:
    mine, other = await opened(store), await opened(store)
    async with (
        database.changes.watch(reply_topic(mine)) as watch,
        database.changes.watch(reply_topic(other)) as bystander,
        database.changes.watch(cancel_topic(mine)) as call,
    ):
        async with elsewhere.write() as connection:
            await append(connection, delta(mine, "Hi"))
        assert await watch.changed(SOON)
        async with elsewhere.write() as connection:
            await append_wake(connection, mine)
        assert await call.changed(SOON)
        assert not await bystander.changed(0)
        assert not await watch.changed(0)


async def test_a_process_that_expects_to_be_alone_hears_others_all_the_same(
    place: Path | str, elsewhere: Database, store: InteractionStore
) -> None:
    alone = open_database(place)
    await alone.prepare(alone=True)
    interaction_id = await opened(store)
    async with alone.changes.watch(reply_topic(interaction_id)) as watch:
        async with elsewhere.write() as connection:
            await append(connection, delta(interaction_id, "Hi"))
        assert await watch.changed(SOON)
    await alone.close()


async def test_another_process_is_heard_within_fifty_milliseconds(
    database: Database, elsewhere: Database, store: InteractionStore
) -> None:
    interaction_id = await opened(store)
    delays = []
    async with database.changes.watch(reply_topic(interaction_id)) as watch:
        for number in range(21):
            async with elsewhere.write() as connection:
                await append(connection, delta(interaction_id, str(number)))
            committed = time.monotonic()
            assert await watch.changed(SOON)
            delays.append(time.monotonic() - committed)
    assert statistics.median(delays) < 0.05


async def test_nothing_is_missed_between_two_who_wait(
    database: Database, elsewhere: Database, store: InteractionStore
) -> None:
    interaction_id = await opened(store)
    for _ in range(20):
        async with database.changes.watch(reply_topic(interaction_id)) as watch:
            async with elsewhere.write() as connection:
                await append(connection, delta(interaction_id, "Hi"))
            assert await watch.changed(SOON)


async def test_a_thousand_who_wait_are_told_of_their_own(
    database: Database, elsewhere: Database, store: InteractionStore
) -> None:
    first, last = await opened(store), await opened(store)

    async def wait_for(interaction_id: str) -> bool:
        async with database.changes.watch(reply_topic(interaction_id)) as watch:
            return await watch.changed(SOON)

    async with asyncio.timeout(SOON):
        others = [asyncio.create_task(wait_for(f"other {number}")) for number in range(1000)]
        waiting = asyncio.create_task(wait_for(last))
        async with database.changes.watch(reply_topic(first)) as watch:
            async with elsewhere.write() as connection:
                await append(connection, delta(first, "Hi"))
                await append(connection, delta(last, "Hi"))
            assert await watch.changed(SOON)
            assert await waiting
        assert not any(task.done() for task in others)
        for task in others:
            task.cancel()


async def test_closing_ends_the_following(place: Path | str) -> None:
    database = open_database(place)
    async with database.changes.watch(reply_topic("any")):
        pass
    await database.close()
    async with asyncio.timeout(SOON):
        await database.close()
