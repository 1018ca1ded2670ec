"""An interaction without a session becomes the turn of one, as soon as another is to follow it.

What its client had sent with it becomes the turns before it. The session has the id of the interaction, so that the
next one to follow finds it; the interaction itself may still be running, and ends as a turn of it.
"""

from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Row, insert, update

from core.orchestrator.calls.texts import read_finished_text
from core.orchestrator.contracts import InteractionKind, InteractionRequest, Message
from core.orchestrator.errors import UnknownResourceError
from core.orchestrator.interactions.inputs import read_input
from core.orchestrator.interactions.reader import find_held_row, find_row, read_request
from core.orchestrator.interactions.said import Said
from core.orchestrator.memory.chat_messages import reply_message
from core.orchestrator.memory.exchanges import exchanges_of
from core.orchestrator.memory.rows import asked_row, reply_row, rows_of
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.locks import hold
from core.orchestrator.storage.tables import interactions, messages, sessions
from core.orchestrator.storage.upserts import insert_if_absent


async def turn_to_follow(connection: Connection, interaction_id: str, user_id: str, now: datetime) -> tuple[str, int]:
    """Return session and turn of an interaction that another is to follow.

    Raises:
        UnknownResourceError: the user has no such interaction, or it is a bare completion.
    """
    row = await find_row(connection, interaction_id)
    if row is None or row.user_id != user_id or row.kind != InteractionKind.INTERACT:
        raise UnknownResourceError("response", interaction_id)
    if row.session_id is None:
        await hold(connection, f"session-of:{interaction_id}")
        row = await _adopted(connection, interaction_id, now)
    return row.session_id, row.turn


async def _adopted(connection: Connection, interaction_id: str, now: datetime) -> Row[Any]:
    """Give an interaction a session, unless somebody else has done it by now, and return its row."""
    row = await find_row(connection, interaction_id)
    if row is None:
        raise UnknownResourceError("response", interaction_id)
    if row.session_id is not None:
        return row
    said = await read_input(connection, interaction_id) or _message_alone(row)
    brought = exchanges_of(said.earlier)
    turn = len(brought) + 1
    session_id = interaction_id
    session = {"user_id": row.user_id, "created_at": now, "turns": turn}
    if not await insert_if_absent(connection, sessions, session | {"session_id": session_id}):
        session_id = str(uuid4())  # somebody calls a conversation of theirs so
        await connection.execute(insert(sessions).values(session | {"session_id": session_id}))
    row = await find_held_row(connection, interaction_id)
    if row is None:
        raise UnknownResourceError("response", interaction_id)
    this = interactions.c.interaction_id == interaction_id
    of_session = update(interactions).where(this).values(session_id=session_id, turn=turn).returning(interactions)
    adopted: Row[Any] = (await connection.execute(of_session)).one()
    rows = [one for number, exchange in enumerate(brought, 1) for one in rows_of(number, exchange)]
    rows.append(asked_row(turn, said.new))
    if adopted.reply is not None:
        rows.append(reply_row(turn, [await _reply(connection, adopted)]) | {"in_memory": not adopted.degraded})
    common = {"session_id": session_id, "interaction_id": interaction_id, "created_at": now}
    await connection.execute(insert(messages), [common | one for one in rows])
    return adopted


def _message_alone(row: Row[Any]) -> Said:
    request = read_request(row)
    message = request.message if isinstance(request, InteractionRequest) else ""
    return Said([{"role": "user", "content": message}])


async def _reply(connection: Connection, row: Row[Any]) -> Message:
    if row.answered_place is None:
        return reply_message(row.reply)
    finished = await read_finished_text(connection, row.interaction_id, row.answered_place)
    return reply_message(row.reply, finished.tool_calls if finished else None)
