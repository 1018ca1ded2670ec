"""A PostgreSQL server that goes away, falls silent or refuses: told in time, healed by itself, and without words."""

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import asyncpg
import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError

from core.orchestrator.errors import ConfigurationError, StorageUnavailableError
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.storage.changes import Changes, reply_topic, touch
from core.orchestrator.storage.database import Database, open_database
from core.orchestrator.storage.postgresql_follower import CHANNEL, PostgresqlFollower, payloads_of
from core.orchestrator.storage.tables import sessions
from tests.core.orchestrator.domain import NOON, opened, request
from tests.postgres import PostgresServer

SECRET = "Rumpelstilzchen"
WAIT = timedelta(seconds=1)
SOON = 10


@pytest.fixture(scope="module")
async def url(postgres: PostgresServer) -> str:
    return await postgres.migrated()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = open_database(url, wait=WAIT)
    yield database
    await database.close()


@pytest.fixture
async def elsewhere(url: str) -> AsyncIterator[Database]:
    database = open_database(url, wait=WAIT)
    yield database
    await database.close()


async def until_it_answers(database: Database) -> int:
    """Return how many tries were in vain."""
    async with asyncio.timeout(SOON):
        for tries in range(1000):
            try:
                await database.ping()
            except StorageUnavailableError:
                await asyncio.sleep(0.02)
            else:
                return tries
    raise AssertionError


async def touch_in(database: Database, topic: str) -> None:
    async with database.write() as connection:
        await connection.execute(select(1))
        touch(connection, topic)


async def until_heard(database: Database, elsewhere: Database, topic: str) -> float:
    """Return how long it takes until what another process does is heard of."""
    async with database.changes.watch(topic) as watch:
        while await watch.changed(0):
            pass
        begun = time.monotonic()
        await touch_in(elsewhere, topic)
        assert await watch.changed(SOON)
        return time.monotonic() - begun


# --- the pool ---


async def test_connections_that_were_cut_while_idle_cost_nothing(postgres: PostgresServer, url: str) -> None:
    database = open_database(url, wait=WAIT)
    await asyncio.gather(*(database.ping() for _ in range(10)))
    await postgres.cut_connections(url)
    await asyncio.gather(*(database.ping() for _ in range(10)))
    await database.close()


async def test_a_connection_that_is_cut_in_the_middle_is_a_database_that_does_not_answer(
    database: Database, postgres: PostgresServer, url: str
) -> None:
    async def write() -> None:
        async with database.write() as connection:
            await connection.execute(select(1))
            await postgres.cut_connections(url)
            await connection.execute(select(1))

    with pytest.raises(StorageUnavailableError):
        await write()
    assert await until_it_answers(database) == 0


async def test_a_server_that_is_killed_and_comes_back_is_used_again(
    database: Database, elsewhere: Database, postgres: PostgresServer
) -> None:
    interaction_id = await opened(InteractionStore(database))
    topic = reply_topic(interaction_id)
    async with database.changes.watch(topic) as watch:
        await postgres.kill()
        for attempt in (database.ping(), opened(InteractionStore(database))):
            with pytest.raises(StorageUnavailableError):
                await attempt
        while await watch.changed(0):
            pass
        assert await watch.changed(SOON), "whoever waits looks again while nothing can be heard"
        await postgres.start()
        assert await until_it_answers(database) == 0
        assert (await InteractionStore(database).view(interaction_id)).interaction_id == interaction_id
    async with asyncio.timeout(SOON):  # until both listen again
        while await until_heard(database, elsewhere, topic) > 0.2:
            pass


async def test_a_server_that_falls_silent_is_given_up_in_time_and_used_again(
    database: Database, postgres: PostgresServer
) -> None:
    await asyncio.gather(*(database.ping() for _ in range(4)))
    postgres.pause()
    try:
        begun = time.monotonic()
        outcomes = await asyncio.gather(
            *(database.ping() for _ in range(30)),
            *(InteractionStore(database).open_turn(request(session_id="s")) for _ in range(30)),
            return_exceptions=True,
        )
        took = time.monotonic() - begun
    finally:
        postgres.resume()
    assert {type(outcome) for outcome in outcomes} == {StorageUnavailableError}
    assert took < 2.5 * WAIT.total_seconds()
    await until_it_answers(database)


@pytest.mark.parametrize("waiting_for", ["lock", "statement"])
async def test_nobody_waits_for_longer_than_the_limit(
    database: Database, elsewhere: Database, waiting_for: str
) -> None:
    statement = text("SELECT pg_advisory_xact_lock(1)" if waiting_for == "lock" else "SELECT pg_sleep(30)")

    async def wait() -> None:
        async with database.write() as connection:
            await connection.execute(statement)

    async with elsewhere.write() as other:
        await other.execute(text("SELECT pg_advisory_xact_lock(1)"))
        begun = time.monotonic()
        with pytest.raises(StorageUnavailableError, match="timeout"):
            await wait()
        assert time.monotonic() - begun < 1.5 * WAIT.total_seconds()
    assert await until_it_answers(database) == 0


async def test_a_server_that_is_not_there_is_one_that_does_not_answer(postgres: PostgresServer) -> None:
    database = open_database(f"postgresql://ada:{SECRET}@127.0.0.1:1/x", wait=WAIT)
    for attempt in (database.ping(), database.migrate(), database.prepare()):
        with pytest.raises(StorageUnavailableError) as raised:
            await attempt
        assert SECRET not in "".join(traceback.format_exception(raised.value))
    await database.close()


