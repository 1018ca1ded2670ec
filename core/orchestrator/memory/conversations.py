"""What was said in a session, and how much of it the next prompt may see."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import BigInteger, bindparam, literal, or_, select

from core.orchestrator.contracts import Contract, InteractionStatus, MemoryWindow, Message
from core.orchestrator.errors import SessionOwnershipError, UnknownResourceError
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import interactions, messages, sessions

_ROWS_PER_READ = 64
_NEWEST_BEFORE = (
    select(messages.c.sequence, messages.c.tokens, messages.c.role)
    .where(
        messages.c.session_id == bindparam("session_id"),
        messages.c.sequence < bindparam("before"),
        messages.c.in_memory,
    )
    .order_by(messages.c.sequence.desc())
    .limit(_ROWS_PER_READ)
)
_SAID_BETWEEN = (
    select(messages.c.role, messages.c.content, messages.c.as_sent)
    .where(
        messages.c.session_id == bindparam("session_id"),
        messages.c.sequence.between(bindparam("first"), bindparam("last")),
        messages.c.in_memory,
    )
    .order_by(messages.c.sequence)
)


async def select_window(connection: Connection, session_id: str, before: int, budget: int) -> MemoryWindow:
    """Choose the newest messages of a session that fit a token budget.

    The cost depends on how many fit, never on how long the conversation is: the dropped ones are counted by their
    numbers, not read, so that a turn without a reply counts among them as one with.

    Args:
        connection: an open transaction.
        session_id: whose messages.
        before: only messages with a smaller sequence number.
        budget: estimated tokens the chosen messages may cost in all.
    """
    kept: list[tuple[int, int, str]] = []
    spent = 0
    oldest = before
    whole = False  # whether the conversation fits to its beginning
    while not whole:
        rows = (await connection.execute(_NEWEST_BEFORE, {"session_id": session_id, "before": oldest})).all()
        fitting = 0
        for sequence, tokens, role in rows:
            if spent + tokens > budget:
                break
            spent += tokens
            fitting += 1
            kept.append((sequence, tokens, role))
        if fitting < len(rows):
            break
        whole = len(rows) < _ROWS_PER_READ
        if rows:
            oldest = rows[-1].sequence
    # An answer whose question did not fit would open the prompt: models expect the user to speak first, and to have
    # called the tool whose result they are told. What opens the whole conversation, such as a greeting, stays.
    while kept and not whole and kept[-1][2] != "user":
        spent -= kept.pop()[1]
    first = kept[-1][0] if kept else None
    return MemoryWindow(
        first_sequence=first,
        last_sequence=kept[0][0] if kept else None,
        messages=len(kept),
        tokens=spent,
        dropped=0 if whole else (first or before) - 1,
    )


class StoredMessage(Contract):
    """One line of a transcript."""

    sequence: int
    role: str
    content: str
    status: InteractionStatus
    """Of the interaction it belongs to."""
    interaction_id: str
    created_at: datetime
    """UTC."""


class SessionPlace(NamedTuple):
    """A session's place in the list of its user's sessions."""

    created_at: datetime
    session_id: str


class StoredSession(Contract):
    """A conversation of a user."""

    session_id: str
    user_id: str
    created_at: datetime
    """UTC."""
    turns: int
    """How many turns it has had."""
    conversation_id: str | None = None
    """Of a branch: the session that its conversation began with; null for that one itself. A client that sends the
    whole conversation begins a branch when it goes back and says something else."""
    forked_from: str | None = None
    """Of a branch: the session that it left."""
    forked_at: int | None = None
    """Of a branch: the last turn that is the same in both; 0: none."""

    @property
    def place(self) -> SessionPlace:
        """Where the list of the user's sessions goes on after it."""
        return SessionPlace(self.created_at, self.session_id)


class Conversations:
    """Reads sessions and their messages."""

    def __init__(self, database: Database) -> None:
        """Read from `database`."""
        self._database = database

    async def history(self, session_id: str, window: MemoryWindow) -> Sequence[Message]:
        """Return the messages of a window, oldest first, as they were sent."""
        if window.first_sequence is None or window.last_sequence is None:
            return []
        between = {"session_id": session_id, "first": window.first_sequence, "last": window.last_sequence}
        async with self._database.read() as connection:
            rows = await connection.execute(_SAID_BETWEEN, between)
            plain_or_sent = [row.as_sent or [{"role": row.role, "content": row.content}] for row in rows]
            return [message for sent in plain_or_sent for message in sent]

    async def transcript(
        self, session_id: str, *, user_id: str | None, after: int, limit: int
    ) -> Sequence[StoredMessage]:
        """Return the messages of a session, oldest first.

        Args:
            session_id: whose messages.
            user_id: who asks; None where that is settled otherwise.
            after: only messages with a larger sequence number.
            limit: at most so many.

        Raises:
            UnknownResourceError: there is no such session.
            SessionOwnershipError: it belongs to another user.
        """
        async with self._database.read() as connection:
            await owner_of(connection, session_id, user_id)
            rows = await connection.execute(
                select(messages, interactions.c.status)
                .join(interactions, interactions.c.interaction_id == messages.c.interaction_id)
                .where(messages.c.session_id == session_id, messages.c.sequence > literal(after, BigInteger))
                .order_by(messages.c.sequence)
                .limit(limit)
            )
            return [StoredMessage.model_validate(dict(row._mapping)) for row in rows]  # noqa: SLF001 - documented API

    async def sessions(self, user_id: str, *, after: SessionPlace | None, limit: int) -> Sequence[StoredSession]:
        """Return the sessions of a user, newest first.

        Args:
            user_id: whose sessions.
            after: only sessions that come later in the list, which need not hold this one any more.
            limit: at most so many.
        """
        query = select(sessions).where(sessions.c.user_id == user_id)
        if after is not None:
            query = query.where(
                sessions.c.created_at <= after.created_at,
                or_(sessions.c.created_at < after.created_at, sessions.c.session_id < after.session_id),
            )
        query = query.order_by(sessions.c.created_at.desc(), sessions.c.session_id.desc()).limit(limit)
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            return [StoredSession.model_validate(dict(row._mapping)) for row in rows]  # noqa: SLF001 - documented API


async def owner_of(connection: Connection, session_id: str, user_id: str | None = None) -> str:
    """Return whose session it is.

    Args:
        connection: an open transaction.
        session_id: the session.
        user_id: whose it must be; None where that is settled otherwise.

    Raises:
        UnknownResourceError: there is no such session.
        SessionOwnershipError: it belongs to another user.
    """
    owner: str | None = await connection.scalar(select(sessions.c.user_id).where(sessions.c.session_id == session_id))
    if owner is None:
        raise UnknownResourceError("session", session_id)
    if user_id not in (None, owner):
        raise SessionOwnershipError(f"session '{session_id}' belongs to another user")
    return owner
