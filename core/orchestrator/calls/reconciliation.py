"""What broken calls cost in the end: looked up at their provider once the interaction has ended.

A call that breaks or is cancelled ends without its bill, and the provider takes a moment to write one. The ledger's
rows are the only state here: a cost that is known is asked for no more, so a look may be repeated at will, and two at
a time do no harm.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Row, func, select, update

from core.orchestrator.calls.attempts import usage_of
from core.orchestrator.calls.provider_errors import as_provider_error
from core.orchestrator.clock import Clock, utc_now
from core.orchestrator.contracts import Attempt, InteractionView, Reconciled, Usage
from core.orchestrator.errors import NextStep, OrchestratorError, StorageUnavailableError
from core.orchestrator.foreign import must_go_on
from core.orchestrator.providers.base import ChatCompletion, LLMProvider
from core.orchestrator.providers.untrusted import one_line
from core.orchestrator.registry import Registry
from core.orchestrator.runs import Runs
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import attempts, erased_interactions, interactions
from core.orchestrator.workflow_ids import reconciliation_id_of

logger = logging.getLogger(__name__)

Settled = Callable[[str, str, Usage, Usage], None]
"""Told which provider's model it was, what was known of the call's usage before, and what its provider told now."""

_PATIENCE = timedelta(seconds=10)
_OVERDUE_WITHIN = timedelta(days=1)
_OVERDUE_AT_MOST = 1000
_FOR_GOOD = (NextStep.FAIL, NextStep.NEXT_PROVIDER)
_UNSETTLED = (
    attempts.c.status.is_not(None),
    attempts.c.billable,
    attempts.c.cost_usd.is_(None),
    attempts.c.generation_id.is_not(None),
)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the providers' records came to."""

    reconciled: Reconciled
    again: bool
    """A cost that is unknown now may be known at the next look."""


@dataclass(frozen=True, slots=True)
class _Told:
    usage: Usage | None
    again: bool = False


