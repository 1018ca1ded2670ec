"""A user's sessions, newest first: page after page shows each one once, whatever is begun or erased meanwhile."""

from datetime import timedelta

import pytest
from sqlalchemy import delete

from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.memory.conversations import Conversations, SessionPlace
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import sessions
from tests.core.orchestrator.domain import NOON, SettableClock, opened


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def store(database: Database, clock: SettableClock) -> InteractionStore:
    return InteractionStore(database, clock)


async def test_a_users_sessions_come_newest_first(
    store: InteractionStore, conversations: Conversations, clock: SettableClock
) -> None:
    for session_id in ("b", "a", "b"):
        await opened(store, session_id=session_id)
        clock.advance(seconds=1)
    await opened(store, session_id="c", user_id="bob")
    found = await conversations.sessions("ada", after=None, limit=10)
    assert [(one.session_id, one.user_id, one.created_at, one.turns) for one in found] == [
        ("a", "ada", NOON + timedelta(seconds=1), 1),
        ("b", "ada", NOON, 2),
    ]
    assert await conversations.sessions("nobody", after=None, limit=10) == []


async def test_pages_show_each_session_once_while_others_come_and_go(
    database: Database, store: InteractionStore, conversations: Conversations, clock: SettableClock
) -> None:
    for number in range(7):  # some of them begun at the same moment
        await opened(store, session_id=f"s{number}")
        clock.advance(seconds=number % 2)
    seen: list[str] = []
    after: SessionPlace | None = None
    while page := await conversations.sessions("ada", after=after, limit=2):
        seen += [session.session_id for session in page]
        after = page[-1].place
        await opened(store, session_id=f"new-{len(seen)}")
        clock.advance(seconds=1)
        async with database.write() as connection:  # the one that says where the list goes on
            await connection.execute(delete(sessions).where(sessions.c.session_id == after.session_id))
    assert seen == ["s6", "s5", "s4", "s3", "s2", "s1", "s0"]
