"""Opening an interaction: its place in the session, and everything that is decided before it is accepted.

One transaction knows the key it may have come with, the session's owner, and whether the session is busy; so of any
number of identical requests one opens it, and the others are told which one that was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.orchestrator.calls.cancelling import Cancelling, mark_cancelling
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.clock import Clock, utc_now
from core.orchestrator.contracts import (
    CompletionRequest,
    InteractionKind,
    InteractionRequest,
    InteractionStatus,
    MultitaskStrategy,
)
from core.orchestrator.errors import (
    IdempotencyConflictError,
    SessionBusyError,
    SessionErasingError,
    SessionOwnershipError,
    UnknownResourceError,
)
from core.orchestrator.events import InteractionCreated, InteractionQueued
from core.orchestrator.interactions.limits import Applicant, Limits
from core.orchestrator.interactions.reader import InteractionReader, find_row, read_request
from core.orchestrator.interactions.said import Said
from core.orchestrator.replies.log import append
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.locks import hold, hold_interactions
from core.orchestrator.storage.tables import erased_interactions, interactions, messages, prompts, sessions
from core.orchestrator.storage.upserts import insert_if_absent
from core.orchestrator.tokens import estimate_tokens
from core.orchestrator.workflow_ids import workflow_id_of

_COUNTED = 10
_NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What tells a repeated request from a new one."""

    key: str
    """Chosen by the client, once for each request."""
    fingerprint: str
    """Of what was asked, so that a key that is used for another request is noticed."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How an interaction is opened, beside what it asks."""

    watched: bool = False
    """Its events are logged as they come: somebody may watch."""
    key: IdempotencyKey | None = None
    strategy: MultitaskStrategy = MultitaskStrategy.ENQUEUE
    key_name: str | None = None
    """Of the API key that it was asked for with; None where keys are not asked for."""
    said: Said | None = None
    """What was said beyond the message itself; None: nothing."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An interaction that is open now, or was before."""

    request: InteractionRequest | CompletionRequest
    """As it was accepted: of a repeated request, the first one's."""
    status: InteractionStatus = InteractionStatus.QUEUED
    replayed: bool = False
    """It was opened before, with the same key."""
    displaced: list[str] = field(default_factory=list)
    """The interactions that it is to cancel."""


