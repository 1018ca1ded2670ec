"""Time during a call: its own limit, the interaction's deadline, and waits that do not fit."""

import asyncio
from datetime import timedelta

import pytest

from core.orchestrator.errors import ErrorType, LLMProviderRateLimitError, LLMProviderServiceError, NextStep, Posture
from tests.core.orchestrator.calls.line import SECOND, THRICE, Line
from tests.core.orchestrator.domain import completion
from tests.core.orchestrator.vendors import only_sqlite

pytestmark = only_sqlite  # about what callers make of models, with few and simple writes

SOON = timedelta(milliseconds=50)
LATER = timedelta(seconds=30)
MODEL = (SECOND.provider, SECOND.model)


async def test_at_the_deadline_a_call_ends_itself_lets_go_of_the_upstream_and_nobody_else_is_asked(line: Line) -> None:
    line.remaining = SOON
    line.script(["Hi", asyncio.Event()])
    failed = await line.failure()
    assert (failed.failure.error_type, failed.failure.then) == (ErrorType.TIMEOUT, NextStep.FAIL)
    assert failed.retry_in is None
    assert "deadline" in failed.failure.detail
    assert line.provider.closed == 1


async def test_of_limit_and_deadline_the_nearer_one_ends_a_call(line: Line) -> None:
    line.call_timeout, line.remaining = SOON, LATER
    line.script(["Hi", asyncio.Event()])
    failed = await line.failure()
    assert (failed.failure.then, failed.retry_in) == (NextStep.NEXT_MODEL, timedelta(seconds=0.5))


async def test_a_deadline_that_has_passed_leaves_a_kept_answer_standing(line: Line) -> None:
    line.script(["Hi", completion("Hi")])
    await line.answer()
    line.remaining = timedelta(seconds=-1)
    assert (await line.answer()).text == "Hi"


@pytest.mark.parametrize(("asked", "waits"), [(5, True), (15, False)])
async def test_a_wait_longer_than_what_remains_means_the_next_model_at_once(
    line: Line, asked: int, waits: bool
) -> None:
    line.remaining = timedelta(seconds=10)
    posture = Posture(tries=2, retry_after=timedelta(seconds=asked))
    line.script([LLMProviderRateLimitError("limited", posture=posture)])
    failed = await line.failure()
    assert (failed.retry_in is not None, failed.failure.then) == (waits, NextStep.NEXT_MODEL)


async def test_our_own_wait_is_no_longer_than_what_remains_either(line: Line) -> None:
    line.remaining = timedelta(milliseconds=400)
    line.script([LLMProviderServiceError("broken", posture=THRICE)])
    assert (await line.failure()).retry_in is None


async def test_a_provider_that_says_time_out_by_itself_has_not_met_our_limit(line: Line) -> None:
    line.remaining = LATER
    line.script([TimeoutError("a socket")])
    failed = await line.failure()
    assert (failed.failure.error_type, failed.failure.then) == (ErrorType.TIMEOUT, NextStep.NEXT_MODEL)
    assert "deadline" not in failed.failure.detail


async def test_a_model_whose_tries_are_spent_gets_a_strike_and_one_that_is_tried_again_does_not(line: Line) -> None:
    broken = LLMProviderServiceError("broken", posture=Posture(tries=2))
    line.script([broken], [broken])
    await line.failure(SECOND)
    assert not await line.cooldowns.cooling([MODEL])
    await line.failure(SECOND)
    assert await line.cooldowns.cooling([MODEL])


async def test_the_interactions_deadline_is_no_strike_for_the_model(line: Line) -> None:
    line.remaining = SOON
    line.script(["Hi", asyncio.Event()])
    await line.failure(SECOND)
    assert not await line.cooldowns.cooling([MODEL])
