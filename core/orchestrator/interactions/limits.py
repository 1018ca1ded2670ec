"""How much is let in: how many interactions may be open, and how many may be begun within any minute.

It is checked in the transaction that opens an interaction, so that any number of processes share one truth: what has
not ended is open, whoever opened it. A count stops at its limit, so that it costs the same however long the history.

The minute is told by the ids, which are made when a request comes and ordered by time. It is the minute before the
request that asks, not before the check: that one may have waited for its turn to write. Of any minute's interactions
the last one that was let in saw all the others, and there were fewer than the limit; so the limit holds for every
minute, whatever the order in which they were let in.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Column, Select, bindparam, select

from core.orchestrator.errors import NotNowError, OverloadedError, RateLimitedError, TooManyOpenError
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.locks import hold
from core.orchestrator.storage.tables import interactions

_MINUTE = timedelta(minutes=1)
_MILLISECOND = timedelta(milliseconds=1)
_RANDOM_BITS = 80
"""Of a UUIDv7: what follows its milliseconds."""
_VERSION_AND_VARIANT = 0x7000_8000_0000_0000_0000
_SOON = timedelta(seconds=2)
"""When one of a few open interactions may have ended: a reply takes some seconds."""
_SOONEST_SECONDS, _LATEST_SECONDS = 1, 5


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits that are set; 0: none."""

    open_in_all: int = 0
    open_per_user: int = 0
    open_per_key: int = 0
    per_minute_and_user: int = 0
    per_minute_and_key: int = 0


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who wants an interaction opened."""

    interaction_id: str
    """What it would be called: a UUIDv7."""
    user_id: str
    key_name: str | None
    """Of the API key, where keys are asked for."""


class Limits:
    """Lets interactions in, or refuses them."""

    def __init__(self, allowance: Allowance = Allowance()) -> None:
        """Let in what `allowance` has room for."""
        self.allowance = allowance
        user, key = interactions.c.user_id, interactions.c.key_name
        rules: list[_Rule] = [
            _WithinMinute(allowance.per_minute_and_user, user, "user"),
            _Open(allowance.open_per_user, user, "user"),
            _WithinMinute(allowance.per_minute_and_key, key, "API key"),
            _Open(allowance.open_per_key, key, "API key"),
            _OpenInAll(allowance.open_in_all),
        ]
        self._rules = [rule for rule in rules if rule.limit]
        straws = [rule.last_straw().limit(1).offset(rule.limit - 1) for rule in self._rules]
        # One query for all, built once: it is asked for every interaction.
        self._query = select(*[straw.scalar_subquery() for straw in straws])

    async def hold(self, connection: Connection, applicant: Applicant) -> None:
        """Let nobody else be counted for the same user or key until the transaction ends; to be done before `check`.

        What is open in all is not held, for then nobody could be let in beside another: where transactions run side by
        side, as many as do may come on top of that limit.
        """
        names = []
        if self.allowance.open_per_user or self.allowance.per_minute_and_user:
            names.append(f"user:{applicant.user_id}")
        if applicant.key_name is not None and (self.allowance.open_per_key or self.allowance.per_minute_and_key):
            names.append(f"key-name:{applicant.key_name}")
        if names:
            await hold(connection, *names)

    async def check(self, connection: Connection, applicant: Applicant, now: datetime) -> None:
        """Return if there is room for one more; of several limits that are reached, the narrowest is told.

        Raises:
            RateLimitedError: its user, or its key, has begun too many within a minute.
            TooManyOpenError: too many of its user's, or its key's, have not ended.
            OverloadedError: too many have not ended in all.
        """
        if not self._rules:
            return
        minute_ago = smallest_id_at(begun_at(applicant.interaction_id) - _MINUTE + _MILLISECOND)
        values = {"user_id": applicant.user_id, "key_name": applicant.key_name, "minute_ago": minute_ago}
        found = (await connection.execute(self._query, values)).one()
        for rule, last_straw in zip(self._rules, found, strict=True):
            if last_straw is not None:
                raise rule.refusal(applicant, last_straw, now)


class _Rule(Protocol):
    @property
    def limit(self) -> int:
        """How many there may be."""

    def last_straw(self) -> Select[Any]:
        """Select the interactions that count; the one at the place `limit` is the last that may be."""

    def refusal(self, applicant: Applicant, last_straw: str, now: datetime) -> NotNowError:
        """Return what to tell whoever comes after that one."""


@dataclass(frozen=True, slots=True)
class _WithinMinute:
    limit: int
    column: Column[Any]
    whose: str

    def last_straw(self) -> Select[Any]:
        interaction_id = interactions.c.interaction_id
        begun = select(interaction_id).where(interaction_id >= bindparam("minute_ago"))
        return begun.where(self.column == bindparam(self.column.name)).order_by(interaction_id.desc())

    def refusal(self, applicant: Applicant, last_straw: str, now: datetime) -> NotNowError:  # noqa: ARG002
        detail = f"this {self.whose} has begun {self.limit} interactions within a minute, and may begin no more"
        return RateLimitedError(detail, begun_at(last_straw) + _MINUTE - now)


@dataclass(frozen=True, slots=True)
class _Open:
    limit: int
    column: Column[Any]
    whose: str

    def last_straw(self) -> Select[Any]:
        return open_interactions().where(self.column == bindparam(self.column.name))

    def refusal(self, applicant: Applicant, last_straw: str, now: datetime) -> NotNowError:  # noqa: ARG002
        detail = f"{self.limit} interactions of this {self.whose} have not ended, and no more may be open"
        name = self.column.name
        return TooManyOpenError(detail, _SOON, **{name: getattr(applicant, name)})


@dataclass(frozen=True, slots=True)
class _OpenInAll:
    limit: int

    def last_straw(self) -> Select[Any]:
        return open_interactions()

    def refusal(self, applicant: Applicant, last_straw: str, now: datetime) -> NotNowError:  # noqa: ARG002
        return OverloadedError(f"the service is at its limit of {self.limit} open interactions", in_a_while())


def in_a_while() -> timedelta:
    """Return when an overloaded service may have room: it turns many away at once, who should not come back at once."""
    return timedelta(seconds=_SOONEST_SECONDS + secrets.randbelow(_LATEST_SECONDS - _SOONEST_SECONDS + 1))


def begun_at(interaction_id: str) -> datetime:
    """Return when an id was made, to the millisecond: it is a UUIDv7."""
    return datetime.fromtimestamp((UUID(interaction_id).int >> _RANDOM_BITS) / 1000, UTC)


def smallest_id_at(moment: datetime) -> str:
    """Return the id that comes before all others that are made in the millisecond of a moment."""
    milliseconds = (moment - datetime.fromtimestamp(0, UTC)) // _MILLISECOND
    return str(UUID(int=(milliseconds << _RANDOM_BITS) | _VERSION_AND_VARIANT))


def open_interactions() -> Select[Any]:
    """Select the ids of those that have not ended."""
    return select(interactions.c.interaction_id).where(interactions.c.ended_at.is_(None))
