"""The ended calls of an interaction, as anybody may read them, and what they used in all."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, select

from core.orchestrator.contracts import Attempt, AttemptStatus, ToolCall, Usage
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.tables import attempts, completions

_USAGE_FIELDS = tuple(Usage.model_fields)

_ENDED = (
    select(attempts)
    .where(attempts.c.interaction_id.in_(bindparam("interaction_ids", expanding=True)), attempts.c.status.is_not(None))
    .order_by(attempts.c.interaction_id, attempts.c.ordinal)
)
_ENDED_OF_PLACE = _ENDED.where(attempts.c.place == bindparam("place"), attempts.c.status != AttemptStatus.SKIPPED)

_WITH_ANSWERS = _ENDED.add_columns(
    completions.c.place.label("answered_place"), completions.c.finish_reason, completions.c.tool_calls
).outerjoin(
    completions,
    (completions.c.interaction_id == attempts.c.interaction_id) & (completions.c.ordinal == attempts.c.ordinal),
)


@dataclass(frozen=True, slots=True)
class EndedCall:
    """A call that has ended, or a model that was passed over."""

    attempt: Attempt
    answered_place: int | None
    """The place in the plan whose answer it gave."""
    finish_reason: str | None
    tool_calls: Sequence[ToolCall] | None


async def read_attempts(connection: Connection, interaction_id: str, place: int | None = None) -> list[Attempt]:
    """Return the ended calls of an interaction, in order, and the models that were passed over.

    With `place`, only the calls that were made for that place of the plan.
    """
    which: dict[str, Any] = {"interaction_ids": [interaction_id]}
    if place is None:
        rows = await connection.execute(_ENDED, which)
    else:
        rows = await connection.execute(_ENDED_OF_PLACE, which | {"place": place})
    return [_attempt(row) for row in rows]


async def read_calls(connection: Connection, interaction_ids: Collection[str]) -> Mapping[str, Sequence[EndedCall]]:
    """Return the ended calls of each of some interactions, in order; one without any is missing."""
    found: defaultdict[str, list[EndedCall]] = defaultdict(list)
    for row in await connection.execute(_WITH_ANSWERS, {"interaction_ids": list(interaction_ids)}):
        call = EndedCall(_attempt(row), row.answered_place, row.finish_reason, row.tool_calls)
        found[row.interaction_id].append(call)
    return found


def total_usage(calls: Sequence[Attempt]) -> Usage:
    """Return what an interaction used in all.

    Tokens are those that were reported. The cost is None as soon as one call that may have generated something did
    not report its own: a sum that leaves out an unknown would be a claim. Then the whole is estimated, if each call is
    known or estimated. Calls that were refused cost nothing, and a model that was passed over was not called.
    """
    made = [call for call in calls if call.status is not AttemptStatus.SKIPPED]
    billable = [call.usage for call in made if call.usage is not None]
    totals: dict[str, float | None] = {}
    for field in _USAGE_FIELDS:
        known = [value for usage in billable if (value := getattr(usage, field)) is not None]
        totals[field] = sum(known) if known else None
    totals["cost_usd"] = totals["estimated_cost_usd"] = None
    costs = [usage.cost_usd for usage in billable]
    likely = [usage.cost_usd if usage.cost_usd is not None else usage.estimated_cost_usd for usage in billable]
    if made and None not in costs:
        totals["cost_usd"] = sum(filter(None, costs), 0.0)
    elif made and None not in likely:
        totals["estimated_cost_usd"] = sum(filter(None, likely), 0.0)
    return Usage.model_validate(totals)


def _attempt(row: Row[Any]) -> Attempt:
    columns = row._mapping  # noqa: SLF001 - SQLAlchemy's documented name for a row as a mapping
    own = {name: columns[name] for name in Attempt.model_fields if name in columns}
    return Attempt(**own, usage=usage_of(row) if row.billable else None)


def usage_of(row: Row[Any]) -> Usage:
    """Return what a row of the ledger says that its call used."""
    return Usage(**{name: row._mapping[name] for name in _USAGE_FIELDS})  # noqa: SLF001 - see above
