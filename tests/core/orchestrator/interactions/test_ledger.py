import asyncio

import pytest

from core.orchestrator.contracts import Attempt, AttemptStatus, PlannedCall, Usage
from core.orchestrator.errors import ErrorType, LLMProviderRateLimitError, LLMProviderServiceError
from core.orchestrator.interactions.ledger import AttemptLedger, FinishedText, total_usage
from core.orchestrator.interactions.store import InteractionStore
from tests.core.orchestrator.domain import CALL, NOON, QUICK, completion, opened

SECOND = PlannedCall(place=1, provider="other", model="b/model")
BROKEN = LLMProviderServiceError("the upstream broke", http_status=502, error_code="overloaded", generation_id="gen-1")


@pytest.fixture
async def interaction_id(store: InteractionStore) -> str:
    return await opened(store)


async def begun(ledger: AttemptLedger, interaction_id: str, call: PlannedCall = CALL) -> int:
    ordinal = await ledger.begin(interaction_id, call, NOON)
    assert ordinal is not None
    return ordinal


async def test_calls_are_numbered_through_all_places(ledger: AttemptLedger, interaction_id: str) -> None:
    ordinals = []
    for call in (CALL, CALL, SECOND):
        ordinals.append(await begun(ledger, interaction_id, call))
        await ledger.fail(interaction_id, ordinals[-1], BROKEN, QUICK)
    assert ordinals == [1, 2, 3]
    assert [attempt.model for attempt in await ledger.attempts(interaction_id)] == ["a/model", "a/model", "b/model"]
    assert [attempt.ordinal for attempt in await ledger.attempts(interaction_id, place=1)] == [3]


async def test_a_running_call_is_no_attempt_yet(ledger: AttemptLedger, interaction_id: str) -> None:
    await begun(ledger, interaction_id)
    assert await ledger.attempts(interaction_id) == []


async def test_a_failure_keeps_what_the_upstream_said(ledger: AttemptLedger, interaction_id: str) -> None:
    ordinal = await begun(ledger, interaction_id)
    assert await ledger.fail(interaction_id, ordinal, BROKEN, QUICK, wait_ms=500)
    [attempt] = await ledger.attempts(interaction_id)
    assert attempt == Attempt(
        ordinal=1,
        model="a/model",
        provider="openrouter",
        status=AttemptStatus.FAILED,
        error_type=ErrorType.UPSTREAM,
        http_status=502,
        error_code="overloaded",
        detail="the upstream broke",
        generation_id="gen-1",
        usage=None,
        first_token_ms=5,
        duration_ms=20,
        wait_ms=500,
    )


async def test_an_answer_keeps_its_text_and_what_it_used(ledger: AttemptLedger, interaction_id: str) -> None:
    ordinal = await begun(ledger, interaction_id)
    usage = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3, cached_tokens=0, cost_usd=0.5)
    answer = completion(
        "Grüße 😀", model="a/model-v2", upstream_provider="X", finish_reason="stop", usage=usage, generation_id="gen-2"
    )
    assert await ledger.succeed(interaction_id, 0, ordinal, answer, QUICK)
    assert await ledger.finished_text(interaction_id, 0) == FinishedText(1, "Grüße 😀", "stop")
    assert await ledger.finished_text(interaction_id, 1) is None
    [attempt] = await ledger.attempts(interaction_id)
    assert (attempt.status, attempt.usage, attempt.error_type) == (AttemptStatus.SUCCEEDED, usage, None)
    assert (attempt.answered_model, attempt.upstream_provider, attempt.generation_id) == ("a/model-v2", "X", "gen-2")


async def test_a_call_nobody_closed_is_a_lost_worker_when_the_next_begins(
    ledger: AttemptLedger, interaction_id: str
) -> None:
    await begun(ledger, interaction_id)
    await begun(ledger, interaction_id, SECOND)
    [lost] = await ledger.attempts(interaction_id)
    assert (lost.ordinal, lost.status, lost.error_type) == (1, AttemptStatus.FAILED, ErrorType.WORKER_LOST)
    assert lost.usage == Usage(), "it may have cost something: unknown, not nothing"


