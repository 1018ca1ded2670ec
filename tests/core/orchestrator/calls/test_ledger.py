import asyncio
from datetime import timedelta

import pytest

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.calls.texts import FinishedText, PartialText
from core.orchestrator.contracts import Attempt, AttemptStatus, InteractionStatus, PlannedCall, SkippedCall, Usage
from core.orchestrator.errors import ErrorType, LLMProviderRateLimitError, LLMProviderServiceError
from core.orchestrator.interactions.store import Ending, InteractionStore
from core.orchestrator.models.cooldowns import Cooldowns
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.domain import CALL, NOON, QUICK, begun, completion, opened

SECOND = PlannedCall(place=1, provider="other", model="b/model")
BROKEN = LLMProviderServiceError("the upstream broke", http_status=502, error_code="overloaded", generation_id="gen-1")


@pytest.fixture
async def interaction_id(store: InteractionStore) -> str:
    return await opened(store)


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
    first, second = [await ledger.succeed(interaction_id, 0, ordinal, completion(), QUICK) for _ in range(2)]
    assert first == second
    assert first is not None
    assert len(await ledger.attempts(interaction_id)) == 1


async def test_no_call_begins_for_a_place_whose_answer_is_kept(ledger: AttemptLedger, interaction_id: str) -> None:
    ordinal = await begun(ledger, interaction_id)
    await ledger.succeed(interaction_id, 0, ordinal, completion(), QUICK)
    kept = await ledger.begin(interaction_id, CALL, NOON)
    assert isinstance(kept, FinishedText)
    assert kept.text == "Hi there"
    assert await begun(ledger, interaction_id, SECOND, NOON) == 2


async def test_of_calls_that_begin_at_once_only_the_last_may_answer(ledger: AttemptLedger, interaction_id: str) -> None:
    ordinals = await asyncio.gather(*(begun(ledger, interaction_id) for _ in range(5)))
    assert sorted(ordinals) == [1, 2, 3, 4, 5]
    kept = await asyncio.gather(
        *(ledger.succeed(interaction_id, 0, ordinal, completion(str(ordinal)), QUICK) for ordinal in ordinals)
    )
    assert [one.answer.text for one in kept if one] == ["5"]
    assert kept[ordinals.index(5)] is not None


async def test_an_error_is_kept_in_one_line_that_any_database_takes(ledger: AttemptLedger, interaction_id: str) -> None:
    ordinal = await begun(ledger, interaction_id)
    await ledger.fail(interaction_id, ordinal, LLMProviderRateLimitError("a\n\0b\ud800" + "c" * 10_000), QUICK)
    [attempt] = await ledger.attempts(interaction_id)
    assert attempt.detail is not None
    assert attempt.detail.startswith("a bccc")
    assert len(attempt.detail) <= 300


# --- what a broken call had said ---


async def test_what_a_broken_call_had_said_is_kept_with_its_error(ledger: AttemptLedger, interaction_id: str) -> None:
    ordinal = await begun(ledger, interaction_id)
    await ledger.fail(interaction_id, ordinal, BROKEN, QUICK, partial="Once upon")
    assert await ledger.partial_text(interaction_id) == PartialText(1, "Once upon")


async def test_the_last_part_stands_and_a_call_that_said_nothing_leaves_none(
    ledger: AttemptLedger, interaction_id: str
) -> None:
    for partial in ("Once", "Once upon", None):
        ordinal = await begun(ledger, interaction_id)
        await ledger.fail(interaction_id, ordinal, BROKEN, QUICK, partial=partial)
    assert await ledger.partial_text(interaction_id) == PartialText(2, "Once upon")


async def test_a_lost_worker_that_wakes_leaves_no_part(ledger: AttemptLedger, interaction_id: str) -> None:
    lost = await begun(ledger, interaction_id)
    await begun(ledger, interaction_id)
    assert not await ledger.fail(interaction_id, lost, BROKEN, QUICK, partial="too late")
    assert await ledger.partial_text(interaction_id) is None


# --- models that were passed over ---

COOLING = SkippedCall(call=CALL, error_type=ErrorType.STALLED, reason="it keeps\nfailing")


