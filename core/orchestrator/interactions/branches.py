"""The branches of a conversation as they are stored: held, begun, and gone on with."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Row, func, insert, literal, select, update

from core.orchestrator.contracts import Message
from core.orchestrator.memory.exchanges import reply_of
from core.orchestrator.memory.matching import Walk
from core.orchestrator.memory.rows import asked_number, reply_number, reply_row
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.tables import messages, sessions
from core.orchestrator.storage.upserts import insert_if_absent

_MAX_ID_CHARACTERS = 128
_NUMBERS_TRIED = 3


async def hold_session(connection: Connection, session_id: str) -> Row[Any] | None:
    """Hold a session with the one that its conversation began with, and return it; None: there is no such session."""
    its = select(sessions.c.conversation_id).where(sessions.c.session_id == session_id).scalar_subquery()
    query = select(sessions).where(sessions.c.session_id.in_([session_id, its]))
    # The one it began with comes first: who holds that may hold any branch.
    rows = await connection.execute(query.order_by(sessions.c.conversation_id.is_not(None)).with_for_update())
    return next((row for row in rows if row.session_id == session_id), None)


async def hold_branches(connection: Connection, session: Row[Any]) -> Sequence[Row[Any]]:
    """Hold all of the conversation that a held session belongs to, save what is being erased; that session is held.

    Returns:
        The session itself; then the other branches, the newest first, and last what they grew from.
    """
    conversation_id = _conversation_of(session)
    query = select(sessions).where(sessions.c.conversation_id == conversation_id).order_by(sessions.c.session_id)
    branches = [row for row in await connection.execute(query.with_for_update()) if not row.erasing]
    if session.conversation_id is not None:
        origin = select(sessions).where(sessions.c.session_id == conversation_id)
        branches.append((await connection.execute(origin)).one())

    def order(row: Row[Any]) -> tuple[bool, datetime, str]:
        return row.conversation_id is not None, row.created_at, row.session_id

    others = [row for row in branches if row.session_id != session.session_id]
    return [session, *sorted(others, key=order, reverse=True)]


def _conversation_of(session: Row[Any]) -> str:
    """Return the session that a session's conversation began with."""
    began: str = session.conversation_id or session.session_id
    return began


async def begin_branch(
    connection: Connection, session: Row[Any], compared: Walk, turns: int, now: datetime, *, resends: bool
) -> str:
    """Begin a branch of a held session where a client has something else, and return its id; the session stays.

    Args:
        connection: an open transaction.
        session: what the branch leaves.
        compared: how far the client has the same, and all of that has ended.
        turns: how many the branch is to have now.
        now: the time.
        resends: the client always sends the whole conversation.
    """
    conversation_id = _conversation_of(session)
    known = await connection.scalar(
        select(func.count()).select_from(sessions).where(sessions.c.conversation_id == conversation_id)
    )
    values = {
        "user_id": session.user_id,
        "created_at": now,
        "turns": turns,
        "conversation_id": conversation_id,
        "forked_from": session.session_id,
        "forked_at": compared.common_turn,
        "resends": resends,
    }
    numbered = (f"{conversation_id}~{(known or 0) + number}" for number in range(2, 2 + _NUMBERS_TRIED))
    for session_id in (*(name for name in numbered if len(name) <= _MAX_ID_CHARACTERS), str(uuid4())):
        if await insert_if_absent(connection, sessions, values | {"session_id": session_id}):
            break  # else somebody calls a conversation so
    await _copy(connection, session.session_id, session_id, compared)
    return session_id


async def go_on(connection: Connection, session: Row[Any], compared: Walk) -> None:
    """Remember of a held session what a client has heard of it, and not what it knows nothing of."""
    unknown = [asked_number(turn.number) for turn in compared.passed_over if turn.is_remembered]
    in_session = messages.c.session_id == session.session_id
    if unknown:
        forgotten = update(messages).where(in_session, messages.c.sequence.in_(unknown))
        await connection.execute(forgotten.values(in_memory=False))
    await _remember_as_heard(connection, session.session_id, compared.heard)


async def _copy(connection: Connection, session_id: str, into: str, compared: Walk) -> None:
    """Copy what a branch has in common with the session that it leaves."""
    unknown = [asked_number(turn.number) for turn in compared.passed_over]
    columns = [column for column in messages.c if column is not messages.c.session_id]
    common = select(literal(into), *columns).where(
        messages.c.session_id == session_id, messages.c.sequence <= reply_number(compared.common_turn)
    )
    if unknown:
        common = common.where(messages.c.sequence.not_in(unknown))
    names = [messages.c.session_id.name, *(column.name for column in columns)]
    await connection.execute(insert(messages).from_select(names, common))
    heard = {turn: replied for turn, replied in compared.heard.items() if turn <= compared.common_turn}
    await _remember_as_heard(connection, into, heard)


async def _remember_as_heard(connection: Connection, session_id: str, replies: Mapping[int, Sequence[Message]]) -> None:
    """Note how a client has replies: later prompts tell the model so, though the transcript has all of them."""
    for turn, replied in replies.items():
        heard = reply_row(turn, replied)
        values = {"as_sent": list(replied), "tokens": heard["tokens"]} if reply_of(replied) else {"in_memory": False}
        await connection.execute(
            update(messages)
            .where(messages.c.session_id == session_id, messages.c.sequence == heard["sequence"])
            .values(values)
        )