class Reconciliation:
    """Settles what calls cost that ended without saying so."""

    def __init__(
        self,
        database: Database,
        providers: Registry[LLMProvider],
        runs: Runs,
        clock: Clock = utc_now,
        patience: timedelta = _PATIENCE,
        *,
        settled: Settled | None = None,
    ) -> None:
        """Complete the ledger in `database` from the records of `providers`; `runs` repeats the looks.

        A provider that has not answered after `patience` has not told. `settled` is told what was found out.
        """
        self._database = database
        self._providers = providers
        self._runs = runs
        self._clock = clock
        self._patience = patience
        self._settled = settled

    async def begin_if_due(self, view: InteractionView) -> None:
        """Have the broken calls of an interaction that has ended looked up; it costs nothing where there are none."""
        if any(self._is_unsettled(attempt) for attempt in view.attempts):
            await self._runs.reconcile(view.interaction_id)

    async def begin_overdue(self) -> None:
        """Begin for every interaction of the last day whose end found nobody to begin it."""
        try:
            overdue = await self._overdue()
        except StorageUnavailableError as error:
            logger.warning("calls of unknown cost could not be looked for: %s", error)
            return
        for interaction_id in overdue:
            await self._runs.reconcile(interaction_id)

    async def look(self, interaction_id: str) -> Look:
        """Ask the providers once for every cost of an interaction that is unknown, and keep what they tell.

        Raises:
            StorageUnavailableError: the database did not answer.
            WorkflowServiceUnavailableError: the interaction was erased, and Temporal did not answer.
        """
        async with self._database.read() as connection:
            query = select(attempts).where(attempts.c.interaction_id == interaction_id, *_UNSETTLED)
            query = query.order_by(attempts.c.ordinal)  # in which they are written: two looks at once wait in one line
            calls = (await connection.execute(query)).all()
            noted = select(erased_interactions).where(erased_interactions.c.interaction_id == interaction_id)
            erased = (await connection.execute(noted)).one_or_none() is not None
        if erased:  # while this was being begun: then nothing is left to look for, and the run is to go too
            await self._runs.delete(reconciliation_id_of(interaction_id))
        told = await self._ask_all(calls)
        await self._keep(calls, [answer.usage for answer in told])
        return Look(await self._count(interaction_id), any(answer.again for answer in told))

    async def _ask_all(self, calls: Sequence[Row[Any]]) -> list[_Told]:
        asking = [asyncio.create_task(self._ask(call)) for call in calls]
        try:
            if asking:
                await asyncio.wait(asking, timeout=self._patience.total_seconds())
        finally:
            for task in asking:
                task.cancel()  # a provider that will not be cancelled is left behind
        return [task.result() if task.done() else _Told(None, again=True) for task in asking]

    async def _ask(self, call: Row[Any]) -> _Told:
        provider = self._keeper(call.provider)
        if provider is None:
            return _Told(None)
        try:
            usage = _sound(await provider.find_usage(call.generation_id))
        except BaseException as error:
            if must_go_on(error):
                raise
            reason = as_provider_error(error, call.provider)
            logger.warning(
                "%s does not tell what %s cost: %s", call.provider, call.generation_id, one_line(str(reason))
            )
            return _Told(None, again=reason.posture.tries > 1 or reason.posture.then not in _FOR_GOOD)
        return _Told(usage) if usage is not None and usage.cost_usd is not None else _Told(None, again=True)

    async def _keep(self, calls: Sequence[Row[Any]], told: Sequence[Usage | None]) -> None:
        known = [(call, usage) for call, usage in zip(calls, told, strict=True) if usage is not None]
        if not known:
            return
        kept = []
        async with self._database.write() as connection:
            for call, usage in known:
                written = await connection.execute(
                    update(attempts)
                    .where(
                        attempts.c.interaction_id == call.interaction_id,
                        attempts.c.ordinal == call.ordinal,
                        attempts.c.cost_usd.is_(None),
                    )
                    .values(estimated_cost_usd=None, **usage.model_dump(exclude_none=True))
                    .returning(attempts.c.ordinal)
                )
                if written.one_or_none() is not None:
                    kept.append((call, usage))
        if self._settled is not None:
            for call, usage in kept:
                self._settled(call.provider, call.model, usage_of(call), usage)

    async def _count(self, interaction_id: str) -> Reconciled:
        query = select(func.count(attempts.c.cost_usd), func.count()).where(
            attempts.c.interaction_id == interaction_id, attempts.c.status.is_not(None), attempts.c.billable
        )
        async with self._database.read() as connection:
            settled, calls = (await connection.execute(query)).one()
        return Reconciled(settled=settled, unknown=calls - settled)

    async def _overdue(self) -> list[str]:
        since = self._clock() - _OVERDUE_WITHIN
        of_late = (attempts.c.day >= since.astimezone(UTC).date().isoformat(), attempts.c.started_at >= since)
        async with self._database.read() as connection:
            seen = await connection.scalars(select(attempts.c.provider).distinct().where(*of_late, *_UNSETTLED))
            keepers = [name for name in seen if self._keeper(name) is not None]
            ended = (
                select(attempts.c.interaction_id)
                .join(interactions, interactions.c.interaction_id == attempts.c.interaction_id)
                .where(*of_late, *_UNSETTLED, attempts.c.provider.in_(keepers), interactions.c.ended_at.is_not(None))
                .group_by(attempts.c.interaction_id)
                .order_by(func.min(attempts.c.started_at))
                .limit(_OVERDUE_AT_MOST)
            )
            return list(await connection.scalars(ended))

    def _is_unsettled(self, attempt: Attempt) -> bool:
        return (
            attempt.usage is not None
            and attempt.usage.cost_usd is None
            and attempt.generation_id is not None
            and self._keeper(attempt.provider) is not None
        )

    def _keeper(self, name: str) -> LLMProvider | None:
        """Return the provider of that name if it keeps records; None also where its plugin is gone or broken."""
        try:
            provider = self._providers.get(name)
        except OrchestratorError as error:
            logger.warning("costs of '%s' cannot be looked up: %s", name, error)
            return None
        return provider if provider.keeps_records else None


def _sound(usage: Usage | None) -> Usage | None:
    """Return what a provider told as far as it can be true: held to what an answer's own usage is held to."""
    try:
        return ChatCompletion(content="", usage=usage).usage
    except ValidationError:
        return None