async def test_an_address_that_means_nothing_is_a_wrong_setting_and_not_quoted() -> None:
    database = open_database(f"postgresql://ada:{SECRET}@db/x?sslmode={SECRET}")
    with pytest.raises(ConfigurationError, match=r"^DATABASE_URL: ") as raised:
        await database.ping()
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    await database.close()


async def test_a_cancelled_write_frees_its_connection(url: str) -> None:
    database = open_database(url, wait=WAIT, connections=1)
    sleeping = asyncio.Event()

    async def sleep() -> None:
        async with database.write() as connection:
            sleeping.set()
            await connection.execute(text("SELECT pg_sleep(30)"))

    task = asyncio.create_task(sleep())
    await sleeping.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await until_it_answers(database) <= 1
    await database.close()


# --- what errors say ---


async def test_no_error_quotes_what_was_to_be_written(database: Database) -> None:
    row = {"session_id": SECRET, "user_id": SECRET, "created_at": NOON, "turns": 1}
    wrong = [
        insert(sessions).values([row, row]),
        insert(sessions).values(row | {"turns": 2**40}),
        insert(sessions).values(row | {"session_id": f"{SECRET}\0"}),
        text(f"SELECT CAST('{SECRET}' AS integer)"),
        insert(sessions).values(row | {"user_id": None}),
    ]
    for statement in wrong:
        with pytest.raises((IntegrityError, ValueError)) as raised:
            async with database.write() as connection:
                await connection.execute(statement)
        assert SECRET not in "".join(traceback.format_exception(raised.value)).replace(f"'{SECRET}' AS", "")


# --- hearing of others ---


async def test_what_another_process_commits_is_heard_at_once(database: Database, elsewhere: Database) -> None:
    async with database.changes.watch("a topic"):
        delays = [await until_heard(database, elsewhere, "a topic") for _ in range(20)]
    assert sorted(delays)[10] < 0.05


async def test_what_is_rolled_back_is_not_heard(database: Database, elsewhere: Database) -> None:
    async def fail() -> None:
        async with elsewhere.write() as connection:
            touch(connection, "a topic")
            raise LookupError

    async with database.changes.watch("a topic") as watch, database.changes.watch("another") as other:
        with pytest.raises(LookupError):
            await fail()
        await touch_in(elsewhere, "another")
        assert await other.changed(SOON)
        assert not await watch.changed(0)


async def test_more_topics_than_one_notification_holds_are_all_heard(database: Database, elsewhere: Database) -> None:
    topics = [reply_topic(f"{n:036}") for n in range(500)]
    async with database.changes.watch(topics[0]) as first, database.changes.watch(topics[-1]) as last:
        async with elsewhere.write() as connection:
            for topic in topics:
                touch(connection, topic)
        assert await first.changed(SOON)
        assert await last.changed(SOON)


def test_no_notification_is_too_long() -> None:
    payloads = payloads_of("p" * 32, [f"reply:{n:036}é" for n in range(1000)])
    assert max(len(payload.encode()) for payload in payloads) < 8000
    assert sum(len(payload.split("\n")) - 1 for payload in payloads) == 1000
    assert payloads_of("p", []) == []


async def test_a_listener_that_is_cut_off_listens_again_and_looks_at_what_it_missed(
    database: Database, elsewhere: Database, postgres: PostgresServer, url: str
) -> None:
    async with database.changes.watch("a topic") as watch:
        await postgres.cut_connections(url)
        assert await watch.changed(SOON)
    async with asyncio.timeout(SOON):
        while await until_heard(database, elsewhere, "a topic") > 0.2:
            pass


def following(url: str, notify: Callable[[str], Awaitable[None]], *, alive_seconds: float = 10) -> Changes:
    """What follows the database over a way in which a test has put something."""
    return Changes(
        lambda changes: PostgresqlFollower(
            "this process",
            lambda: asyncpg.connect(url, timeout=WAIT.total_seconds(), command_timeout=WAIT.total_seconds()),
            notify,
            changes,
            wait_seconds=WAIT.total_seconds(),
            alive_seconds=alive_seconds,
        )
    )


async def test_where_notifications_do_not_arrive_whoever_waits_looks_every_second(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def swallow(_: str) -> None:
        """As a proxy does that shares connections between transactions."""

    changes = following(url, swallow)
    async with changes.watch("a topic") as watch:
        for _ in range(2):
            assert await watch.changed(SOON)
    await changes.close()
    assert "do not arrive" in caplog.text


async def test_a_listener_whose_server_falls_silent_is_given_up(
    url: str, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def notify(payload: str) -> None:
        connection = await asyncpg.connect(url, timeout=WAIT.total_seconds(), command_timeout=WAIT.total_seconds())
        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)
        await connection.close()

    changes = following(url, notify, alive_seconds=0.1)
    async with changes.watch("a topic") as watch:
        with caplog.at_level(logging.INFO):
            postgres.pause()
            try:
                assert await watch.changed(SOON)
            finally:
                postgres.resume()
            async with asyncio.timeout(SOON):
                while "heard of again" not in caplog.text:
                    assert await watch.changed(SOON)
    await changes.close()
