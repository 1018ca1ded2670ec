"""The attempt ledger: one row per upstream call, opened before the call and closed by whoever made it.

A row still open when the next call begins belongs to a worker that was lost. It is closed as such, and from then on
the lost worker, should it wake, is refused: a reply is kept only by the call whose row is still open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.orchestrator.contracts import Attempt, AttemptStatus, InteractionError, PlannedCall, Usage
from core.orchestrator.errors import ErrorType, LLMProviderError
from core.orchestrator.providers.base import ChatCompletion
from core.orchestrator.providers.untrusted import one_line
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import attempts, completions, interactions

_USAGE_FIELDS = tuple(Usage.model_fields)
LOST_CALL = InteractionError(type=ErrorType.WORKER_LOST, detail="the worker was lost during the call")
"""Why a call was never closed, where nothing better is known."""


@dataclass(frozen=True, slots=True)
class FinishedText:
    """A model's whole answer, kept so that no retry pays for it again."""

    ordinal: int
    text: str
    finish_reason: str | None


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a call took."""

    duration_ms: int
    first_token_ms: int | None


class AttemptLedger:
    """Writes the ledger."""

    def __init__(self, database: Database) -> None:
        """Keep the ledger in `database`."""
        self._database = database

    async def begin(self, interaction_id: str, call: PlannedCall, now: datetime) -> int | FinishedText | None:
        """Open the row of a new call and close those of lost workers.

        Returns:
            The call's ordinal in the interaction, from 1; the answer where it is kept already, for a worker thought
            lost may keep it up to this very transaction; None where the interaction has ended: nobody is to be asked.
        """
        async with self._database.write() as connection:
            finished = await _finished_text(connection, interaction_id, call.place)
            if finished is not None:
                return finished
            owner = (
                await connection.execute(
                    select(interactions.c.user_id, interactions.c.persona_id, interactions.c.ended_at).where(
                        interactions.c.interaction_id == interaction_id
                    )
                )
            ).one()
            if owner.ended_at is not None:
                return None
            await close_open_calls(connection, interaction_id, LOST_CALL)
            latest = await connection.scalar(
                select(func.max(attempts.c.ordinal)).where(attempts.c.interaction_id == interaction_id)
            )
            ordinal = (latest or 0) + 1
            await connection.execute(
                insert(attempts).values(
                    interaction_id=interaction_id,
                    ordinal=ordinal,
                    place=call.place,
                    user_id=owner.user_id,
                    persona_id=owner.persona_id,
                    day=now.astimezone(UTC).date().isoformat(),
                    provider=call.provider,
                    model=call.model,
                    started_at=now,
                    billable=True,
                )
            )
            return ordinal

    async def succeed(
        self, interaction_id: str, place: int, ordinal: int, completion: ChatCompletion, timing: Timing
    ) -> bool:
        """Close a call's row and keep its text, in one transaction; done twice, it is as done once.

        Returns:
            False when a newer call has begun, or the interaction has ended: then nothing was written.
        """
        usage = completion.usage or Usage()
        async with self._database.write() as connection:
            closed = await _close(
                connection,
                interaction_id,
                ordinal,
                status=AttemptStatus.SUCCEEDED,
                answered_model=completion.model,
                upstream_provider=completion.upstream_provider,
                generation_id=completion.generation_id,
                duration_ms=timing.duration_ms,
                first_token_ms=timing.first_token_ms,
                **usage.model_dump(),
            )
            if closed:
                await connection.execute(
                    insert(completions).values(
                        interaction_id=interaction_id,
                        place=place,
                        ordinal=ordinal,
                        text=completion.content,
                        finish_reason=completion.finish_reason,
                    )
                )
                return True
            kept = await _finished_text(connection, interaction_id, place)
            return kept is not None and kept.ordinal == ordinal

    async def fail(
        self,
        interaction_id: str,
        ordinal: int,
        error: LLMProviderError,
        timing: Timing,
        *,
        wait_ms: int | None = None,
        status: AttemptStatus = AttemptStatus.FAILED,
    ) -> bool:
        """Close a call's row with its error.

        Returns:
            False when it is closed already, by a newer call or the interaction's end: then nothing was written.
        """
        async with self._database.write() as connection:
            return await _close(
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
            )

    async def attempts(self, interaction_id: str, place: int | None = None) -> list[Attempt]:
        """Return the calls that have ended, in order; only those of one place when it is given."""
        async with self._database.read() as connection:
            return await read_attempts(connection, interaction_id, place)

    async def finished_text(self, interaction_id: str, place: int) -> FinishedText | None:
        """Return the answer kept for a place of the plan, or None."""
        async with self._database.read() as connection:
            return await _finished_text(connection, interaction_id, place)

    async def answered_place(self, interaction_id: str) -> int | None:
        """Return the first place of the plan whose answer is kept, or None."""
        async with self._database.read() as connection:
            place: int | None = await connection.scalar(
                select(func.min(completions.c.place)).where(completions.c.interaction_id == interaction_id)
            )
        return place


async def close_open_calls(connection: AsyncConnection, interaction_id: str, error: InteractionError) -> None:
    """Close the calls of an interaction that nobody has closed; what they cost is unknown."""
    cancelled = error.type is ErrorType.CANCELLED
    await connection.execute(
        update(attempts)
        .where(attempts.c.interaction_id == interaction_id, attempts.c.status.is_(None))
        .values(
            status=AttemptStatus.CANCELLED if cancelled else AttemptStatus.FAILED,
            error_type=error.type,
            detail=error.detail,
        )
    )


async def _finished_text(connection: AsyncConnection, interaction_id: str, place: int) -> FinishedText | None:
    query = select(completions).where(completions.c.interaction_id == interaction_id, completions.c.place == place)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else FinishedText(row.ordinal, row.text, row.finish_reason)


async def read_attempts(connection: AsyncConnection, interaction_id: str, place: int | None = None) -> list[Attempt]:
    """Return the ended calls of an interaction, in order."""
    query = (
        select(attempts)
        .where(attempts.c.interaction_id == interaction_id, attempts.c.status.is_not(None))
        .order_by(attempts.c.ordinal)
    )
    if place is not None:
        query = query.where(attempts.c.place == place)
    return [_attempt(row) for row in await connection.execute(query)]


def total_usage(calls: Sequence[Attempt]) -> Usage:
    """Return what an interaction used in all.

    Tokens are those that were reported. The cost is None as soon as one call that may have generated something did
    not report its own: a sum that leaves out an unknown would be a claim. Calls that were refused cost nothing.
    """
    billable = [call.usage for call in calls if call.usage is not None]
    totals: dict[str, float | None] = {}
    for field in _USAGE_FIELDS:
        known = [value for usage in billable if (value := getattr(usage, field)) is not None]
        totals[field] = sum(known) if known else None
    if calls and all(usage.cost_usd is not None for usage in billable):
        totals["cost_usd"] = totals["cost_usd"] or 0.0
    else:
        totals["cost_usd"] = None
    return Usage.model_validate(totals)


def _attempt(row: Row[Any]) -> Attempt:
    columns = row._mapping  # noqa: SLF001 - SQLAlchemy's documented name for a row as a mapping
    own = {name: columns[name] for name in Attempt.model_fields if name in columns}
    usage = Usage(**{name: columns[name] for name in _USAGE_FIELDS}) if row.billable else None
    return Attempt(**own, usage=usage)


async def _close(connection: AsyncConnection, interaction_id: str, ordinal: int, **values: Any) -> bool:
    result = await connection.execute(
        update(attempts)
        .where(
            attempts.c.interaction_id == interaction_id,
            attempts.c.ordinal == ordinal,
            attempts.c.status.is_(None),
        )
        .values(**values)
    )
    return result.rowcount == 1
