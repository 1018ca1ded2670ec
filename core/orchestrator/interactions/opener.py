"""Opening an interaction: its place in the session, and everything that is decided before it is accepted.

One transaction knows the key it may have come with, the session's owner, and whether the session is busy; so of any
number of identical requests one opens it, and the others are told which one that was.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import insert

from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.clock import Clock, utc_now
from core.orchestrator.contracts import CompletionRequest, InteractionKind, InteractionRequest, InteractionStatus
from core.orchestrator.events import InteractionQueued
from core.orchestrator.interactions.branching import find_place
from core.orchestrator.interactions.inputs import put_input
from core.orchestrator.interactions.limits import Applicant, Limits
from core.orchestrator.interactions.opening import Opened, Opening, created_event
from core.orchestrator.interactions.places import Place, next_place, open_turns_before
from core.orchestrator.interactions.reader import InteractionReader
from core.orchestrator.interactions.repetition import opened_before
from core.orchestrator.memory.rows import asked_row, rows_of
from core.orchestrator.replies.log import append
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import interactions, messages, prompts
from core.orchestrator.storage.upserts import put

_NO_LIMITS = Limits()
_PLAIN = Opening()
_OPEN = insert(interactions)
_SAY = insert(messages)


class InteractionOpener(InteractionReader):
    """Opens interactions."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        """Keep interactions in `database`, dated by `clock`."""
        super().__init__(database)
        self._clock = clock

    async def open_turn(
        self, request: InteractionRequest, opening: Opening = _PLAIN, limits: Limits = _NO_LIMITS
    ) -> Opened:
        """Give an interaction its place in its session and keep the user's message; nothing happens when it has one.

        Without a session it has no place, and what was said is kept beside it. What a client of OpenAI's APIs says
        may be another branch of the session, or an interaction that is open already: see `branching`.

        Only what is new has to stay within `limits`: what was accepted before is open, or has been.

        Raises:
            SessionOwnershipError: the session belongs to another user.
            SessionErasingError: the session is being erased.
            SessionBusyError: an earlier turn has not ended, and the strategy is to reject; or it has to, so that
                another one can follow it in a branch of its own.
            IdempotencyConflictError: the key came with another request before.
            UnknownResourceError: the interaction was erased; or there is none that it could follow.
            NotNowError: a limit is reached; nothing was kept.
            StorageUnavailableError: the database did not answer; nothing was kept.
        """
        now = self._clock()
        async with self._database.write() as connection:
            if known := await opened_before(connection, request, opening, now):
                return known
            applicant = _applicant(request, opening)
            await limits.hold(connection, applicant)
            place = await _find_place(connection, request, opening, now)
            if isinstance(place, Opened):
                return place
            await limits.check(connection, applicant, now)
            if place is not None:
                request = request.model_copy(update={"session_id": place.session_id})
                opening = _of_its_own(opening, place)
            turn = {
                "kind": InteractionKind.INTERACT,
                "session_id": request.session_id,
                "turn": place and place.turn,
                "persona_id": request.persona_id,
            }
            await connection.execute(_OPEN, _columns(request, opening, now) | turn)
            if place is not None:
                await _put_messages(connection, request, place, opening, now)
            if opening.said is not None and request.has_input:
                await put_input(connection, request.interaction_id, opening.said, whole=place is None)
            if opening.watched:
                await append(connection, created_event(request), *await _queued(connection, request, place))
            return Opened(request, displaced=place.displaced if place else [])

    async def open_completion(
        self,
        request: CompletionRequest,
        prompt: Prompt,
        opening: Opening = _PLAIN,
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
            if known := await opened_before(connection, request, opening, now):
                return known
            applicant = _applicant(request, opening)
            await limits.hold(connection, applicant)
            await limits.check(connection, applicant, now)
            await connection.execute(_OPEN, _columns(request, opening, now) | {"kind": InteractionKind.DIRECT})
            await put_prompt(connection, request.interaction_id, prompt, {})
            if opening.watched:
                await append(connection, created_event(request))
            return Opened(request)


async def put_prompt(connection: Connection, interaction_id: str, prompt: Prompt, explanation: dict[str, Any]) -> None:
    """Keep a prompt and why it is as it is, in place of an earlier one."""
    row = {
        "interaction_id": interaction_id,
        "messages": prompt.messages,
        "temperature": prompt.temperature,
        "max_tokens": prompt.max_tokens,
        "parameters": prompt.parameters or None,
        "explanation": explanation,
    }
    await put(connection, prompts, row)


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
        "fingerprint": opening.key.fingerprint if opening.key else opening.fingerprint,
        "key_name": opening.key_name,
    }


async def _find_place(
    connection: Connection, request: InteractionRequest, opening: Opening, now: datetime
) -> Place | Opened | None:
    if opening.said is not None:
        return await find_place(connection, request, opening, opening.said, now)
    if request.session_id is not None:
        return await next_place(connection, request, request.session_id, opening.strategy, now)
    return None


def _of_its_own(opening: Opening, place: Place) -> Opening:
    """Return an opening without what its client said again of an earlier turn."""
    if opening.said is None or not place.asked:
        return opening
    return replace(opening, said=replace(opening.said, messages=place.asked))


async def _put_messages(
    connection: Connection, request: InteractionRequest, place: Place, opening: Opening, now: datetime
) -> None:
    asked = opening.said.new if opening.said else [{"role": "user", "content": request.message}]
    common = {"session_id": place.session_id, "interaction_id": request.interaction_id, "created_at": now}
    first = place.turn - len(place.brought)
    rows = [row for turn, exchange in enumerate(place.brought, first) for row in rows_of(turn, exchange)]
    await connection.execute(_SAY, [common | row for row in [*rows, asked_row(place.turn, asked)]])


async def _queued(connection: Connection, request: InteractionRequest, place: Place | None) -> list[InteractionQueued]:
    if place is None:
        return []
    earlier = await open_turns_before(connection, place.session_id, place.turn)
    return [InteractionQueued(interaction_id=request.interaction_id, waiting_on=one) for one in earlier[:1]]