async def test_a_model_that_was_passed_over_comes_before_the_call_it_was_passed_over_for(
    ledger: AttemptLedger, interaction_id: str
) -> None:
    ordinal = await begun(ledger, interaction_id, SECOND, NOON, [COOLING])
    assert ordinal == 2
    [skipped] = await ledger.attempts(interaction_id)
    assert skipped == Attempt(
        ordinal=1,
        model="a/model",
        provider="openrouter",
        status=AttemptStatus.SKIPPED,
        error_type=ErrorType.STALLED,
        detail="it keeps failing",
    )


async def test_a_call_that_is_made_again_tells_once_who_was_passed_over(
    ledger: AttemptLedger, interaction_id: str
) -> None:
    ordinals = [await begun(ledger, interaction_id, SECOND, NOON, [COOLING]) for _ in range(3)]
    assert ordinals == [2, 3, 4]
    statuses = [attempt.status for attempt in await ledger.attempts(interaction_id)]
    assert statuses == [AttemptStatus.SKIPPED, AttemptStatus.FAILED, AttemptStatus.FAILED]


async def test_being_passed_over_is_no_call_to_a_model(ledger: AttemptLedger, interaction_id: str) -> None:
    await begun(ledger, interaction_id, SECOND, skipped=[COOLING])
    assert await ledger.attempts(interaction_id, place=CALL.place) == []


async def test_where_the_interaction_has_ended_nobody_is_noted_as_passed_over(
    ledger: AttemptLedger, store: InteractionStore, interaction_id: str
) -> None:
    await store.end(interaction_id, Ending(InteractionStatus.CANCELLED))
    assert await ledger.begin(interaction_id, SECOND, NOON, [COOLING]) is None
    assert await ledger.attempts(interaction_id) == []


# --- the id and the cost of a call ---


async def test_the_id_of_a_running_call_stays_when_its_worker_is_lost(
    ledger: AttemptLedger, interaction_id: str
) -> None:
    ordinal = await begun(ledger, interaction_id)
    await ledger.identify(interaction_id, ordinal, "gen-7")
    await begun(ledger, interaction_id)
    [lost] = await ledger.attempts(interaction_id)
    assert (lost.error_type, lost.generation_id) == (ErrorType.WORKER_LOST, "gen-7")


async def test_a_closed_call_has_the_id_it_was_closed_with(ledger: AttemptLedger, interaction_id: str) -> None:
    ordinal = await begun(ledger, interaction_id)
    await ledger.fail(interaction_id, ordinal, BROKEN, QUICK)
    await ledger.identify(interaction_id, ordinal, "gen-late")
    [attempt] = await ledger.attempts(interaction_id)
    assert attempt.generation_id == "gen-1"


async def test_an_estimate_stands_beside_a_cost_that_was_not_told(ledger: AttemptLedger, interaction_id: str) -> None:
    broken = LLMProviderServiceError("broken", may_be_billed=True)
    ordinal = await begun(ledger, interaction_id)
    await ledger.fail(interaction_id, ordinal, broken, QUICK, estimated_cost_usd=0.25)
    ordinal = await begun(ledger, interaction_id, SECOND)
    told = completion(usage=Usage(prompt_tokens=3))
    await ledger.succeed(interaction_id, 1, ordinal, told, QUICK, estimated_cost_usd=0.5)
    usages = [attempt.usage for attempt in await ledger.attempts(interaction_id)]
    assert usages == [Usage(estimated_cost_usd=0.25), Usage(prompt_tokens=3, estimated_cost_usd=0.5)]


async def test_a_model_that_answers_is_well_again(
    database: Database, ledger: AttemptLedger, interaction_id: str
) -> None:
    cooldowns = Cooldowns(database, 1, timedelta(minutes=5))
    models = [(call.provider, call.model) for call in (CALL, SECOND)]
    for model in models:
        await cooldowns.strike(*model, BROKEN)
    assert set(await cooldowns.cooling(models)) == set(models)
    ordinal = await begun(ledger, interaction_id)
    await ledger.succeed(interaction_id, 0, ordinal, completion(), QUICK)
    assert set(await cooldowns.cooling(models)) == {models[1]}
