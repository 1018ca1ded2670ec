"""Models that keep failing are passed over for a while, by every process alike: what is known of them is in the store.

A model cools after so many interactions in a row whose tries it used up. When the time is over, exactly one caller,
the probe, finds the model well and tries it; for all the others it goes on cooling until the probe has succeeded,
which forgets everything, or another length has passed.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, bindparam, delete, or_, select, update

from core.orchestrator.clock import Clock, utc_now
from core.orchestrator.contracts import model_name
from core.orchestrator.errors import ErrorType, LLMProviderError, NextStep
from core.orchestrator.providers.untrusted import one_line
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.locks import hold
from core.orchestrator.storage.tables import cooldowns
from core.orchestrator.storage.upserts import put

logger = logging.getLogger(__name__)

ModelKey = tuple[str, str]
"""Provider, and the name it knows the model by."""

HEALTH_ERRORS = frozenset(
    {
        ErrorType.UNAVAILABLE,
        ErrorType.UPSTREAM,
        ErrorType.TIMEOUT,
        ErrorType.STALLED,
        ErrorType.CONNECTION,
        ErrorType.TRUNCATED,
        ErrorType.EMPTY,
        ErrorType.MALFORMED,
        ErrorType.RATE_LIMIT,
        ErrorType.MODEL_NOT_FOUND,
    }
)
"""The kinds that speak of the model rather than of our account or of what was asked."""

_STREAK_LENGTHS = 10
"""After so many lengths without a failure what is known of a model is too old to count."""


@dataclass(frozen=True, slots=True)
class Cooling:
    """Why a model is passed over, and until when."""

    error_type: ErrorType
    """What it failed with last."""
    detail: str
    """Its last error, in one line."""
    failures: int
    """Interactions in a row whose tries it used up."""
    until: datetime
    """When one interaction tries it again; UTC."""

    @property
    def reason(self) -> str:
        """Say it in one line."""
        times = "once" if self.failures == 1 else f"{self.failures} times in a row"
        return f"cooling down until {self.until:%H:%M:%S} UTC: it failed {times}, lastly with '{self.detail}'"


class Cooldowns:
    """Keeps count of the models that fail."""

    def __init__(self, database: Database, after_failures: int, length: timedelta, clock: Clock = utc_now) -> None:
        """Let a model cool for `length` after so many failures in a row; never, if that is 0."""
        self._database = database
        self._after_failures = after_failures
        self._length = length
        self._clock = clock

    async def cooling(self, models: Sequence[ModelKey]) -> Mapping[ModelKey, Cooling]:
        """Return those of the models, in the order in which they would be asked, that are to be passed over now.

        Of a model whose time is over exactly one caller hears nothing: one that will ask it first. Behind a model that
        is well it is simply well: a caller who may never come to it must not keep the others from trying it.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        now = self._clock()
        known = await self._known(now, models)
        cooling = {key: one for key, one in known.items() if one.until > now}
        for key in models:
            if key in cooling:
                continue
            if key not in known or await self._claim_probe(key, known[key].until, now):
                break
            cooling[key] = replace(known[key], until=now + self._length)  # another was faster
        return cooling

    async def current(self, models: Collection[ModelKey] | None = None) -> Mapping[ModelKey, Cooling]:
        """Return which models, of all or of some, are passed over now; asking changes nothing.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        now = self._clock()
        return {key: cooling for key, cooling in (await self._known(now, models)).items() if cooling.until > now}

    async def strike(self, provider: str, model: str, error: LLMProviderError) -> None:
        """Record that an interaction has used up its tries of a model, unless the error says nothing about the model.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        # What no other model can mend is not this one's fault; so ends a call, too, whose interaction ran out of time.
        blameless = error.error_type not in HEALTH_ERRORS or error.posture.then is NextStep.FAIL
        if blameless or not self._after_failures:
            return
        now = self._clock()
        async with self._database.write() as connection:
            await hold(connection, f"cooldown:{provider}:{model}")
            query = select(cooldowns).where(_is(provider, model))
            row = (await connection.execute(query)).one_or_none()
            failures = 1
            if row is not None:
                cooled = row.cooling_until is not None and row.cooling_until > now
                if cooled or row.failed_at >= self._oldest(now):
                    failures = row.failures + 1
            cools = failures >= self._after_failures
            values = {
                "provider": provider,
                "model": model,
                "failures": failures,
                "failed_at": now,
                "cooling_until": now + self._length if cools else None,
                "error_type": error.error_type,
                "detail": one_line(str(error)),
            }
            # In place: a success that waits for the row forgets what is written here too.
            await put(connection, cooldowns, values)
        if cools:
            logger.warning(
                "%s failed %d interactions in a row and is passed over for %g seconds",
                model_name(provider, model),
                failures,
                self._length.total_seconds(),
            )

    def _oldest(self, now: datetime) -> datetime:
        return now - _STREAK_LENGTHS * self._length

    async def _known(self, now: datetime, models: Collection[ModelKey] | None = None) -> dict[ModelKey, Cooling]:
        if not self._after_failures or (models is not None and not models):
            return {}
        query = select(cooldowns).where(
            cooldowns.c.cooling_until.is_not(None),
            or_(cooldowns.c.cooling_until > now, cooldowns.c.failed_at >= self._oldest(now)),
        )
        if models is not None:
            query = query.where(or_(*(_is(provider, model) for provider, model in models)))
        async with self._database.read() as connection:
            return {
                (row.provider, row.model): Cooling(
                    ErrorType(row.error_type), row.detail, row.failures, row.cooling_until
                )
                for row in await connection.execute(query)
            }

    async def _claim_probe(self, key: ModelKey, until: datetime, now: datetime) -> bool:
        async with self._database.write() as connection:
            claimed = await connection.execute(
                update(cooldowns)
                .where(_is(*key), cooldowns.c.cooling_until == until)
                .values(cooling_until=now + self._length)
            )
            return claimed.rowcount == 1


async def forget(connection: Connection, provider: str, model: str) -> None:
    """Forget a model's failures: it has answered. Part of the transaction that keeps the answer."""
    await connection.execute(_FORGET, {"provider": provider, "model": model})


def _is(provider: str, model: str) -> ColumnElement[bool]:
    return and_(cooldowns.c.provider == provider, cooldowns.c.model == model)


_FORGET = delete(cooldowns).where(
    cooldowns.c.provider == bindparam("provider"), cooldowns.c.model == bindparam("model")
)
