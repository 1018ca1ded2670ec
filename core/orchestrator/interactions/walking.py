"""Comparing what a client has with a branch as it is stored, from wherever that takes the least reading."""

from collections.abc import Sequence
from itertools import groupby, takewhile
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select

from core.orchestrator.calls.cancelling import Cancelling
from core.orchestrator.contracts import InteractionStatus, Message
from core.orchestrator.memory.exchanges import Exchange, Reply, ask_the_same, reply_of
from core.orchestrator.memory.matching import StoredTurn, Walk
from core.orchestrator.memory.rows import asked_number, reply_number, turn_of
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.tables import interactions, messages

_FEW, _MANY = 8, 200
_CUT = (InteractionStatus.CANCELLED, InteractionStatus.INCOMPLETE)


async def walk(
    connection: Connection, session_id: str, said: Sequence[Exchange], new: Sequence[Message], begin: int = 0
) -> Walk:
    """Compare what a client has with a session, from after the turn `begin` on; no more is read than that takes."""
    compared = Walk(said, begin, new)
    after = reply_number(begin)
    page = min(2 * len(said) + _FEW, _MANY)
    while True:
        rows = await _rows_after(connection, session_id, after, page)
        is_last = len(rows) < page
        turns = _turns(rows)
        for turn in turns if is_last else turns[:-1]:  # of which there may be more on the next page
            if not compared.take(turn):
                return compared
        if is_last:
            return compared
        after = asked_number(turn_of(rows[-1].sequence)) - 1


async def walk_along_end(
    connection: Connection, session: Row[Any], said: Sequence[Exchange], new: Sequence[Message]
) -> Walk | None:
    """Compare what a client has with the end of a session; None: that is something else.

    A client that keeps only so many messages may have cut between a question and its reply.
    """
    kept, cut_off = (said, None) if said[0].asked else (said[1:], said[0])
    first = max(0, session.turns - len(kept) - _FEW)
    rows = await _rows_after(connection, session.session_id, reply_number(first), 2 * (len(kept) + _FEW))
    turns = _turns(rows)
    known = [turn for turn in turns if not turn.is_unanswered]
    if known and (known[-1].asks(new) or known[-1].was_stopped(new)):
        known.pop()
    at = len(known) - len(kept)
    if at < 0 or (cut_off and (at == 0 or not known[at - 1].replied(cut_off.reply))):
        return None
    begin = known[at - 1].number if at else known[0].number - 1
    compared = Walk(kept, begin, new)
    for turn in turns:
        if turn.number > begin and not compared.take(turn):
            break
    following = compared.blocked_by
    is_end = compared.has_all and (following is None or following.asks(compared.new))
    return compared if is_end else None


async def walk_along_unanswered(
    connection: Connection, session: Row[Any], said: Sequence[Exchange], new: Sequence[Message]
) -> tuple[Walk, StoredTurn | None]:
    """Return what a client that sends only news says again, and the last turn, where nobody has answered it."""
    replied = (
        select(messages.c.sequence)
        .where(messages.c.session_id == session.session_id, messages.c.role == "assistant")
        .order_by(messages.c.sequence.desc())
        .limit(1)
    )
    turns = _turns(
        await _rows_after(connection, session.session_id, func.coalesce(replied.scalar_subquery(), 0), _MANY)
    )
    compared = Walk(said, session.turns, new)
    if not turns:
        return compared, None
    if turns[-1].was_stopped(new):
        compared = Walk((), session.turns, new)
        compared.take(turns[-1])
        return compared, turns[-1]
    again = takewhile(lambda turn: turn.is_unanswered and ask_the_same(turn.asked, new), reversed(turns))
    compared.passed_over.extend(again)
    return compared, turns[-1]


def _turns(rows: Sequence[Row[Any]]) -> list[StoredTurn]:
    return [_stored(list(turn)) for _, turn in groupby(rows, key=lambda row: turn_of(row.sequence))]


async def _rows_after(
    connection: Connection, session_id: str, after: int | ColumnElement[int], limit: int
) -> list[Row[Any]]:
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
    whole = reply_of([{"content": replied.content}]) if replied else Reply("")
    reply = sent if sent is not None and sent.text == whole.text else whole
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
        is_brought=not is_own,
    )
