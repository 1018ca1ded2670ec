"""A turn's place in its session: its number, and what becomes of the turns before it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from core.orchestrator.calls.cancelling import Cancelling, mark_cancelling
from core.orchestrator.contracts import InteractionRequest, Message, MultitaskStrategy
from core.orchestrator.errors import SessionBusyError, SessionErasingError, SessionOwnershipError
from core.orchestrator.memory.exchanges import Exchange
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.locks import hold_interactions
from core.orchestrator.storage.tables import interactions, sessions
from core.orchestrator.storage.upserts import insert_if_absent

_COUNTED = 10
_HELD_SESSION = select(sessions).where(sessions.c.session_id == bindparam("session_id")).with_for_update()
_TAKE_NUMBER = update(sessions).where(sessions.c.session_id == bindparam("of"))
_OPEN_BEFORE = (
    select(interactions.c.interaction_id)
    .where(
        interactions.c.session_id == bindparam("session_id"),
        interactions.c.ended_at.is_(None),
        interactions.c.turn < bindparam("turn"),
    )
    .order_by(interactions.c.turn)
    .limit(_COUNTED)
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a turn goes."""

    session_id: str
    turn: int
    displaced: list[str] = field(default_factory=list)
    """The interactions that it is to cancel."""
    brought: Sequence[Exchange] = ()
    """What was said elsewhere before it: the turns whose numbers come right before this one."""
    asked: Sequence[Message] = ()
    """What of all that came is this turn's own; empty: everything that is new."""


async def next_place(
    connection: Connection,
    request: InteractionRequest,
    session_id: str,
    strategy: MultitaskStrategy,
    now: datetime,
) -> Place:
    """Take the next number of a session, which may be a new one, and cancel its earlier turns if that is wanted.

    Raises:
        SessionOwnershipError: the session belongs to another user.
        SessionErasingError: the session is being erased.
        SessionBusyError: an earlier turn has not ended, and the strategy is to reject.
    """
    this = {"session_id": session_id}
    first = {"session_id": session_id, "user_id": request.user_id, "created_at": now, "turns": 1}
    while (session := (await connection.execute(_HELD_SESSION, this)).one_or_none()) is None:
        if await insert_if_absent(connection, sessions, first):
            return Place(session_id, 1)  # else somebody else was faster
    check_open_to(session, request.user_id)
    displaced = await make_way(connection, session_id, strategy)
    await connection.execute(_TAKE_NUMBER, {"of": session_id, "turns": session.turns + 1})
    return Place(session_id, session.turns + 1, displaced)


def check_open_to(session: Row[Any], user_id: str) -> None:
    """Return if a session takes turns of a user.

    Raises:
        SessionOwnershipError: the session belongs to another user.
        SessionErasingError: the session is being erased.
    """
    if session.user_id != user_id:
        raise SessionOwnershipError(f"session '{session.session_id}' belongs to another user")
    if session.erasing:
        raise SessionErasingError(session.session_id)


async def make_way(connection: Connection, session_id: str, strategy: MultitaskStrategy) -> list[str]:
    """Refuse to disturb the open turns of a session, or mark them; return those nobody had marked so before.

    Raises:
        SessionBusyError: there are some, and the strategy is to reject.
    """
    if strategy is MultitaskStrategy.ENQUEUE:
        return []
    query = (
        select(interactions.c.interaction_id)
        .where(interactions.c.session_id == session_id, interactions.c.ended_at.is_(None))
        .order_by(interactions.c.turn)
    )
    busy = list(await connection.scalars(query))
    if busy and strategy is MultitaskStrategy.REJECT:
        raise SessionBusyError(session_id, busy[0])
    how = Cancelling.ROLLBACK if strategy is MultitaskStrategy.ROLLBACK else Cancelling.CANCEL
    return await displace(connection, busy, how)


async def displace(connection: Connection, turns: Sequence[str], how: Cancelling) -> list[str]:
    """Mark turns to be ended; return those nobody had marked so before."""
    await hold_interactions(connection, turns)
    return [turn for turn in turns if await mark_cancelling(connection, turn, how)]


async def open_turns_before(connection: Connection, session_id: str, turn: int) -> Sequence[str]:
    """Return the turns of a session before a number that have not ended, in order; ten at most."""
    return (await connection.scalars(_OPEN_BEFORE, {"session_id": session_id, "turn": turn})).all()
