"""The interactions: opened once, ended once, and readable at every moment between.

The store decides how an interaction ends: the first terminal transaction wins, and whoever comes later is told what
it recorded. Every write is keyed by the interaction, so that a retried step changes nothing.

A turn's messages have numbers fixed when it is opened: turn n holds the user's message 2n-1 and the reply 2n.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, select, update

from core.orchestrator.calls.cancelling import Cancelling, mark_cancelling
from core.orchestrator.calls.lost import LOST_CALL, close_open_calls
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.calls.texts import read_cancelled_text
from core.orchestrator.contracts import (
    InteractionError,
    InteractionStatus,
    InteractionView,
    MemoryWindow,
    ToolCall,
)
from core.orchestrator.errors import ErrorType
from core.orchestrator.events import InteractionEvent
from core.orchestrator.interactions.opener import InteractionOpener, put_prompt
from core.orchestrator.interactions.places import open_turns_before
from core.orchestrator.interactions.reader import find_held_row, find_row, known, read_views
from core.orchestrator.memory.chat_messages import reply_message
from core.orchestrator.memory.conversations import select_window
from core.orchestrator.memory.rows import asked_number, reply_number, reply_row
from core.orchestrator.replies.log import append, append_end, append_wake
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.locks import hold_session_of
from core.orchestrator.storage.tables import interactions, messages

CANCELLED = InteractionError(type=ErrorType.CANCELLED, detail="the interaction was cancelled")
_NO_WORKFLOW = InteractionError(type=ErrorType.UNAVAILABLE, detail="the interaction has no workflow")

_UPDATE = update(interactions).where(interactions.c.interaction_id == bindparam("of"))
_BEGIN = _UPDATE.where(interactions.c.ended_at.is_(None), interactions.c.cancelling.is_(None)).returning(
    interactions.c.watched
)
_END = _UPDATE.returning(interactions)
_REPLY = insert(messages)
_NEXT_OPEN = (
    select(interactions.c.interaction_id)
    .where(
        interactions.c.session_id == bindparam("session_id"),
        interactions.c.ended_at.is_(None),
        interactions.c.turn > bindparam("turn"),
    )
    .order_by(interactions.c.turn)
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an interaction ends."""

    status: InteractionStatus
    reply: str | None = None
    """Of a cancelled one: what it keeps where no call is cut off by the cancellation."""
    answered_place: int | None = None
    """The place in the plan whose answer the reply is."""
    tool_calls: Sequence[ToolCall] | None = None
    """What the reply calls, of the client's tools."""
    degraded: bool = False
    """The reply is a fallback line: shown, but part of no later prompt."""
    error: InteractionError | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """What the store has to say of an interaction that has ended."""

    view: InteractionView
    first: bool
    """It ended just now; False: it had ended before, and not necessarily so."""
    following: str | None = None
    """The next turn of the session that had not ended when this one did: it may be waiting for it."""


class Abandonment(Enum):
    """What came of taking an interaction for one that was never accepted."""

    ENDED = auto()
    """It has ended."""
    BEGUN = auto()
    """It was accepted, for it has begun."""
    OFFERED_ANEW = auto()
    """Its start was asked for once more in the meantime."""


