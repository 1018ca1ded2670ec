"""Some time after its end a log shrinks to its end, and whoever follows then gets the reply as a whole."""

import asyncio
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from sqlalchemy import func, insert, select

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.errors import StorageUnavailableError
from core.orchestrator.events import TextDelta
from core.orchestrator.interactions.following import ReplyFollower
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.replies.trimming import ReplyLogTrimmer
from core.orchestrator.storage.database import Database, open_database
from core.orchestrator.storage.tables import erased_interactions, interactions, reply_events
from tests.core.orchestrator.domain import NOON, SettableClock, answered, begun, new_id, opened_watched
from tests.core.orchestrator.plans import reads_whole_tables, sorts, statements, steps_of

HOUR, MONTH = timedelta(hours=1), timedelta(days=30)
WHOLE = ["text.reset", "text.delta", "interaction.completed"]


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def store(database: Database, clock: SettableClock) -> InteractionStore:
    return InteractionStore(database, clock)


@pytest.fixture
def trimmer(database: Database, clock: SettableClock) -> ReplyLogTrimmer:
    return ReplyLogTrimmer(database, HOUR, MONTH, clock)


async def watched(store: InteractionStore, ledger: AttemptLedger, *, end: bool = True) -> str:
    """A turn whose reply came in three pieces."""
    interaction_id = await opened_watched(store, session_id=new_id())
    ordinal = await begun(ledger, interaction_id)
    for piece in ("Hi ", "the", "re"):
        await ledger.show(TextDelta(interaction_id=interaction_id, attempt=ordinal, delta=piece))
    if end:
        await answered(store, ledger, interaction_id, "Hi there")
    return interaction_id


async def kinds(database: Database, interaction_id: str, after: int = 0) -> list[str]:
    batch = await ReplyFollower(database).read(interaction_id, after)
    return [one.type for one in batch.events]


async def test_a_log_is_kept_for_its_lifetime_after_the_end_and_then_stands_for_the_whole(
    database: Database, store: InteractionStore, ledger: AttemptLedger, trimmer: ReplyLogTrimmer, clock: SettableClock
) -> None:
    interaction_id = await watched(store, ledger)
    before = await ReplyFollower(database).read(interaction_id, 0)
    clock.advance(minutes=60)
    await trimmer.trim()
    assert await ReplyFollower(database).read(interaction_id, 0) == before
    clock.advance(seconds=1)
    await trimmer.trim()
    after = await ReplyFollower(database).read(interaction_id, 0)
    assert [one.type for one in after.events] == WHOLE
    assert after.events[-1] == before.events[-1]
    assert await kinds(database, interaction_id, before.events[-2].sequence_number) == WHOLE
    async with database.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(reply_events)) == 1


async def test_what_has_not_ended_is_never_trimmed(
    database: Database, store: InteractionStore, ledger: AttemptLedger, trimmer: ReplyLogTrimmer, clock: SettableClock
) -> None:
    interaction_id = await watched(store, ledger, end=False)
    before = await kinds(database, interaction_id)
    clock.advance(days=3)
    await trimmer.trim()
    assert await kinds(database, interaction_id) == before
    await answered(store, ledger, interaction_id, "Hi there")
    await trimmer.trim()
    assert "text.delta" in before
    assert (await kinds(database, interaction_id))[: len(before)] == before


async def test_many_logs_are_trimmed_a_hundred_at_a_time(
    database: Database, store: InteractionStore, ledger: AttemptLedger, trimmer: ReplyLogTrimmer, clock: SettableClock
) -> None:
    row = {"kind": "direct", "user_id": "ada", "status": "completed", "request": {}, "created_at": NOON}
    row |= {"ended_at": NOON, "watched": True}
    ids = [new_id() for _ in range(250)]
    async with database.write() as connection:
        await connection.execute(insert(interactions), [row | {"interaction_id": one} for one in ids])
        events = [{"interaction_id": one, "sequence": 1, "type": "text.delta", "data": {}} for one in ids]
        await connection.execute(insert(reply_events), events)
    clock.advance(hours=2)
    with patch.object(database, "write", wraps=database.write) as writing:
        await trimmer.trim()
    assert writing.call_count == 3
    async with database.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(reply_events)) == 0
        assert await connection.scalar(select(func.count()).where(interactions.c.watched)) == 0


async def test_finding_what_is_to_be_trimmed_reads_no_other_interaction(
    database: Database, trimmer: ReplyLogTrimmer
) -> None:
    with statements(database, "SELECT") as queries:
        await trimmer.trim()
    [query] = [one for one in queries if "FROM interactions" in one[0]]
    steps = await steps_of(database, *query)
    assert not reads_whole_tables(steps)
    assert not sorts(steps)
    assert "ix_interactions_watched" in str(steps)


async def test_the_id_of_an_erased_interaction_is_forgotten_when_no_history_can_bring_it_back(
    database: Database, trimmer: ReplyLogTrimmer, clock: SettableClock
) -> None:
    async with database.write() as connection:
        rows = [{"interaction_id": name, "erased_at": NOON + timedelta(days=n)} for n, name in enumerate("ab")]
        await connection.execute(insert(erased_interactions), rows)
    clock.advance(days=30, seconds=1)
    await trimmer.trim()
    async with database.read() as connection:
        assert list(await connection.scalars(select(erased_interactions.c.interaction_id))) == ["b"]


async def test_trimming_goes_on_until_its_block_ends_and_outlives_an_absent_database(
    database: Database,
    place: Path | str,
    store: InteractionStore,
    ledger: AttemptLedger,
    caplog: pytest.LogCaptureFixture,
) -> None:
    interaction_id = await watched(store, ledger)

    class Watched(ReplyLogTrimmer):
        rounds = 0
        away = True
        done = asyncio.Event()

        async def trim(self) -> None:
            self.rounds += 1
            if self.away:
                self.away = False
                raise StorageUnavailableError("the database is away for a moment")
            await super().trim()
            if self.rounds > 3:
                self.done.set()

    other = open_database(place)
    trimmer = Watched(other, timedelta(milliseconds=10), MONTH)
    async with trimmer.kept_trimmed():
        await asyncio.wait_for(trimmer.done.wait(), 10)
    rounds = trimmer.rounds
    assert "could not be trimmed: the database is away" in caplog.text
    assert await kinds(database, interaction_id) == WHOLE
    assert trimmer.rounds == rounds
    await other.close()
