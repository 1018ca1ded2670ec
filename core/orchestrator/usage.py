"""What was used and what it cost, summed from the attempt ledger.

A cost that is not known is null and counted as unknown: a sum never pretends that it was 0.
"""

from datetime import date
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, null, select

from core.orchestrator.contracts import DEFAULT_PROVIDER, AttemptStatus, Contract, Dollars
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import attempts


class GroupBy(StrEnum):
    """What usage is summed by."""

    USER = "user"
    MODEL = "model"
    PERSONA = "persona"
    DAY = "day"


_COLUMNS: dict[GroupBy, ColumnElement[Any]] = {
    GroupBy.USER: attempts.c.user_id,
    # As a client names it: the same model of two providers has two prices.
    GroupBy.MODEL: case(
        (attempts.c.provider == DEFAULT_PROVIDER, attempts.c.model),
        else_=attempts.c.provider + ":" + attempts.c.model,
    ),
    GroupBy.PERSONA: attempts.c.persona_id,
    GroupBy.DAY: attempts.c.day,
}


class UsageSum(Contract):
    """One group's usage."""

    key: str | None
    """The user, model, persona or day (UTC); null for users who were erased, for completions without a persona, and for
    the total."""
    interactions: int
    calls: int
    """Calls to models, failed ones included."""
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Dollars | None
    """The sum of the known costs; null when none is known."""
    unknown_cost_calls: int
    """Calls that may have cost something the provider did not tell."""
    estimated_cost_usd: Dollars | None = None
    """What those of unknown cost may have cost by list prices, as far as these are known; null when none is. It is an
    estimate, and no part of `cost_usd`."""


class UsageReport(Contract):
    """Usage by group, and in all."""

    group_by: GroupBy
    items: list[UsageSum]
    total: UsageSum
    next_cursor: None = None


class UsageReports:
    """Sums the ledger."""

    def __init__(self, database: Database) -> None:
        """Sum what is in `database`."""
        self._database = database

    async def report(
        self,
        group_by: GroupBy,
        since: date | None = None,
        until: date | None = None,
        user_id: str | None = None,
    ) -> UsageReport:
        """Return usage between two days (UTC, both included), the costliest group first; days in order.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        key = _COLUMNS[group_by]
        grouped = _within(_sums(key), since, until, user_id).group_by(key)
        order = [key] if group_by is GroupBy.DAY else [func.sum(attempts.c.cost_usd).desc().nulls_last(), key]
        async with self._database.read(takes_long=True) as connection:  # it sums up whatever there is
            rows = await connection.execute(grouped.order_by(*order))
            items = [UsageSum.model_validate(dict(row._mapping)) for row in rows]  # noqa: SLF001 - documented API
            total = (await connection.execute(_within(_sums(None), since, until, user_id))).one()
        return UsageReport(
            group_by=group_by,
            items=items,
            total=UsageSum.model_validate(dict(total._mapping)),  # noqa: SLF001
        )


def _sums(key: ColumnElement[Any] | None) -> Select[Any]:
    unknown = attempts.c.billable & attempts.c.cost_usd.is_(None)
    unknown_calls = func.coalesce(func.sum(case((unknown, 1), else_=0)), 0)
    label = (key if key is not None else null()).label("key")
    return select(
        label,
        func.count(attempts.c.interaction_id.distinct()).label("interactions"),
        func.count().label("calls"),
        *(
            func.coalesce(func.sum(attempts.c[name]), 0).label(name)
            for name in ("prompt_tokens", "completion_tokens", "total_tokens")
        ),
        func.coalesce(func.sum(attempts.c.cost_usd), case((unknown_calls == 0, 0.0))).label("cost_usd"),
        unknown_calls.label("unknown_cost_calls"),
        func.sum(case((unknown, attempts.c.estimated_cost_usd))).label("estimated_cost_usd"),
    ).where(attempts.c.status.is_not(None), attempts.c.status != AttemptStatus.SKIPPED)


def _within(query: Select[Any], since: date | None, until: date | None, user_id: str | None) -> Select[Any]:
    if since is not None:
        query = query.where(attempts.c.day >= since.isoformat())
    if until is not None:
        query = query.where(attempts.c.day <= until.isoformat())
    if user_id is not None:
        query = query.where(attempts.c.user_id == user_id)
    return query
