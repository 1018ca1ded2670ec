"""The interactions: opened once, ended once, and readable at every moment between.

The store decides how an interaction ends: the first terminal transaction wins, and whoever comes later is told what
it recorded. Every write is keyed by the interaction, so that a retried step changes nothing.

A turn's messages have numbers fixed when it is opened: turn n holds the user's message 2n-1 and the reply 2n.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.orchestrator.calls.ledger import LOST_CALL, close_open_calls
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.clock import Clock, utc_now
from core.orchestrator.contracts import (
    CompletionRequest,
    InteractionError,
    InteractionKind,
    InteractionRequest,
    InteractionStatus,
    InteractionView,
    MemoryWindow,
)
from core.orchestrator.errors import ErrorType, SessionOwnershipError
from core.orchestrator.interactions.reader import InteractionReader, find_row, known, read_view
from core.orchestrator.memory.conversations import select_window
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import interactions, messages, prompts, sessions
from core.orchestrator.tokens import estimate_tokens


@dataclass(frozen=True, slots=True)
class Ending:
    """How an interaction ends."""

    status: InteractionStatus
    reply: str | None = None
    answered_place: int | None = None
    """The place in the plan whose answer the reply is."""
    degraded: bool = False
    """The reply is a fallback line: shown, but part of no later prompt."""
    error: InteractionError | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """What the store has to say of an interaction that has ended."""

    view: InteractionView
    first: bool
    """It ended just now; False: it had ended before, and not necessarily so."""
    following: str | None
    """The next turn of the session that has not ended: it may be waiting for this one."""


class InteractionStore(InteractionReader):
    """Opens, runs and ends interactions."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        """Keep interactions in `database`, dated by `clock`."""
        super().__init__(database)
        self._clock = clock

    # --- opening ---

    async def open_turn(self, request: InteractionRequest) -> None:
        """Give an interaction its place in its session and keep the user's message; nothing happens when it has one.

        Raises:
            SessionOwnershipError: the session belongs to another user.
            StorageUnavailableError: the database did not answer; nothing was kept.
        """
        now = self._clock()
        async with self._database.write() as connection:
            if await find_row(connection, request.interaction_id) is not None:
                return
            turn = await self._next_turn(connection, request, now)
            await connection.execute(
                insert(interactions).values(
                    interaction_id=request.interaction_id,
                    kind=InteractionKind.INTERACT,
                    user_id=request.user_id,
                    session_id=request.session_id,
                    turn=turn,
                    persona_id=request.persona_id,
                    status=InteractionStatus.QUEUED,
                    request=request.model_dump(mode="json"),
                    created_at=now,
                )
            )
            await connection.execute(
                insert(messages).values(
                    session_id=request.session_id,
                    sequence=2 * turn - 1,
                    interaction_id=request.interaction_id,
                    role="user",
                    content=request.message,
                    tokens=estimate_tokens(request.message),
                    in_memory=True,
                    created_at=now,
                )
            )

    async def open_completion(self, request: CompletionRequest, prompt: Prompt) -> None:
        """Keep a bare completion and its messages; nothing happens when it is known.

        Raises:
            StorageUnavailableError: the database did not answer; nothing was kept.
        """
        async with self._database.write() as connection:
            if await find_row(connection, request.interaction_id) is not None:
                return
            await connection.execute(
                insert(interactions).values(
                    interaction_id=request.interaction_id,
                    kind=InteractionKind.DIRECT,
                    user_id=request.user_id,
                    status=InteractionStatus.QUEUED,
                    request=request.model_dump(mode="json"),
                    created_at=self._clock(),
                )
            )
            await _put_prompt(connection, request.interaction_id, prompt, {})

    async def _next_turn(self, connection: AsyncConnection, request: InteractionRequest, now: datetime) -> int:
        session = (
            await connection.execute(select(sessions).where(sessions.c.session_id == request.session_id))
        ).one_or_none()
        if session is None:
            await connection.execute(
                insert(sessions).values(session_id=request.session_id, user_id=request.user_id, created_at=now, turns=1)
            )
            return 1
        if session.user_id != request.user_id:
            raise SessionOwnershipError(f"session '{request.session_id}' belongs to another user")
        turn: int = session.turns + 1
        await connection.execute(update(sessions).where(sessions.c.session_id == request.session_id).values(turns=turn))
        return turn

    # --- running ---

    async def take_place(self, interaction_id: str, memory_token_budget: int) -> MemoryWindow:
        """Begin a turn if every earlier one of its session has ended, and choose what it may remember.

        Returns:
            What to remember; with `waiting_on` set, the turn that comes first; with `ended`, nothing is left to do.

        Raises:
            UnknownResourceError: the turn was never opened.
        """
        async with self._database.write() as connection:
            row = known(await find_row(connection, interaction_id), interaction_id)
            if InteractionStatus(row.status).is_final:
                return MemoryWindow(ended=True)
            earlier = await _first_open_turn(connection, row.session_id, interactions.c.turn < row.turn)
            if earlier is not None:
                return MemoryWindow(waiting_on=earlier)
            await _begin(connection, interaction_id)
            return await select_window(connection, row.session_id, 2 * row.turn - 1, memory_token_budget)

    async def begin_completion(self, interaction_id: str) -> bool:
        """Mark a bare completion as running.

        Returns:
            False when it has ended already.

        Raises:
            UnknownResourceError: it was never opened.
        """
        async with self._database.write() as connection:
            row = known(await find_row(connection, interaction_id), interaction_id)
            if InteractionStatus(row.status).is_final:
                return False
            await _begin(connection, interaction_id)
            return True

    async def save_prompt(
        self,
        interaction_id: str,
        prompt: Prompt,
        explanation: dict[str, Any],
        *,
        persona_name: str | None = None,
        persona_version: str | None = None,
        agent: str | None = None,
    ) -> None:
        """Keep the exact prompt and why it is as it is; a retry replaces it."""
        async with self._database.write() as connection:
            await _put_prompt(connection, interaction_id, prompt, explanation)
            await connection.execute(
                update(interactions)
                .where(interactions.c.interaction_id == interaction_id)
                .values(persona_name=persona_name, persona_version=persona_version, agent=agent)
            )

    # --- ending ---

    async def end(self, interaction_id: str, ending: Ending) -> Ended:
        """End an interaction, unless it has ended: the first ending stays.

        Raises:
            UnknownResourceError: it was never opened.
        """
        async with self._database.write() as connection:
            row = known(await find_row(connection, interaction_id), interaction_id)
            first = not InteractionStatus(row.status).is_final
            if first:
                await self._end(connection, row, ending)
            following = None
            if row.turn is not None:
                following = await _first_open_turn(connection, row.session_id, interactions.c.turn > row.turn)
            view = await read_view(connection, interaction_id)
            return Ended(view, first, following)

    async def abandon(self, interaction_id: str) -> bool:
        """End an interaction that never began and has no workflow: it was never accepted, so its message goes too.

        Returns:
            False when it has begun: then nothing was done.
        """
        async with self._database.write() as connection:
            row = await find_row(connection, interaction_id)
            if row is None or InteractionStatus(row.status) is InteractionStatus.IN_PROGRESS:
                return False
            if InteractionStatus(row.status) is InteractionStatus.QUEUED:
                await connection.execute(delete(messages).where(messages.c.interaction_id == interaction_id))
                error = InteractionError(type=ErrorType.UNAVAILABLE, detail="the interaction has no workflow")
                await self._end(connection, row, Ending(InteractionStatus.FAILED, error=error))
            return True

    async def _end(self, connection: AsyncConnection, row: Row[Any], ending: Ending) -> None:
        now = self._clock()
        # A call cut off by the deadline, or by the end of its worker, may have nobody left to close it.
        await close_open_calls(connection, row.interaction_id, ending.error or LOST_CALL)
        await connection.execute(
            update(interactions)
            .where(interactions.c.interaction_id == row.interaction_id)
            .values(
                status=ending.status,
                ended_at=now,
                reply=ending.reply,
                answered_place=ending.answered_place,
                degraded=ending.degraded,
                error_type=ending.error and ending.error.type,
                error_detail=ending.error and ending.error.detail,
            )
        )
        if row.session_id is not None and ending.reply is not None:
            await connection.execute(
                insert(messages).values(
                    session_id=row.session_id,
                    sequence=2 * row.turn,
                    interaction_id=row.interaction_id,
                    role="assistant",
                    content=ending.reply,
                    tokens=estimate_tokens(ending.reply),
                    in_memory=not ending.degraded,
                    created_at=now,
                )
            )


async def _first_open_turn(connection: AsyncConnection, session_id: str, which: ColumnElement[bool]) -> str | None:
    query = (
        select(interactions.c.interaction_id)
        .where(interactions.c.session_id == session_id, interactions.c.ended_at.is_(None), which)
        .order_by(interactions.c.turn)
        .limit(1)
    )
    found: str | None = await connection.scalar(query)
    return found


async def _begin(connection: AsyncConnection, interaction_id: str) -> None:
    await connection.execute(
        update(interactions)
        .where(interactions.c.interaction_id == interaction_id)
        .values(status=InteractionStatus.IN_PROGRESS)
    )


async def _put_prompt(
    connection: AsyncConnection, interaction_id: str, prompt: Prompt, explanation: dict[str, Any]
) -> None:
    await connection.execute(delete(prompts).where(prompts.c.interaction_id == interaction_id))
    await connection.execute(
        insert(prompts).values(
            interaction_id=interaction_id,
            messages=prompt.messages,
            temperature=prompt.temperature,
            max_tokens=prompt.max_tokens,
            explanation=explanation,
        )
    )
