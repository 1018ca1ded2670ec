"""The branches of a conversation as they are stored: held, walked along, and begun."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import uuid4

from sqlalchemy import Row, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.orchestrator.calls.cancelling import Cancelling
from core.orchestrator.contracts import InteractionStatus, Message
from core.orchestrator.memory.exchanges import Exchange, Reply, reply_of
from core.orchestrator.memory.matching import StoredTurn, Walk
from core.orchestrator.memory.rows import asked_number, reply_number, reply_row, turn_of
from core.orchestrator.storage.tables import interactions, messages, sessions
from core.orchestrator.storage.upserts import insert_if_absent

_FEW, _MANY = 8, 200
_MAX_ID_CHARACTERS = 128
_NUMBERS_TRIED = 3


async def hold_session(connection: AsyncConnection, session_id: str) -> Row[Any] | None:
    """Hold a session with the one that its conversation began with, and return it; None: there is no such session."""
    its = select(sessions.c.conversation_id).where(sessions.c.session_id == session_id).scalar_subquery()
    query = select(sessions).where(sessions.c.session_id.in_([session_id, its]))
    # The one it began with comes first: who holds that may hold any branch.
    rows = await connection.execute(query.order_by(sessions.c.conversation_id.is_not(None)).with_for_update())
    return next((row for row in rows if row.session_id == session_id), None)


async def hold_branches(connection: AsyncConnection, session: Row[Any]) -> Sequence[Row[Any]]:
    """Hold all of the conversation that a held session belongs to, save what is being erased; that session is held.

    Returns:
        The session itself if it is a branch; then the branches, the newest first, and last what they grew from.
    """
    conversation_id = _conversation_of(session)
    query = select(sessions).where(sessions.c.conversation_id == conversation_id).order_by(sessions.c.session_id)
    branches = [row for row in await connection.execute(query.with_for_update()) if not row.erasing]
    origin = session
    if session.conversation_id is not None:
        origin = (await connection.execute(select(sessions).where(sessions.c.session_id == conversation_id))).one()

    def order(row: Row[Any]) -> tuple[bool, datetime, str]:
        return row.session_id == session.session_id, row.created_at, row.session_id

    return [*sorted(branches, key=order, reverse=True), origin]


def _conversation_of(session: Row[Any]) -> str:
    """Return the session that a session's conversation began with."""
    began: str = session.conversation_id or session.session_id
    return began


async def walk(connection: AsyncConnection, session_id: str, said: Sequence[Exchange], begin: int = 0) -> Walk:
    """Compare what a client has with a session, from after the turn `begin` on; no more is read than that takes."""
    compared = Walk(said, begin)
    after = reply_number(begin)
    page = min(2 * len(said) + _FEW, _MANY)
    while True:
        rows = await _rows_after(connection, session_id, after, page)
        turns = [list(turn) for _, turn in groupby(rows, key=lambda row: turn_of(row.sequence))]
        is_last = len(rows) < page
        for turn in turns if is_last else turns[:-1]:  # of which there may be more on the next page
            if not compared.take(_stored(turn)):
                return compared
        if is_last:
            return compared
        after = asked_number(turn_of(rows[-1].sequence)) - 1


async def begin_branch(
    connection: AsyncConnection, session: Row[Any], compared: Walk, turns: int, now: datetime
) -> str:
    """Begin a branch of a held session where a client has something else, and return its id; the session stays.

    Args:
        connection: an open transaction.
        session: what the branch leaves.
        compared: how far the client has the same, and all of that has ended.
        turns: how many the branch is to have now.
        now: the time.
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
        "resends": session.resends,
    }
    numbered = (f"{conversation_id}~{(known or 0) + number}" for number in range(2, 2 + _NUMBERS_TRIED))
    for session_id in (*(name for name in numbered if len(name) <= _MAX_ID_CHARACTERS), str(uuid4())):
        if await insert_if_absent(connection, sessions, values | {"session_id": session_id}):
            break  # else somebody calls a conversation so
    await _copy(connection, session.session_id, session_id, compared)
    return session_id


async def go_on(connection: AsyncConnection, session: Row[Any], compared: Walk) -> None:
    """Remember of a held session what a client has heard of it, and not what it knows nothing of."""
    unknown = [asked_number(turn.number) for turn in compared.passed_over if turn.is_remembered]
    in_session = messages.c.session_id == session.session_id
    if unknown:
        forgotten = update(messages).where(in_session, messages.c.sequence.in_(unknown))
        await connection.execute(forgotten.values(in_memory=False))
    await _remember_as_heard(connection, session.session_id, compared.heard)


async def _rows_after(connection: AsyncConnection, session_id: str, after: int, limit: int) -> list[Row[Any]]:
    query = (
        select(
            messages.c.sequence,
            messages.c.interaction_id,
            messages.c.role,
            messages.c.content,
            messages.c.as_sent,
            messages.c.in_memory,
            interactions.c.turn,
            interactions.c.status,
            interactions.c.cancelling,
        )
        .join(interactions, interactions.c.interaction_id == messages.c.interaction_id)
        .where(messages.c.session_id == session_id, messages.c.sequence > after)
        .order_by(messages.c.sequence)
        .limit(limit)
    )
    return list(await connection.execute(query))


def _stored(rows: Sequence[Row[Any]]) -> StoredTurn:
    """Return a turn for comparing."""
    last = rows[-1]
    number = turn_of(last.sequence)
    asked = next((row for row in rows if row.sequence == asked_number(number)), None)
    replied = next((row for row in rows if row.sequence == reply_number(number)), None)
    sent = reply_of(replied.as_sent) if replied and replied.as_sent else None
    text = replied.content.strip() if replied else ""
    reply = sent if sent is not None and sent.text == text else Reply(text)
    # What was brought in belongs to the turn that brought it, and has ended long before.
    is_own = last.turn == number
    is_final = InteractionStatus(last.status).is_final
    return StoredTurn(
        number,
        last.interaction_id,
        (asked.as_sent or [{"role": asked.role, "content": asked.content}]) if asked else [],
        reply,
        heard=sent if sent != reply else None,
        is_open=is_own and not is_final and last.cancelling != Cancelling.ROLLBACK,
        is_cut=is_own and (last.status in _CUT or last.cancelling is not None),
        is_remembered=asked is not None and asked.in_memory,
    )


_CUT = (InteractionStatus.CANCELLED, InteractionStatus.INCOMPLETE)


async def _copy(connection: AsyncConnection, session_id: str, into: str, compared: Walk) -> None:
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


async def _remember_as_heard(
    connection: AsyncConnection, session_id: str, replies: Mapping[int, Sequence[Message]]
) -> None:
    """Note how a client has replies: later prompts tell the model so, though the transcript has all of them."""
    for turn, replied in replies.items():
        heard = reply_row(turn, replied)
        await connection.execute(
            update(messages)
            .where(messages.c.session_id == session_id, messages.c.sequence == heard["sequence"])
            .values(as_sent=list(replied), tokens=heard["tokens"])
        )
