"""Whatever comes in whatever order: no limit is passed, nobody is refused without need, a refusal leaves nothing."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from core.orchestrator.contracts import InteractionStatus
from core.orchestrator.errors import (
    NotNowError,
    OverloadedError,
    RateLimitedError,
    TooManyOpenError,
)
from core.orchestrator.interactions.limits import Allowance, Limits, begun_at, smallest_id_at
from core.orchestrator.interactions.opening import Opening
from core.orchestrator.interactions.store import Ending, InteractionStore
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import interactions, messages, reply_events, sessions
from tests.core.orchestrator.domain import SettableClock, new_id, request

DONE = Ending(InteractionStatus.COMPLETED, reply="Done")
MINUTE = timedelta(minutes=1)
_numbers = count()


def id_at(moment: datetime) -> str:
    """Return the id of a request that came at a moment."""
    return str(UUID(int=UUID(smallest_id_at(moment)).int + next(_numbers)))


async def rows(database: Database) -> dict[str, int]:
    async with database.read() as connection:
        return {
            table.name: await connection.scalar(select(func.count()).select_from(table)) or 0
            for table in (interactions, messages, sessions)
        }


# --- the limits hold, exactly ---


@dataclass
class Opened:
    """An interaction as the test remembers it."""

    interaction_id: str
    user_id: str
    key_name: str | None
    ended: bool = False


@dataclass
class Memory:
    """What must be so, in the plainest way to say it."""

    allowance: Allowance
    opened: list[Opened] = field(default_factory=list)

    def refusal(self, interaction_id: str, user_id: str, key_name: str | None) -> type[NotNowError] | None:
        """Return how an interaction is to be refused, the narrowest reason first."""
        limits, since = self.allowance, begun_at(interaction_id) - MINUTE
        of_user = [one for one in self.opened if one.user_id == user_id]
        of_key = [one for one in self.opened if one.key_name == key_name and key_name is not None]
        for mine, per_minute, open_ in (
            (of_user, limits.per_minute_and_user, limits.open_per_user),
            (of_key, limits.per_minute_and_key, limits.open_per_key),
        ):
            if per_minute and sum(begun_at(one.interaction_id) > since for one in mine) >= per_minute:
                return RateLimitedError
            if open_ and sum(not one.ended for one in mine) >= open_:
                return TooManyOpenError
        if limits.open_in_all and sum(not one.ended for one in self.opened) >= limits.open_in_all:
            return OverloadedError
        return None

    def assert_within_limits(self) -> None:
        limits = self.allowance
        still_open = [one for one in self.opened if not one.ended]
        assert_at_most(limits.open_in_all, len(still_open))
        assert_at_most(limits.open_per_user, *Counter(one.user_id for one in still_open).values())
        assert_at_most(limits.open_per_key, *Counter(one.key_name for one in still_open if one.key_name).values())
        for last in self.opened:
            minute = [one for one in self.opened if timedelta(0) <= begun(last) - begun(one) < MINUTE]
            assert_at_most(limits.per_minute_and_user, sum(one.user_id == last.user_id for one in minute))
            if last.key_name:
                assert_at_most(limits.per_minute_and_key, sum(one.key_name == last.key_name for one in minute))


def begun(one: Opened) -> datetime:
    return begun_at(one.interaction_id)


def assert_at_most(limit: int, *numbers: int) -> None:
    assert not limit or max(numbers, default=0) <= limit


few = st.integers(0, 3)
allowances = st.builds(
    Allowance,
    open_in_all=few,
    open_per_user=few,
    open_per_key=few,
    per_minute_and_user=few,
    per_minute_and_key=few,
)
openings = st.tuples(
    st.just("open"),
    st.sampled_from(["ada", "eve"]),
    st.sampled_from([None, "web", "app"]),
    st.sampled_from([0, 0, 1, 4, 30]),  # seconds from its coming to its turn to write
)
endings = st.tuples(st.just("end"), st.integers(0, 5))
passings = st.tuples(st.just("wait"), st.sampled_from([0.001, 1, 20, 29.999, 30, 59.999, 60]))


@given(allowance=allowances, steps=st.lists(st.one_of(openings, openings, endings, passings), min_size=8, max_size=30))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_limits_hold_at_every_moment_and_refuse_nobody_without_need(
    database: Database, allowance: Allowance, steps: list[tuple[Any, ...]]
) -> None:
    async with database.write() as connection:
        for table in (reply_events, messages, interactions, sessions):
            await connection.execute(delete(table))
    clock, memory = SettableClock(), Memory(allowance)
    door = Door(InteractionStore(database, clock), clock, memory)
    for what, *how in steps:
        match what:
            case "wait":
                clock.advance(seconds=how[0])
            case "end":
                await door.end(*how)
            case _:
                await door.open(*how)
                memory.assert_within_limits()
    ended = sum(one.ended for one in memory.opened)
    assert await rows(database) == {
        "interactions": len(memory.opened),
        "messages": len(memory.opened) + ended,
        "sessions": len({one.user_id for one in memory.opened}),
    }


@dataclass
class Door:
    """Compares what the store does with what must be."""

    store: InteractionStore
    clock: SettableClock
    memory: Memory

    async def end(self, place: int) -> None:
        """End one of those that are open, if there are as many."""
        for one in [one for one in self.memory.opened if not one.ended][place : place + 1]:
            await self.store.end(one.interaction_id, DONE)
            one.ended = True

    async def open(self, user_id: str, key_name: str | None, waited: int) -> None:
        """Open a turn that came some seconds ago."""
        came = self.clock.now - timedelta(seconds=waited)
        asked = request(interaction_id=id_at(came), user_id=user_id, session_id=user_id)
        opening = self.store.open_turn(asked, Opening(key_name=key_name), Limits(self.memory.allowance))
        expected = self.memory.refusal(asked.interaction_id, user_id, key_name)
        if expected is None:
            await opening
            self.memory.opened.append(Opened(asked.interaction_id, user_id, key_name))
            return
        with pytest.raises(NotNowError) as refusal:
            await opening
        assert type(refusal.value) is expected
        if expected is RateLimitedError and waited == 0:
            assert_told_when(self.memory, self.clock.now, refusal.value.retry_after, (user_id, key_name))


def assert_told_when(memory: Memory, now: datetime, retry_after: timedelta, who: tuple[str, str | None]) -> None:
    """Then it may begin as far as this limit goes, and a moment before it may not."""
    millisecond = timedelta(milliseconds=1)
    of_user = Allowance(per_minute_and_user=memory.allowance.per_minute_and_user)
    of_key = Allowance(per_minute_and_key=memory.allowance.per_minute_and_key)
    at_last = now + retry_after
    told_by_user = Memory(of_user, memory.opened).refusal(id_at(now), *who) is not None
    then = Memory(of_user if told_by_user else of_key, memory.opened)
    assert then.refusal(id_at(at_last), *who) is None
    assert then.refusal(id_at(at_last - millisecond), *who) is RateLimitedError


@pytest.mark.parametrize(
    ("allowance", "error"),
    [
        (Allowance(open_per_user=5), TooManyOpenError),
        (Allowance(open_per_key=5), TooManyOpenError),
        (Allowance(per_minute_and_user=5), RateLimitedError),
        (Allowance(per_minute_and_key=5), RateLimitedError),
    ],
)
async def test_of_thirty_that_come_at_once_as_many_are_let_in_as_may(
    store: InteractionStore, database: Database, allowance: Allowance, error: type[NotNowError]
) -> None:
    limits = Limits(allowance)
    asked = [request(session_id=new_id()) for _ in range(30)]
    opened = await asyncio.gather(
        *(store.open_turn(one, Opening(key_name="web"), limits) for one in asked), return_exceptions=True
    )
    refused = [one for one in opened if isinstance(one, BaseException)]
    assert [type(one) for one in refused] == [error] * 25
    assert await rows(database) == {"interactions": 5, "messages": 5, "sessions": 5}


async def test_a_place_in_the_minute_is_free_after_a_minute_and_not_a_millisecond_before(database: Database) -> None:
    clock, limits = SettableClock(), Limits(Allowance(per_minute_and_user=2))
    store = InteractionStore(database, clock)

    async def ask() -> None:
        await store.open_turn(request(interaction_id=id_at(clock.now)), Opening(), limits)

    await ask()
    clock.advance(seconds=20)
    await ask()
    clock.advance(seconds=39.999)
    with pytest.raises(RateLimitedError) as refusal:
        await ask()
    assert refusal.value.retry_after == timedelta(milliseconds=1)
    clock.now += refusal.value.retry_after
    await ask()
    with pytest.raises(RateLimitedError) as refusal:
        await ask()
    assert refusal.value.retry_after == timedelta(seconds=20)


async def test_without_a_limit_nobody_is_refused(store: InteractionStore) -> None:
    for _ in range(3):
        await store.open_turn(request(), Opening(), Limits())
