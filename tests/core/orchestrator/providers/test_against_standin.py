"""The providers against the stand-in: whole stories, where `conftest.Upstream` scripts single bytes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta

import pytest
from pydantic import SecretStr

from core.orchestrator.contracts import Message, Usage
from core.orchestrator.errors import ErrorType, LLMProviderError, NextStep
from core.orchestrator.providers.base import CallAccepted
from core.orchestrator.providers.openai_compatible import OpenAICompatibleProvider
from core.orchestrator.providers.openrouter import OpenRouterProvider
from standin import Pace, StandIn
from standin.faults import FAULTS
from tests.core.orchestrator.providers.conftest import HELLO, KEY, Told, collect, failure_of, leaks, provider_for


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    async with StandIn(pace=Pace(generation_record=timedelta(0))) as running:
        yield running


@pytest.fixture
async def openrouter(standin: StandIn) -> AsyncIterator[OpenRouterProvider]:
    provider = provider_for(standin.base_url, stall=0.1)
    yield provider
    await provider.aclose()


@pytest.fixture
async def compatible(standin: StandIn) -> AsyncIterator[OpenAICompatibleProvider]:
    wait = timedelta(seconds=5)
    provider = OpenAICompatibleProvider(
        "vllm", standin.base_url, api_key=SecretStr(KEY), first_token_timeout=wait, stall_timeout=wait
    )
    yield provider
    await provider.aclose()


WEATHER = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
ASKING: list[Message] = [{"role": "user", "content": 'Please call weather {"city": "Santiago de Compostela"}'}]


@pytest.mark.parametrize("name", ["openrouter", "vllm"])
async def test_a_tool_is_offered_called_and_answered(
    standin: StandIn, openrouter: OpenRouterProvider, compatible: OpenAICompatibleProvider, name: str
) -> None:
    provider = openrouter if name == "openrouter" else compatible
    called = await provider.generate_chat_completion(ASKING, "openai/gpt-4", parameters={"tools": WEATHER})
    assert (called.content, called.finish_reason) == ("", "tool_calls")
    [call] = called.tool_calls or ()
    assert call["function"] == {"name": "weather", "arguments": '{"city": "Santiago de Compostela"}'}
    assert called.usage is not None
    assert called.usage.cost_usd == float(standin.ledger.calls[-1].cost) > 0

    result: list[Message] = [
        {"role": "assistant", "content": None, "tool_calls": called.tool_calls},
        {"role": "tool", "tool_call_id": call["id"], "content": "Rain"},
    ]
    answer = await provider.generate_chat_completion([*ASKING, *result], "openai/gpt-4", parameters={"tools": WEATHER})
    assert answer.content.endswith('A tool said: "Rain".')
    assert (answer.tool_calls, answer.finish_reason) == (None, "stop")


async def test_a_form_that_is_asked_for_is_sent_on(openrouter: OpenRouterProvider) -> None:
    said, _ = await collect(openrouter, "openai/gpt-4", response_format={"type": "json_object"})
    assert json.loads("".join(said))["answer"].startswith("Nobody (no system message) here")


async def test_the_catalogue_is_read_whole(openrouter: OpenRouterProvider) -> None:
    models = {model.id: model for model in await openrouter.list_models()}
    assert {f"standin/{name}" for name in FAULTS} < models.keys()
    gpt, auto, free = (models[name] for name in ("openai/gpt-4", "openrouter/auto", "deepseek/deepseek-r1:free"))
    assert (gpt.context_length, gpt.max_completion_tokens) == (8191, 4096)
    assert (gpt.prompt_usd, gpt.completion_usd) == (0.00003, 0.00006)
    assert (auto.context_length, auto.prompt_usd, auto.completion_usd) == (None, None, None)
    assert (free.prompt_usd, free.completion_usd) == (0, 0)


@pytest.mark.parametrize(
    "fault", ["error-mid-stream", "truncated", "reset", "stall", "malformed", "echo-key-mid-stream"]
)
async def test_a_broken_call_can_be_looked_up_under_the_id_it_told(
    standin: StandIn, openrouter: OpenRouterProvider, fault: str
) -> None:
    told = Told()
    with pytest.raises(LLMProviderError) as caught:
        await told.listen(openrouter, f"standin/{fault}")
    (call,) = standin.ledger.calls
    await standin.ledger.until(lambda _: call.outcome is not None)

    assert told.accepted == [caught.value.generation_id] == [call.generation_id]
    assert caught.value.may_be_billed
    assert "".join(told.pieces).startswith("Nobody (no system message) here")
    usage = await openrouter.find_usage(call.generation_id)
    assert usage is not None
    assert usage.cost_usd == float(call.cost) > 0
    assert (usage.prompt_tokens, usage.completion_tokens) == (call.prompt_tokens, call.completion_tokens)


async def test_a_call_that_was_left_can_be_looked_up(standin: StandIn, openrouter: OpenRouterProvider) -> None:
    standin.script("openai/gpt-4", {"hold": True, "after": 2})
    async with aclosing(openrouter.stream_chat_completion(HELLO, "openai/gpt-4")) as pieces:
        accepted = await anext(pieces)
        await standin.ledger.until_held()
        assert isinstance(accepted, CallAccepted)
        assert await openrouter.find_usage(accepted.generation_id) is None
    (call,) = standin.ledger.calls
    await standin.ledger.until(lambda _: call.outcome is not None)
    usage = await openrouter.find_usage(accepted.generation_id)
    assert usage is not None
    assert (usage.completion_tokens, usage.cost_usd) == (2, float(call.cost))


async def test_a_call_paid_with_an_own_key_costs_what_the_upstream_takes(
    standin: StandIn, openrouter: OpenRouterProvider
) -> None:
    _, completion = await collect(openrouter, "standin/own-key")
    (call,) = standin.ledger.calls
    usage = await openrouter.find_usage(call.generation_id)
    assert completion.usage is not None
    assert usage is not None
    assert usage.cost_usd == completion.usage.cost_usd == float(call.cost) > 0


async def test_a_call_nobody_knows_is_unknown(openrouter: OpenRouterProvider) -> None:
    assert await openrouter.find_usage("gen-of-somebody-else") is None


async def test_the_key_in_the_words_of_an_answer_is_redacted(openrouter: OpenRouterProvider) -> None:
    pieces, completion = await collect(openrouter, "standin/echo-key-text")
    assert "(the key is [redacted])" in completion.content
    assert KEY not in "".join(pieces)


async def test_the_key_in_the_labels_of_an_answer_is_redacted(
    openrouter: OpenRouterProvider, caplog: pytest.LogCaptureFixture
) -> None:
    _, completion = await collect(openrouter, "standin/echo-key-labels")
    assert completion.content.endswith("earlier messages.")
    assert completion.model == completion.upstream_provider == completion.finish_reason == "[redacted]"
    assert completion.generation_id is None
    assert not leaks(repr(completion) + caplog.text)


@pytest.mark.parametrize("fault", ["echo-key", "echo-key-mid-stream"])
async def test_the_key_in_an_error_is_redacted(
    openrouter: OpenRouterProvider, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    error = await failure_of(openrouter, f"standin/{fault}")
    assert "[redacted]" in str(error)
    assert not leaks(f"{error!r} {vars(error)} {caplog.text}")


@pytest.mark.parametrize("fault", ["ok", "debug-chunk", "odd-framing", "usage-open-choice", "usage-repeated-finish"])
async def test_an_unusual_answer_is_an_answer_with_its_usage(
    standin: StandIn, openrouter: OpenRouterProvider, fault: str
) -> None:
    _, completion = await collect(openrouter, f"standin/{fault}")
    (call,) = standin.ledger.calls
    assert completion.usage is not None
    assert completion.usage.cost_usd == float(call.cost)
    assert completion.finish_reason == "stop"


@pytest.mark.parametrize("fault", ["no-usage", "cost-null"])
async def test_a_cost_that_is_not_told_is_unknown(openrouter: OpenRouterProvider, fault: str) -> None:
    _, completion = await collect(openrouter, f"standin/{fault}")
    assert (completion.usage or Usage()).cost_usd is None


async def test_a_server_with_openais_api_answers_and_lists_its_models(
    standin: StandIn, compatible: OpenAICompatibleProvider
) -> None:
    _, completion = await collect(compatible, "llama3")
    assert "a stand-in for llama3 speaking" in completion.content
    (call,) = standin.ledger.calls
    assert call.parameters["stream_options"] == {"include_usage": True}
    assert not {"http-referer", "x-openrouter-title"} & call.headers.keys()
    assert "openai/gpt-4" in {model.id for model in await compatible.list_models()}


async def test_a_server_with_openais_api_fails_as_openrouter_does(compatible: OpenAICompatibleProvider) -> None:
    errors = await asyncio.gather(
        *(failure_of(compatible, f"standin/{fault}") for fault in ("unauthorized", "provider-400", "context-length"))
    )
    assert [(error.error_type, error.posture.then) for error in errors] == [
        (ErrorType.AUTHENTICATION, NextStep.NEXT_PROVIDER),
        (ErrorType.INVALID_REQUEST, NextStep.NEXT_MODEL_ONCE),
        (ErrorType.CONTEXT_LENGTH, NextStep.LARGER_CONTEXT),
    ]