async def test_a_lost_worker_that_wakes_is_refused(ledger: AttemptLedger, interaction_id: str) -> None:
    lost = await begun(ledger, interaction_id)
    newer = await begun(ledger, interaction_id)
    assert not await ledger.succeed(interaction_id, 0, lost, completion("too late"), QUICK)
    assert not await ledger.fail(interaction_id, lost, BROKEN, QUICK)
    assert await ledger.finished_text(interaction_id, 0) is None
    assert await ledger.succeed(interaction_id, 0, newer, completion("in time"), QUICK)
    assert [attempt.error_type for attempt in await ledger.attempts(interaction_id)] == [ErrorType.WORKER_LOST, None]
    text = await ledger.finished_text(interaction_id, 0)
    assert text is not None
    assert text.text == "in time"


async def test_keeping_an_answer_twice_is_keeping_it_once(ledger: AttemptLedger, interaction_id: str) -> None:
    ordinal = await begun(ledger, interaction_id)
    kept = [await ledger.succeed(interaction_id, 0, ordinal, completion(), QUICK) for _ in range(2)]
    assert kept == [True, True]
    assert len(await ledger.attempts(interaction_id)) == 1


async def test_no_call_begins_for_a_place_whose_answer_is_kept(ledger: AttemptLedger, interaction_id: str) -> None:
    ordinal = await begun(ledger, interaction_id)
    await ledger.succeed(interaction_id, 0, ordinal, completion(), QUICK)
    kept = await ledger.begin(interaction_id, CALL, NOON)
    assert isinstance(kept, FinishedText)
    assert kept.text == "Hi there"
    assert await ledger.begin(interaction_id, SECOND, NOON) == 2


async def test_of_calls_that_begin_at_once_only_the_last_may_answer(ledger: AttemptLedger, interaction_id: str) -> None:
    ordinals = await asyncio.gather(*(begun(ledger, interaction_id) for _ in range(5)))
    assert sorted(ordinals) == [1, 2, 3, 4, 5]
    kept = await asyncio.gather(
        *(ledger.succeed(interaction_id, 0, ordinal, completion(str(ordinal)), QUICK) for ordinal in ordinals)
    )
    assert dict(zip(ordinals, kept, strict=True)) == {1: False, 2: False, 3: False, 4: False, 5: True}


async def test_an_error_is_kept_in_one_line_that_any_database_takes(ledger: AttemptLedger, interaction_id: str) -> None:
    ordinal = await begun(ledger, interaction_id)
    await ledger.fail(interaction_id, ordinal, LLMProviderRateLimitError("a\n\0b\ud800" + "c" * 10_000), QUICK)
    [attempt] = await ledger.attempts(interaction_id)
    assert attempt.detail is not None
    assert attempt.detail.startswith("a bccc")
    assert len(attempt.detail) <= 300


# --- sums ---


def spent(usage: Usage | None) -> Attempt:
    return Attempt(ordinal=1, model="m", provider="p", status=AttemptStatus.SUCCEEDED, usage=usage)


def test_nothing_called_is_nothing_known() -> None:
    assert total_usage([]) == Usage()


def test_tokens_and_known_costs_are_summed() -> None:
    calls = [spent(Usage(prompt_tokens=1, total_tokens=1, cost_usd=0.5)), spent(Usage(prompt_tokens=2, cost_usd=0.25))]
    assert total_usage(calls) == Usage(prompt_tokens=3, total_tokens=1, cost_usd=0.75)


def test_one_unknown_cost_makes_the_sum_unknown_and_tokens_stay() -> None:
    calls = [spent(Usage(prompt_tokens=1, cost_usd=0.5)), spent(Usage(prompt_tokens=2)), spent(Usage())]
    assert total_usage(calls) == Usage(prompt_tokens=3, cost_usd=None)


def test_a_call_that_generated_nothing_costs_nothing() -> None:
    assert total_usage([spent(None), spent(Usage(cost_usd=0.5)), spent(None)]) == Usage(cost_usd=0.5)


def test_a_free_call_is_free_and_not_unknown() -> None:
    assert total_usage([spent(Usage(prompt_tokens=0, cost_usd=0.0))]) == Usage(prompt_tokens=0, cost_usd=0.0)
