import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.orchestrator.errors import (
    ErrorType,
    LLMProviderError,
    LLMProviderServiceError,
    LLMProviderTimeoutError,
    NextStep,
    Posture,
)
from core.orchestrator.models.cooldowns import Cooldowns, ModelKey, forget
from core.orchestrator.storage.database import Database, open_database
from tests.core.orchestrator.domain import SettableClock

LENGTH = timedelta(seconds=30)
BAD: ModelKey = ("openrouter", "a/model")
WELL: ModelKey = ("openrouter", "another/model")
GOOD: ModelKey = ("openrouter", "b/model")
BROKEN = LLMProviderServiceError("the upstream broke")


class Ward:
    """Models that fail, and a clock that stands still."""

    def __init__(self, database: Database, after_failures: int = 3) -> None:
        self.clock = SettableClock()
        self.database = database
        self.cooldowns = self.opened(database, after_failures)

    def opened(self, database: Database, after_failures: int = 3) -> Cooldowns:
        return Cooldowns(database, after_failures, LENGTH, self.clock)

    async def strike(self, times: int = 1, error: LLMProviderError = BROKEN, key: ModelKey = BAD) -> None:
        for _ in range(times):
            await self.cooldowns.strike(*key, error)

    async def cools(self, key: ModelKey = BAD) -> bool:
        return key in await self.cooldowns.cooling([BAD, GOOD])

    async def succeed(self, key: ModelKey = BAD) -> None:
        async with self.database.write() as connection:
            await forget(connection, *key)


@pytest.fixture
def ward(database: Database) -> Ward:
    return Ward(database)


@pytest.fixture
async def other_process(place: Path | str) -> AsyncIterator[Database]:
    """A second database object on the same database, as another process has one."""
    database = open_database(place)
    yield database
    await database.close()


async def test_a_model_cools_after_so_many_failures_in_a_row_and_no_other_does(ward: Ward) -> None:
    await ward.strike(2)
    assert not await ward.cools()
    await ward.strike()
    assert (await ward.cools(), await ward.cools(GOOD)) == (True, False)
    assert not await ward.cools(("custom", BAD[1]))


async def test_the_reason_says_how_often_what_and_until_when(ward: Ward) -> None:
    await ward.strike(2)
    await ward.strike(error=LLMProviderTimeoutError("too\nslow"))
    cooling = (await ward.cooldowns.cooling([BAD]))[BAD]
    assert (cooling.error_type, cooling.failures, cooling.detail) == (ErrorType.TIMEOUT, 3, "too slow")
    assert cooling.until == ward.clock.now + LENGTH
    for part in ("3 times", "too slow", "12:00:30 UTC"):
        assert part in cooling.reason
    assert "\n" not in cooling.reason


async def test_a_success_forgets_the_failures_before_it(ward: Ward) -> None:
    await ward.strike(2)
    await ward.succeed()
    await ward.strike(2)
    assert not await ward.cools()
    await ward.strike()
    assert await ward.cools()
    await ward.succeed(GOOD)
    assert await ward.cools()
    await ward.succeed()
    assert not await ward.cools()


async def test_a_streak_is_broken_by_a_long_time_without_a_failure(ward: Ward) -> None:
    await ward.strike(2)
    ward.clock.advance(seconds=10 * LENGTH.total_seconds())
    await ward.strike()
    assert await ward.cools()
    await ward.succeed()
    await ward.strike(2)
    ward.clock.advance(seconds=10 * LENGTH.total_seconds() + 1)
    await ward.strike(2)
    assert not await ward.cools()
    await ward.strike()
    assert await ward.cools()


async def test_when_the_time_is_over_one_caller_tries_it_and_the_others_go_on_passing_it_over(ward: Ward) -> None:
    await ward.strike(3)
    ward.clock.advance(seconds=29.9)
    assert await ward.cools()
    ward.clock.advance(seconds=0.1)
    assert [await ward.cools() for _ in range(3)] == [False, True, True]
    ward.clock.advance(seconds=30)
    assert [await ward.cools() for _ in range(2)] == [False, True]


async def test_whoever_may_never_come_to_a_model_does_not_keep_others_from_trying_it(ward: Ward) -> None:
    await ward.strike(3)
    ward.clock.advance(seconds=30)
    for _ in range(3):
        assert not await ward.cooldowns.cooling([WELL, BAD])
    assert not await ward.cools()
    assert await ward.cools()