class InteractionOpener(InteractionReader):
    """Opens interactions."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        """Keep interactions in `database`, dated by `clock`."""
        super().__init__(database)
        self._clock = clock

    async def open_turn(
        self, request: InteractionRequest, opening: Opening = Opening(), limits: Limits = _NO_LIMITS
    ) -> Opened:
        """Give an interaction its place in its session and keep the user's message; nothing happens when it has one.

        Only what is new has to stay within `limits`: what was accepted before is open, or has been.

        Raises:
            SessionOwnershipError: the session belongs to another user.
            SessionErasingError: the session is being erased.
            SessionBusyError: an earlier turn has not ended, and the strategy is to reject.
            IdempotencyConflictError: the key came with another request before.
            UnknownResourceError: the interaction was erased.
            NotNowError: a limit is reached; nothing was kept.
            StorageUnavailableError: the database did not answer; nothing was kept.
        """
        now = self._clock()
        async with self._database.write() as connection:
            if known := await _opened_before(connection, request, opening, now):
                return known
            applicant = _applicant(request, opening)
            await limits.hold(connection, applicant)
            turn, displaced = await _place(connection, request, opening.strategy, now)
            await limits.check(connection, applicant, now)
            await connection.execute(
                insert(interactions).values(
                    **_columns(request, opening, now),
                    kind=InteractionKind.INTERACT,
                    session_id=request.session_id,
                    turn=turn,
                    persona_id=request.persona_id,
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
            if opening.watched:
                await append(connection, created_event(request), *await _queued(connection, request, turn))
            return Opened(request, displaced=displaced)

    async def open_completion(
        self,
        request: CompletionRequest,
        prompt: Prompt,
        opening: Opening = Opening(),
        limits: Limits = _NO_LIMITS,
    ) -> Opened:
        """Keep a bare completion and its messages; nothing happens when it is known.

        Raises:
            IdempotencyConflictError: the key came with another request before.
            NotNowError: a limit is reached; nothing was kept.
            StorageUnavailableError: the database did not answer; nothing was kept.
        """
        now = self._clock()
        async with self._database.write() as connection:
            if known := await _opened_before(connection, request, opening, now):
                return known
            applicant = _applicant(request, opening)
            await limits.hold(connection, applicant)
            await limits.check(connection, applicant, now)
            await connection.execute(
                insert(interactions).values(**_columns(request, opening, now), kind=InteractionKind.DIRECT)
            )
            await put_prompt(connection, request.interaction_id, prompt, {})
            if opening.watched:
                await append(connection, created_event(request))
            return Opened(request)


def created_event(request: InteractionRequest | CompletionRequest) -> InteractionCreated:
    """Return the event that tells of an accepted interaction."""
    turn = request if isinstance(request, InteractionRequest) else None
    return InteractionCreated(
        interaction_id=request.interaction_id,
        session_id=turn and turn.session_id,
        persona_id=turn and turn.persona_id,
        workflow_id=workflow_id_of(request.interaction_id),
    )


async def put_prompt(
    connection: AsyncConnection, interaction_id: str, prompt: Prompt, explanation: dict[str, Any]
) -> None:
    """Keep a prompt and why it is as it is, in place of an earlier one."""
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


async def open_turns_before(connection: AsyncConnection, session_id: str, turn: int) -> Sequence[str]:
    """Return the turns of a session before a number that have not ended, in order; ten at most."""
    query = (
        select(interactions.c.interaction_id)
        .where(interactions.c.session_id == session_id, interactions.c.ended_at.is_(None), interactions.c.turn < turn)
        .order_by(interactions.c.turn)
        .limit(_COUNTED)
    )
    return (await connection.scalars(query)).all()


def _applicant(request: InteractionRequest | CompletionRequest, opening: Opening) -> Applicant:
    return Applicant(request.interaction_id, request.user_id, opening.key_name)


def _columns(request: InteractionRequest | CompletionRequest, opening: Opening, now: datetime) -> dict[str, Any]:
    return {
        "interaction_id": request.interaction_id,
        "user_id": request.user_id,
        "status": InteractionStatus.QUEUED,
        "request": request.model_dump(mode="json"),
        "created_at": now,
        "watched": opening.watched,
        "idempotency_key": opening.key and opening.key.key,
        "fingerprint": opening.key and opening.key.fingerprint,
        "key_name": opening.key_name,
    }


async def _opened_before(
    connection: AsyncConnection, request: InteractionRequest | CompletionRequest, opening: Opening, now: datetime
) -> Opened | None:
    key = opening.key and f"key:{request.user_id}:{opening.key.key}"
    await hold(connection, f"interaction:{request.interaction_id}", *([key] if key else []))
    if await find_row(connection, request.interaction_id) is not None:
        return Opened(request)
    erased = select(erased_interactions).where(erased_interactions.c.interaction_id == request.interaction_id)
    if (await connection.execute(erased)).one_or_none() is not None:
        raise UnknownResourceError("interaction", request.interaction_id)
    if opening.key is None:
        return None
    query = select(interactions).where(
        interactions.c.user_id == request.user_id, interactions.c.idempotency_key == opening.key.key
    )
    row = (await connection.execute(query.with_for_update(key_share=True))).one_or_none()
    if row is None:
        return None
    if row.fingerprint != opening.key.fingerprint:
        raise IdempotencyConflictError("the idempotency key came with another body; every field of it counts")
    if row.status == InteractionStatus.QUEUED:
        # It is started once more, should its first start not have been recorded: nobody takes it for abandoned now.
        this = interactions.c.interaction_id == row.interaction_id
        await connection.execute(update(interactions).where(this).values(offered_at=now))
    return Opened(read_request(row), InteractionStatus(row.status), replayed=True)


async def _place(
    connection: AsyncConnection, request: InteractionRequest, strategy: MultitaskStrategy, now: datetime
) -> tuple[int, list[str]]:
    """Take the next number of the session, and cancel its earlier turns if that is wanted."""
    session_id = request.session_id
    query = select(sessions).where(sessions.c.session_id == session_id).with_for_update()
    first = {"session_id": session_id, "user_id": request.user_id, "created_at": now, "turns": 1}
    while (session := (await connection.execute(query)).one_or_none()) is None:
        if await insert_if_absent(connection, sessions, first):
            return 1, []  # else somebody else was faster
    if session.user_id != request.user_id:
        raise SessionOwnershipError(f"session '{session_id}' belongs to another user")
    if session.erasing:
        raise SessionErasingError(session_id)
    displaced = await _make_way(connection, session_id, strategy)
    turn: int = session.turns + 1
    await connection.execute(update(sessions).where(sessions.c.session_id == session_id).values(turns=turn))
    return turn, displaced


async def _make_way(connection: AsyncConnection, session_id: str, strategy: MultitaskStrategy) -> list[str]:
    """Refuse to disturb the open turns of a session, or mark them; return those nobody had marked so before."""
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
    await hold_interactions(connection, interactions.c.interaction_id.in_(busy))
    how = Cancelling.ROLLBACK if strategy is MultitaskStrategy.ROLLBACK else Cancelling.CANCEL
    return [earlier for earlier in busy if await mark_cancelling(connection, earlier, how)]


async def _queued(connection: AsyncConnection, request: InteractionRequest, turn: int) -> list[InteractionQueued]:
    earlier = await open_turns_before(connection, request.session_id, turn)
    return [InteractionQueued(interaction_id=request.interaction_id, waiting_on=one) for one in earlier[:1]]
