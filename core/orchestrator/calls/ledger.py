"""The attempt ledger: one row per upstream call, opened before the call and closed by whoever made it.

A row still open when the next call begins belongs to a worker that was lost. It is closed as such, and from then on
the lost worker, should it wake, is refused: a reply, or part of one, is kept only by the call whose row is still open.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, bindparam, exists, func, insert, select, update

from core.orchestrator.calls.attempts import read_attempts
from core.orchestrator.calls.lost import LOST_CALL, LostCall, close_open_calls, lost_events
from core.orchestrator.calls.prompt import Prompt, read_prompt
from core.orchestrator.calls.texts import FinishedText, PartialText, keep_partial, read_finished_text, read_partial
from core.orchestrator.contracts import Attempt, AttemptStatus, PlannedCall, SkippedCall, Usage
from core.orchestrator.errors import LLMProviderError, UnknownResourceError
from core.orchestrator.events import AttemptStarted, InteractionEvent, TextDelta
from core.orchestrator.models.cooldowns import forget
from core.orchestrator.providers.base import ChatCompletion
from core.orchestrator.providers.untrusted import one_line
from core.orchestrator.replies.log import append, append_if, appending_if
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.locks import hold_interactions
from core.orchestrator.storage.tables import attempts, completions, interactions, prompts

_ASKED = (
    select(interactions, prompts.c.messages, prompts.c.temperature, prompts.c.max_tokens, prompts.c.parameters)
    .outerjoin(prompts, prompts.c.interaction_id == interactions.c.interaction_id)
    .where(interactions.c.interaction_id == bindparam("interaction_id"))
    .with_for_update(of=interactions, key_share=True)
)
_BEFORE = select(attempts.c.ordinal, attempts.c.place, attempts.c.status).where(
    attempts.c.interaction_id == bindparam("interaction_id")
)
_INSERT = insert(attempts)
_KEEP = insert(completions)
_IS_OPEN = (
    attempts.c.interaction_id == bindparam("of"),
    attempts.c.ordinal == bindparam("number"),
    attempts.c.status.is_(None),
)
_APPEND_IF_OPEN = appending_if(exists().where(*_IS_OPEN))
_WRITE_OPEN = update(attempts).where(*_IS_OPEN).returning(attempts.c.provider, attempts.c.model)


@dataclass(frozen=True, slots=True)
class BegunCall:
    """A call whose row is open."""

    ordinal: int
    """Its number in the interaction, from 1."""
    prompt: Prompt
    """What is sent."""
    interaction: Row[Any]
    """Whose call it is: a row of `interactions`, as it was then."""
    watched: bool = False
    """Its text is logged as it comes: somebody may watch."""
    told: Sequence[InteractionEvent] = ()
    """What there is to tell: that it began, and before that, which calls turned out to be lost."""
    lost: Sequence[LostCall] = ()
    """Those calls."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a call took."""

    duration_ms: int
    first_token_ms: int | None


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer that is kept."""

    answer: FinishedText
    attempts: Sequence[Attempt]
    """The calls that were made for its place of the plan, this one the last."""


class AttemptLedger:
    """Writes the ledger."""

    def __init__(self, database: Database) -> None:
        """Keep the ledger in `database`."""
        self._database = database

    async def begin(
        self,
        interaction_id: str,
        call: PlannedCall,
        now: datetime,
        skipped: Sequence[SkippedCall] = (),
        *,
        continues: bool = False,
    ) -> BegunCall | FinishedText | None:
        """Open the row of a new call, close those of lost workers, and note once who was passed over before it.

        With `continues`, what a lost call had shown is not forgotten: the new one goes on from it.

        Returns:
            The call; the answer where it is kept already, for a worker thought lost may keep it up to this very
            transaction; None where the interaction has ended or is to end: nobody is to be asked.

        Raises:
            UnknownResourceError: no prompt has been built for that id, or it is gone.
        """
        async with self._database.write() as connection:
            this = {"interaction_id": interaction_id}
            asked = (await connection.execute(_ASKED, this)).one_or_none()
            if asked is None:
                raise UnknownResourceError("interaction", interaction_id)
            before = (await connection.execute(_BEFORE, this)).all()
            if any(one.place == call.place and one.status == AttemptStatus.SUCCEEDED for one in before):
                return await read_finished_text(connection, interaction_id, call.place)
            if asked.ended_at is not None or asked.cancelling is not None:
                return None
            if asked.messages is None:
                raise UnknownResourceError("prompt", interaction_id)
            lost: Sequence[LostCall] = ()
            if any(one.status is None for one in before):
                lost = await close_open_calls(connection, interaction_id, LOST_CALL, watched=asked.watched)
            ordinal = max((one.ordinal for one in before), default=0) + 1
            common = {
                "interaction_id": interaction_id,
                "user_id": asked.user_id,
                "persona_id": asked.persona_id,
                "day": now.astimezone(UTC).date().isoformat(),
                "started_at": now,
            }
            told_of = {one.place for one in before if one.status == AttemptStatus.SKIPPED}
            for one in skipped:
                if one.call.place in told_of:
                    continue  # a call that is retried brings them again
                await connection.execute(_INSERT, {**common, "ordinal": ordinal, **_skipped_columns(one)})
                ordinal += 1
            made = {"place": call.place, "provider": call.provider, "model": call.model, "billable": True}
            await connection.execute(_INSERT, {**common, "ordinal": ordinal, **made})
            told = [event for one in lost for event in lost_events(interaction_id, one, continues=continues)]
            told.append(AttemptStarted(interaction_id=interaction_id, attempt=ordinal, model=call.model))
            if asked.watched:
                await append(connection, *told)
            return BegunCall(ordinal, read_prompt(asked), asked, asked.watched, told, lost)

    async def identify(self, interaction_id: str, ordinal: int, generation_id: str) -> None:
        """Note under which id the upstream knows a call that is still open: should its worker be lost, this stays."""
        async with self._database.write() as connection:
            await _write_open(connection, interaction_id, ordinal, generation_id=generation_id)

    async def show(self, delta: TextDelta) -> bool:
        """Log some more of what a call says.

        Returns:
            False when the call is closed, by a newer one or the interaction's end: then nothing was written.
        """
        this = {"of": delta.interaction_id, "number": delta.attempt}
        async with self._database.write() as connection:
            await hold_interactions(connection, [delta.interaction_id])
            return await append_if(connection, _APPEND_IF_OPEN, this, delta)

    async def succeed(
        self,
        interaction_id: str,
        place: int,
        ordinal: int,
        completion: ChatCompletion,
        timing: Timing,
        *,
        estimated_cost_usd: float | None = None,
        told: Sequence[InteractionEvent] = (),
    ) -> KeptAnswer | None:
        """Close a call's row, keep its answer and forget the model's failures, in one transaction; log what is told.

        Done twice, it is as done once.

        Returns:
            None when a newer call has begun, or the interaction has ended: then nothing was written.
        """
        usage = (completion.usage or Usage()).model_dump() | {"estimated_cost_usd": estimated_cost_usd}
        answer = FinishedText(ordinal, completion.content, completion.finish_reason, completion.tool_calls)
        async with self._database.write() as connection:
            await hold_interactions(connection, [interaction_id])
            closed = await _write_open(
                connection,
                interaction_id,
                ordinal,
                status=AttemptStatus.SUCCEEDED,
                answered_model=completion.model,
                upstream_provider=completion.upstream_provider,
                generation_id=completion.generation_id,
                duration_ms=timing.duration_ms,
                first_token_ms=timing.first_token_ms,
                **usage,
            )
            if closed is not None:
                await connection.execute(_KEEP, {"interaction_id": interaction_id, "place": place, **asdict(answer)})
                await forget(connection, closed.provider, closed.model)
                await append(connection, *told)
            elif await read_finished_text(connection, interaction_id, place) != answer:
                return None
            return KeptAnswer(answer, await read_attempts(connection, interaction_id, place))

    async def fail(
        self,
        interaction_id: str,
        ordinal: int,
        error: LLMProviderError,
        timing: Timing,
        *,
        wait_ms: int | None = None,
        status: AttemptStatus = AttemptStatus.FAILED,
        partial: str | None = None,
        estimated_cost_usd: float | None = None,
        told: Sequence[InteractionEvent] = (),
    ) -> bool:
        """Close a call's row with its error, keep what it had said by then, and log what is told of it.

        Returns:
            False when it is closed already, by a newer call or the interaction's end: then nothing was written.
        """
        async with self._database.write() as connection:
            await hold_interactions(connection, [interaction_id])
            closed = await _write_open(
                connection,
                interaction_id,
                ordinal,
                status=status,
                error_type=error.error_type,
                http_status=error.http_status,
                error_code=error.error_code,
                detail=one_line(str(error)),
                generation_id=error.generation_id,
                billable=error.may_be_billed,
                duration_ms=timing.duration_ms,
                first_token_ms=timing.first_token_ms,
                wait_ms=wait_ms,
                estimated_cost_usd=estimated_cost_usd,
            )
            if closed is None:
                return False
            if partial is not None:
                await keep_partial(connection, interaction_id, ordinal, partial)
            await append(connection, *told)
            return True

    async def attempts(self, interaction_id: str, place: int | None = None) -> list[Attempt]:
        """Return the calls that have ended, in order, and the models that were passed over.

        With `place`, only the calls that were made for that place of the plan.
        """
        async with self._database.read() as connection:
            return await read_attempts(connection, interaction_id, place)

    async def finished_text(self, interaction_id: str, place: int) -> FinishedText | None:
        """Return the answer kept for a place of the plan, or None."""
        async with self._database.read() as connection:
            return await read_finished_text(connection, interaction_id, place)

    async def partial_text(self, interaction_id: str) -> PartialText | None:
        """Return what the last broken call that had said something said, or None."""
        async with self._database.read() as connection:
            return await read_partial(connection, interaction_id)

    async def answered_place(self, interaction_id: str) -> int | None:
        """Return the first place of the plan whose answer is kept, or None."""
        async with self._database.read() as connection:
            place: int | None = await connection.scalar(
                select(func.min(completions.c.place)).where(completions.c.interaction_id == interaction_id)
            )
        return place


def _skipped_columns(skipped: SkippedCall) -> dict[str, Any]:
    return {
        "place": skipped.call.place,
        "provider": skipped.call.provider,
        "model": skipped.call.model,
        "status": AttemptStatus.SKIPPED,
        "error_type": skipped.error_type,
        "detail": one_line(skipped.reason),
        "billable": False,
    }


async def _write_open(
    connection: Connection, interaction_id: str, ordinal: int, **values: Any
) -> Row[tuple[str, str]] | None:
    """Write to a call's row if it is still open, and return which model's it is; None where it is closed."""
    result = await connection.execute(_WRITE_OPEN, {"of": interaction_id, "number": ordinal, **values})
    return result.one_or_none()