async def test_of_callers_in_two_processes_racing_for_the_probe_exactly_one_gets_it(
    ward: Ward, other_process: Database
) -> None:
    await ward.strike(3)
    elsewhere = ward.opened(other_process)
    for _ in range(5):
        ward.clock.advance(seconds=30)
        answers = await asyncio.gather(*(place.cooling([BAD]) for place in (ward.cooldowns, elsewhere) * 8))
        assert [BAD in answer for answer in answers].count(False) == 1
        assert {answer[BAD].until for answer in answers if answer} == {ward.clock.now + LENGTH}


async def test_failures_in_two_processes_make_one_streak(ward: Ward, other_process: Database) -> None:
    elsewhere = ward.opened(other_process)
    await asyncio.gather(*(place.strike(*BAD, BROKEN) for place in (ward.cooldowns, elsewhere, ward.cooldowns)))
    assert await ward.cools()
    assert (await elsewhere.cooling([BAD]))[BAD].failures == 3


async def test_a_failed_probe_cools_again_at_once(ward: Ward) -> None:
    await ward.strike(3)
    ward.clock.advance(seconds=30)
    assert not await ward.cools()
    ward.clock.advance(seconds=20)
    await ward.strike()
    ward.clock.advance(seconds=29)
    assert await ward.cools()


async def test_a_model_that_nobody_has_asked_for_long_is_well_for_all(ward: Ward) -> None:
    await ward.strike(3)
    ward.clock.advance(seconds=10 * LENGTH.total_seconds() + 1)
    assert [await ward.cools() for _ in range(2)] == [False, False]


@pytest.mark.parametrize(
    "kind",
    [
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
    ],
)
async def test_a_kind_that_speaks_of_the_model_counts(ward: Ward, kind: ErrorType) -> None:
    await ward.strike(3, LLMProviderServiceError("x", error_type=kind))
    assert await ward.cools()


@pytest.mark.parametrize(
    "kind",
    [
        ErrorType.AUTHENTICATION,
        ErrorType.CREDIT,
        ErrorType.QUOTA,
        ErrorType.INVALID_REQUEST,
        ErrorType.CONTEXT_LENGTH,
        ErrorType.MODERATION,
        ErrorType.CONTENT_POLICY,
        ErrorType.OUTPUT_LIMIT,
        ErrorType.CANCELLED,
        ErrorType.WORKER_LOST,
    ],
)
async def test_a_kind_that_speaks_of_us_or_of_the_request_does_not_count(ward: Ward, kind: ErrorType) -> None:
    await ward.strike(10, LLMProviderServiceError("x", error_type=kind))
    assert not await ward.cools()


async def test_what_no_model_can_mend_is_not_this_ones_fault(ward: Ward) -> None:
    out_of_time = LLMProviderTimeoutError("the interaction's time is over", posture=Posture(then=NextStep.FAIL))
    await ward.strike(10, out_of_time)
    assert not await ward.cools()


async def test_a_failure_that_does_not_count_neither_breaks_nor_lengthens_a_streak(ward: Ward) -> None:
    await ward.strike(2)
    await ward.strike(error=LLMProviderServiceError("x", error_type=ErrorType.MODERATION))
    assert not await ward.cools()
    await ward.strike()
    assert await ward.cools()


async def test_after_no_failures_means_never(database: Database) -> None:
    off, on = Ward(database, after_failures=0), Ward(database)
    await off.strike(10)
    assert not await on.cools()
    await on.strike(3)
    assert (await off.cools(), await on.cools()) == (False, True)
    assert not await off.cooldowns.current()


async def test_after_one_failure_means_at_once(database: Database) -> None:
    ward = Ward(database, after_failures=1)
    await ward.strike()
    assert "failed once" in (await ward.cooldowns.cooling([BAD]))[BAD].reason


async def test_looking_claims_no_probe(ward: Ward) -> None:
    await ward.strike(3)
    assert (await ward.cooldowns.current()).keys() == {BAD}
    assert not await ward.cooldowns.current([GOOD])
    ward.clock.advance(seconds=30)
    assert not await ward.cooldowns.current()
    assert not await ward.cools()
    assert (await ward.cooldowns.current([BAD])).keys() == {BAD}