class InteractionStore(InteractionOpener):
    """Opens, runs and ends interactions."""

    # --- running ---

    async def take_place(self, interaction_id: str, memory_token_budget: int) -> MemoryWindow:
        """Choose what a turn may remember if every earlier one of its session has ended: none of them changes any more.

        A turn without a session waits for nobody and remembers nothing. It begins with its prompt: see `save_prompt`.

        Returns:
            What to remember; with `waiting_on` set, the turn that comes first; with `ended`, all that is left is to
            end it.

        Raises:
            UnknownResourceError: the turn was never opened.
        """
        async with self._database.read() as connection:
            row = known(await find_row(connection, interaction_id), interaction_id)
            if InteractionStatus(row.status).is_final or row.cancelling is not None:
                return MemoryWindow(ended=True)
            if row.session_id is None:
                return MemoryWindow()
            earlier = await open_turns_before(connection, row.session_id, row.turn)
            if earlier:
                return MemoryWindow(waiting_on=earlier[0], ahead=len(earlier))
            return await select_window(connection, row.session_id, asked_number(row.turn), memory_token_budget)

    async def save_prompt(
        self,
        interaction_id: str,
        prompt: Prompt,
        explanation: dict[str, Any],
        *,
        persona_name: str | None = None,
        persona_version: str | None = None,
        agent: str | None = None,
        told: Sequence[InteractionEvent] = (),
    ) -> bool:
        """Begin an interaction: keep its exact prompt and why it is so, and log what is told; a retry replaces it.

        Returns:
            False when the interaction has ended, or is to end: then nothing was written.

        Raises:
            UnknownResourceError: the interaction is gone.
        """
        who = {"persona_name": persona_name, "persona_version": persona_version, "agent": agent}
        begun = {"of": interaction_id, "status": InteractionStatus.IN_PROGRESS, **who}
        async with self._database.write() as connection:
            row = (await connection.execute(_BEGIN, begun)).one_or_none()
            if row is None:
                known(await find_row(connection, interaction_id), interaction_id)
                return False
            await put_prompt(connection, interaction_id, prompt, explanation)
            if row.watched:
                await append(connection, *told)
            return True

    # --- ending ---

    async def end(self, interaction_id: str, ending: Ending) -> Ended:
        """End an interaction, unless it has ended: the first ending stays.

        Raises:
            UnknownResourceError: it was never opened.
        """
        async with self._database.write() as connection:
            await hold_session_of(connection, interaction_id)
            row = known(await find_held_row(connection, interaction_id), interaction_id)
            return await self._ended(connection, row, ending)

    async def ended(self, interaction_id: str) -> Ended | None:
        """Return how an interaction has ended; None where it has not.

        Of the next turn nothing is said: whoever ended this one has told it, and one that came since waits for nobody.

        Raises:
            UnknownResourceError: it was never opened.
        """
        async with self._database.read() as connection:
            row = known(await find_row(connection, interaction_id), interaction_id)
            if not InteractionStatus(row.status).is_final:
                return None
            [view] = await read_views(connection, [row])
            return Ended(view, first=False)

    async def cancel(self, interaction_id: str) -> Ended | None:
        """Note that an interaction is to end. One that has not begun, or has ended, has nothing left to do.

        Returns:
            How it ended; None where it has begun, and ends when its call has stopped.

        Raises:
            UnknownResourceError: it was never opened.
        """
        async with self._database.write() as connection:
            await hold_session_of(connection, interaction_id)
            row = known(await find_held_row(connection, interaction_id), interaction_id)
            if row.status == InteractionStatus.IN_PROGRESS:
                await mark_cancelling(connection, interaction_id, Cancelling.CANCEL)
                return None
            return await self._ended(connection, row, Ending(InteractionStatus.CANCELLED, error=CANCELLED))

    async def _ended(self, connection: Connection, row: Row[Any], ending: Ending) -> Ended:
        first = not InteractionStatus(row.status).is_final
        if first:
            row = await self._end(connection, row, ending)
        [view] = await read_views(connection, [row])
        following = None
        if first:
            await append_end(connection, view, watched=row.watched)
            following = await _next_open_turn(connection, row) if row.turn is not None else None
        return Ended(view, first, following)

    async def abandon(self, interaction_id: str, offered_at: datetime) -> Abandonment:
        """End an interaction that never began and has no workflow: it was never accepted, so its message goes too.

        What it has brought to its session from elsewhere stays, and so does a branch that it has begun: its client has
        said all that, and says it again when it repeats the request. Its key is free again: whoever repeats the request
        with it opens another interaction.

        Args:
            interaction_id: whose workflow is missing.
            offered_at: when its start had last been asked for, as was known when the workflow was looked for.
        """
        async with self._database.write() as connection:
            row = await find_held_row(connection, interaction_id)
            if row is None or InteractionStatus(row.status) is InteractionStatus.IN_PROGRESS:
                return Abandonment.BEGUN
            if InteractionStatus(row.status) is InteractionStatus.QUEUED:
                if (row.offered_at or row.created_at) > offered_at:
                    return Abandonment.OFFERED_ANEW
                await _forget_messages(connection, row)
                ended = await self._end(connection, row, Ending(InteractionStatus.FAILED, error=_NO_WORKFLOW))
                await connection.execute(_UPDATE, {"of": interaction_id, "idempotency_key": None})
                [view] = await read_views(connection, [ended])
                await append_end(connection, view, watched=row.watched)
            return Abandonment.ENDED

    async def _end(self, connection: Connection, row: Row[Any], ending: Ending) -> Row[Any]:
        """End an interaction, and return its row as it is then."""
        now = self._clock()
        ending = _as_wanted(ending, row.cancelling)
        # A call cut off by the deadline, or by the end of its worker, may have nobody left to close it. One that has
        # answered has closed the others when it began.
        if ending.answered_place is None:
            why = ending.error or LOST_CALL
            if await close_open_calls(connection, row.interaction_id, why, watched=row.watched):
                await append_wake(connection, row.interaction_id)  # should one of them still run, it is to stop
        if row.cancelling == Cancelling.ROLLBACK:
            await _forget_messages(connection, row)
        elif ending.status is InteractionStatus.CANCELLED:
            said = await read_cancelled_text(connection, row.interaction_id)
            ending = replace(ending, reply=said or ending.reply)
        how = {
            "status": ending.status,
            "ended_at": now,
            "reply": ending.reply,
            "answered_place": ending.answered_place,
            "degraded": ending.degraded,
            "error_type": ending.error and ending.error.type,
            "error_detail": ending.error and ending.error.detail,
        }
        ended: Row[Any] = (await connection.execute(_END, {"of": row.interaction_id, **how})).one()
        if row.session_id is not None and ending.reply is not None:
            reply = reply_row(row.turn, [reply_message(ending.reply, ending.tool_calls)])
            own = {"session_id": row.session_id, "interaction_id": row.interaction_id, "created_at": now}
            await connection.execute(_REPLY, reply | own | {"in_memory": not ending.degraded})
        return ended


def _as_wanted(ending: Ending, cancelling: str | None) -> Ending:
    """Return how an interaction ends that somebody wanted to end: an answer that came first stays, save by rollback."""
    if cancelling == Cancelling.ROLLBACK:
        return Ending(InteractionStatus.CANCELLED, error=CANCELLED)
    if cancelling is None or ending.status in (InteractionStatus.COMPLETED, InteractionStatus.CANCELLED):
        return ending
    kept = ending.reply if ending.status is InteractionStatus.INCOMPLETE else None
    return Ending(InteractionStatus.CANCELLED, reply=kept, error=CANCELLED)


async def _next_open_turn(connection: Connection, row: Row[Any]) -> str | None:
    found: str | None = await connection.scalar(_NEXT_OPEN, {"session_id": row.session_id, "turn": row.turn})
    return found


async def _forget_messages(connection: Connection, row: Row[Any]) -> None:
    if row.session_id is None:
        return
    own = messages.c.sequence.between(asked_number(row.turn), reply_number(row.turn))
    await connection.execute(delete(messages).where(messages.c.session_id == row.session_id, own))
