"""Under which id the upstream knows a call, and what it may have cost where nobody told."""

import asyncio
from datetime import timedelta

import pytest

from core.orchestrator.contracts import Usage
from core.orchestrator.errors import ErrorType, LLMProviderConnectionError, LLMProviderServiceError
from core.orchestrator.providers.base import CallAccepted
from core.orchestrator.tokens import estimate_tokens
from tests.core.orchestrator.calls.line import Line, is_cancelled
from tests.core.orchestrator.domain import CALL, NOON, PROMPT, completion

ACCEPTED = CallAccepted("gen-1")
PROMPT_TOKENS = sum(estimate_tokens(message["content"]) for message in PROMPT.messages)


def a_dollar_a_token(provider: str, model: str, usage: Usage) -> float:
    assert (provider, model) == ("openrouter", "a/model")
    assert usage.prompt_tokens is not None
    assert usage.completion_tokens is not None
    return float(usage.prompt_tokens + usage.completion_tokens)


# --- ids ---


async def test_the_id_of_a_call_that_runs_long_survives_its_worker(line: Line) -> None:
    written = asyncio.Event()
    line.ledger.identified = written
    line.identify_after = timedelta(0)
    line.script([ACCEPTED, asyncio.Event()])
    lost = asyncio.create_task(line.call())
    await asyncio.wait_for(written.wait(), 5)
    await line.ledger.begin(line.interaction_id, CALL, NOON)
    [attempt] = await line.ledger.attempts(line.interaction_id)
    assert (attempt.error_type, attempt.generation_id) == (ErrorType.WORKER_LOST, "gen-1")
    lost.cancel()
    await asyncio.wait([lost])


async def test_a_short_call_writes_its_id_once_with_its_end(line: Line) -> None:
    written = asyncio.Event()
    line.ledger.identified = written
    line.script([ACCEPTED, "Hi", completion("Hi")])
    await line.answer()
    [attempt] = await line.ledger.attempts(line.interaction_id)
    assert attempt.generation_id == "gen-1"
    assert not written.is_set()


@pytest.mark.parametrize("told", [None, "gen-of-its-own"])
async def test_an_error_has_the_id_of_its_call(line: Line, told: str | None) -> None:
    line.script([ACCEPTED, LLMProviderServiceError("broken", generation_id=told)])
    await line.failure()
    [attempt] = await line.ledger.attempts(line.interaction_id)
    assert attempt.generation_id == (told or "gen-1")


async def test_a_cancelled_call_has_its_id(line: Line) -> None:
    line.script([ACCEPTED, "Hi", asyncio.Event()])
    task = asyncio.create_task(line.call(interruption=is_cancelled))
    await line.provider.speaking.wait()
    task.cancel()
    await asyncio.wait([task])
    [attempt] = await line.ledger.attempts(line.interaction_id)
    assert (attempt.error_type, attempt.generation_id) == (ErrorType.CANCELLED, "gen-1")


async def test_an_id_is_no_text_and_no_first_token(line: Line) -> None:
    line.script([ACCEPTED, LLMProviderServiceError("broken")])
    await line.failure()
    [attempt] = await line.ledger.attempts(line.interaction_id)
    assert attempt.first_token_ms is None
    assert await line.ledger.partial_text(line.interaction_id) is None


async def test_whatever_a_provider_takes_for_an_id_is_kept_in_one_short_line(line: Line) -> None:
    line.script([CallAccepted("g\n\ud800" * 1000), CallAccepted(7), LLMProviderServiceError("broken")])  # type: ignore[arg-type]
    await line.failure()
    [attempt] = await line.ledger.attempts(line.interaction_id)
    assert attempt.generation_id is not None
    assert len(attempt.generation_id) <= 200


# --- costs ---


async def test_a_broken_call_is_estimated_from_the_prompt_and_what_it_said(line: Line) -> None:
    line.estimate = a_dollar_a_token
    line.script(["Once upon", LLMProviderServiceError("broken", may_be_billed=True)])
    await line.failure()
    [attempt] = await line.ledger.attempts(line.interaction_id)
    assert attempt.usage == Usage(estimated_cost_usd=PROMPT_TOKENS + estimate_tokens("Once upon"))


async def test_a_call_that_may_be_billed_and_said_nothing_is_estimated_from_its_prompt(line: Line) -> None:
    line.estimate = a_dollar_a_token
    line.script([LLMProviderServiceError("broken", may_be_billed=True)])
    await line.failure()
    [attempt] = await line.ledger.attempts(line.interaction_id)
    assert attempt.usage == Usage(estimated_cost_usd=PROMPT_TOKENS)


async def test_a_refused_call_has_no_estimate(line: Line) -> None:
    line.estimate = a_dollar_a_token
    line.script([LLMProviderConnectionError("refused")])
    await line.failure()
    [attempt] = await line.ledger.attempts(line.interaction_id)
    assert attempt.usage is None


@pytest.mark.parametrize(
    ("told", "likely"),
    [
        (Usage(prompt_tokens=100, completion_tokens=10), 110),
        (Usage(prompt_tokens=100), 100 + estimate_tokens("Hi there")),
        (None, PROMPT_TOKENS + estimate_tokens("Hi there")),
        (Usage(prompt_tokens=100, completion_tokens=10, cost_usd=0.5), None),
        (Usage(cost_usd=0.0), None),
    ],
)
async def test_an_answer_without_a_cost_is_estimated_from_the_tokens_that_were_told(
    line: Line, told: Usage | None, likely: float | None
) -> None:
    line.estimate = a_dollar_a_token
    line.script(["Hi there", completion("Hi there", usage=told)])
    usage = (await line.answer()).usage
    assert usage == (told or Usage()).model_copy(update={"estimated_cost_usd": likely})


async def test_a_price_that_is_not_known_leaves_no_estimate(line: Line) -> None:
    line.script(["Hi", completion("Hi")])
    assert (await line.answer()).usage == Usage()


async def test_a_continuing_call_pays_for_the_text_it_was_sent_and_for_what_it_adds(line: Line) -> None:
    line.estimate = a_dollar_a_token
    broken = LLMProviderServiceError("broken", may_be_billed=True)
    line.script(["Once", broken], [" upon", broken])
    for _ in range(2):
        await line.failure(after_output="continue")
    first, second = (attempt.usage for attempt in await line.ledger.attempts(line.interaction_id))
    sent = sum(estimate_tokens(message["content"]) for message in line.provider.calls[1][0])
    assert sent > PROMPT_TOKENS
    assert first == Usage(estimated_cost_usd=PROMPT_TOKENS + estimate_tokens("Once"))
    assert second == Usage(estimated_cost_usd=sent + estimate_tokens(" upon"))
