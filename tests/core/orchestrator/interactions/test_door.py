"""In front of the database: few ask at a time, a crowd learns from its first, and nobody waits for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from core.orchestrator.errors import OverloadedError, SessionOwnershipError, StorageUnavailableError
from core.orchestrator.interactions.door import Door

LONG = timedelta(days=1)
NO_TIME = timedelta(0)


class Desk:
    """Where one is let in or refused; counts who asks."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal = refusal
        self.asked = 0
        self.asking = 0
        self.most_at_a_time = 0
        self.busy = asyncio.Event()
        self.opens = asyncio.Event()
        self.opens.set()

    async def ask(self) -> str:
        self.asked += 1
        self.asking += 1
        self.busy.set()
        self.most_at_a_time = max(self.most_at_a_time, self.asking)
        try:
            await asyncio.sleep(0)
            await self.opens.wait()
        finally:
            self.asking -= 1
        if self.refusal:
            raise self.refusal
        return "in"


def full() -> OverloadedError:
    return OverloadedError("full", timedelta(seconds=1))


async def crowd(many: int, go: Callable[[], Awaitable[str]]) -> list[str | BaseException]:
    return await asyncio.gather(*(go() for _ in range(many)), return_exceptions=True)


async def test_few_ask_at_a_time_and_all_are_heard() -> None:
    door, desk = Door(3, LONG), Desk()
    assert await crowd(50, lambda: door.through(desk.ask)) == ["in"] * 50
    assert desk.most_at_a_time == 3


async def test_a_crowd_learns_from_its_first_that_the_service_is_full() -> None:
    door, desk = Door(3, LONG, LONG), Desk(full())
    refusals = await crowd(50, lambda: door.through(desk.ask))
    assert {(type(one), str(one)) for one in refusals} == {(OverloadedError, "full")}
    assert desk.asked == 3


async def test_who_may_have_been_let_in_before_is_heard_in_any_case() -> None:
    door, desk = Door(3, LONG, LONG), Desk(full())
    await crowd(1, lambda: door.through(desk.ask))
    desk.refusal = None
    assert await door.through(desk.ask, in_any_case=True) == "in"


async def test_a_service_counts_as_full_for_a_moment_only() -> None:
    door, desk = Door(3, LONG, NO_TIME), Desk(full())
    await crowd(1, lambda: door.through(desk.ask))
    desk.refusal = None
    assert await door.through(desk.ask) == "in"


async def test_a_crowd_learns_from_its_first_that_the_database_does_not_answer() -> None:
    door, desk = Door(1, LONG, LONG), Desk(StorageUnavailableError("away"))
    refusals = await crowd(5, lambda: door.through(desk.ask, in_any_case=True))
    assert [type(one) for one in refusals] == [StorageUnavailableError] * 5
    assert desk.asked == 1


async def test_who_finds_the_door_open_asks_for_himself() -> None:
    door, desk = Door(2, LONG, LONG), Desk(StorageUnavailableError("another session's row is held"))
    await crowd(1, lambda: door.through(desk.ask))
    desk.refusal = None
    assert await door.through(desk.ask) == "in"


async def test_a_database_counts_as_away_for_a_moment_only() -> None:
    door, desk = Door(1, LONG, NO_TIME), Desk(StorageUnavailableError("away"))
    await crowd(1, lambda: door.through(desk.ask))
    desk.refusal = None
    assert await door.through(desk.ask) == "in"


async def test_any_other_failure_is_nobody_elses() -> None:
    door, desk = Door(1, LONG, LONG), Desk(SessionOwnershipError("another's"))
    refusals = await crowd(5, lambda: door.through(desk.ask))
    assert [type(one) for one in refusals] == [SessionOwnershipError] * 5
    assert desk.asked == 5


async def test_nobody_waits_for_longer_than_patience_allows() -> None:
    door, desk = Door(1, timedelta(milliseconds=50)), Desk()
    desk.opens.clear()
    first = asyncio.create_task(door.through(desk.ask))
    await desk.busy.wait()
    with pytest.raises(OverloadedError, match="more is asked of the service than it can accept"):
        await door.through(desk.ask)
    desk.opens.set()
    assert await first == "in"
    assert await door.through(desk.ask) == "in", "a place that was waited for in vain is not lost"
