"""How a model is to answer beyond the usual, and answers that call the client's tools."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from core.orchestrator.contracts import AfterOutput, InteractionStatus, ModelAnswer, Usage
from core.orchestrator.errors import ErrorType, LLMProviderServiceError, NextStep
from core.orchestrator.interactions.store import Ending
from core.orchestrator.providers.base import ChatCompletion, LLMProvider
from core.orchestrator.providers.tool_calls import json_bytes
from core.orchestrator.tokens import estimate_tokens
from tests.core.orchestrator.calls.line import SECOND, Line
from tests.core.orchestrator.domain import PROMPT, completion

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
CALLS = [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rom"}'}}]
BROKEN = LLMProviderServiceError("broken", may_be_billed=True)
LIMIT_IN_A_PAYLOAD = 2_000_000


async def asked_with(line: Line, **parameters: Any) -> None:
    """Have a prompt with parameters, and a provider that takes them."""
    prompt = type(PROMPT)(PROMPT.messages, PROMPT.temperature, PROMPT.max_tokens, parameters)
    await line.store.save_prompt(line.interaction_id, prompt, {})
    line.provider.takes_parameters = True  # type: ignore[misc]


# --- parameters ---


async def test_the_provider_gets_exactly_the_parameters(line: Line) -> None:
    await asked_with(line, top_p=0.5, tools=TOOLS)
    line.script(["Hi", completion("Hi")])
    await line.answer()
    assert line.provider.parameters == [{"top_p": 0.5, "tools": TOOLS}]


async def test_a_provider_that_knows_no_parameters_is_asked_without_where_there_are_none(line: Line) -> None:
    class Older(LLMProvider):
        provider_name = "openrouter"

        async def generate_chat_completion(
            self, messages: Any, model: Any = None, temperature: float = 0.7, max_tokens: Any = None
        ) -> str:
            raise NotImplementedError

        async def stream_chat_completion(
            self, messages: Any, model: Any = None, temperature: float = 0.7, max_tokens: Any = None
        ) -> Any:
            yield "Hi"
            yield ChatCompletion(content="Hi")

    line.provider = Older()  # type: ignore[assignment]
    assert (await line.answer()).text == "Hi"


async def test_a_provider_that_takes_no_parameters_is_not_asked_and_the_next_model_is(line: Line) -> None:
    await asked_with(line, tools=TOOLS, seed=1)
    line.provider.takes_parameters = False  # type: ignore[misc]
    failed = await line.failure()
    assert (failed.retry_in, failed.failure.then) == (None, NextStep.NEXT_MODEL)
    assert failed.failure.error_type is ErrorType.INVALID_REQUEST
    assert failed.failure.detail == "the provider 'openrouter' does not take seed, tools"
    [attempt] = failed.failure.attempts
    assert attempt.usage is None  # nothing is owed
    assert line.provider.calls == []
    assert await line.cooldowns.current() == {}


async def test_a_call_that_completes_a_json_text_is_not_held_to_the_form_of_a_whole_one(line: Line) -> None:
    await asked_with(line, response_format={"type": "json_object"}, seed=1)
    line.script(['{"a"', BROKEN], [": 1}", completion(": 1}")])
    await line.failure(after_output=AfterOutput.CONTINUE)
    assert (await line.answer(SECOND, after_output=AfterOutput.CONTINUE)).text == '{"a": 1}'
    assert line.provider.parameters == [{"response_format": {"type": "json_object"}, "seed": 1}, {"seed": 1}]


# --- calls of tools ---


async def kept_calls(line: Line, place: int = 0) -> list[dict[str, Any]] | None:
    finished = await line.ledger.finished_text(line.interaction_id, place)
    assert finished is not None
    return finished.tool_calls


@pytest.mark.parametrize("text", ["", "Let me look."])
@pytest.mark.parametrize("reason", ["tool_calls", "stop", None])
async def test_an_answer_that_calls_tools_is_kept_with_its_calls(line: Line, text: str, reason: str | None) -> None:
    await asked_with(line, tools=TOOLS)
    line.script([*([text] if text else []), completion(text, tool_calls=CALLS, finish_reason=reason)])
    answer = await line.answer()
    assert (answer.text, answer.finish_reason) == (text, reason or "tool_calls")
    assert await kept_calls(line) == CALLS


async def test_calls_of_tools_are_in_no_payload(line: Line) -> None:
    await asked_with(line, tools=TOOLS)
    line.script([completion("", tool_calls=CALLS)])
    assert "Rom" not in (await line.answer()).model_dump_json()


async def test_an_answer_that_calls_tools_is_not_paid_for_again(line: Line) -> None:
    await asked_with(line, tools=TOOLS)
    line.script([completion("", tool_calls=CALLS)])
    assert await line.answer() == await line.answer()
    assert len(line.provider.calls) == 1


UNWANTED: list[Mapping[str, Any]] = [{}, {"tools": []}, {"tools": TOOLS, "tool_choice": "none"}]


@pytest.mark.parametrize("parameters", UNWANTED)
async def test_calls_that_nobody_asked_for_are_no_answer(line: Line, parameters: Mapping[str, Any]) -> None:
    await asked_with(line, **parameters)
    line.script([completion("", tool_calls=CALLS, finish_reason="tool_calls")])
    assert (await line.failure()).failure.error_type is ErrorType.EMPTY


@pytest.mark.parametrize("parameters", UNWANTED)
async def test_text_is_an_answer_without_the_calls_that_nobody_asked_for(
    line: Line, parameters: Mapping[str, Any]
) -> None:
    await asked_with(line, **parameters)
    line.script([completion("Hi", tool_calls=CALLS, finish_reason="tool_calls")])
    answer = await line.answer()
    assert (answer.text, answer.finish_reason, await kept_calls(line)) == ("Hi", "stop", None)


async def test_a_call_that_continues_a_text_may_end_it_with_calls(line: Line) -> None:
    await asked_with(line, tools=TOOLS)
    line.script(
        ["Let me", BROKEN], [" look.", completion(" look.", tool_calls=CALLS)], [completion("", tool_calls=CALLS)]
    )
    await line.failure(after_output=AfterOutput.CONTINUE)
    assert (await line.answer(SECOND, after_output=AfterOutput.CONTINUE)).text == "Let me look."
    assert await kept_calls(line, SECOND.place) == CALLS


async def test_a_text_that_broke_off_may_be_followed_by_calls_alone(line: Line) -> None:
    await asked_with(line, tools=TOOLS)
    line.script(["Let me look.", BROKEN], [completion("", tool_calls=CALLS)])
    await line.failure(after_output=AfterOutput.CONTINUE)
    answer = await line.answer(SECOND, after_output=AfterOutput.CONTINUE)
    assert (answer.text, await kept_calls(line, SECOND.place)) == ("Let me look.", CALLS)


@pytest.mark.parametrize("character", ["a", "漢", '"'])
async def test_text_and_calls_fit_a_payload_together(line: Line, character: str) -> None:
    await asked_with(line, tools=TOOLS)
    calls = [{**CALLS[0], "function": {"name": "weather", "arguments": character * 240_000}}]
    line.script([completion(character * 900_000, tool_calls=calls, finish_reason="stop")])
    answer = await line.answer()
    assert await kept_calls(line) == calls
    assert len(json.dumps(answer.text, ensure_ascii=False).encode()) + json_bytes(calls) < LIMIT_IN_A_PAYLOAD
    assert len(answer.text) > 100_000


# --- costs ---


def a_dollar_a_token(_provider: str, _model: str, usage: Usage) -> float:
    return float((usage.prompt_tokens or 0) + (usage.completion_tokens or 0))


async def test_tools_are_paid_for_when_they_are_offered_and_when_they_are_called(line: Line) -> None:
    await asked_with(line, tools=TOOLS, seed=1)
    line.estimate = a_dollar_a_token
    line.script([completion("", tool_calls=CALLS)])
    usage = (await line.answer()).usage
    offered = estimate_tokens(json.dumps(TOOLS)) + sum(estimate_tokens(one["content"]) for one in PROMPT.messages)
    assert usage == Usage(estimated_cost_usd=offered + estimate_tokens(json.dumps(CALLS)))


async def test_calls_of_tools_made_before_are_paid_for_when_they_are_sent_again(line: Line) -> None:
    messages = [{"role": "assistant", "content": None, "tool_calls": CALLS}, {"role": "tool", "content": "Sun"}]
    await line.store.save_prompt(line.interaction_id, type(PROMPT)(messages, 0.7, None), {})
    line.estimate = a_dollar_a_token
    line.script([BROKEN])
    await line.failure()
    [attempt] = await line.ledger.attempts(line.interaction_id)
    expected = estimate_tokens(json.dumps(CALLS)) + estimate_tokens("Sun")
    assert attempt.usage == Usage(estimated_cost_usd=expected)


# --- the reply ---


async def test_a_reply_of_calls_alone_is_empty_rather_than_none_and_what_was_sent_can_be_sent_again(line: Line) -> None:
    await asked_with(line, tools=TOOLS)
    line.script([completion("", tool_calls=CALLS)])
    answer = await line.call()
    assert isinstance(answer, ModelAnswer), answer
    ending = Ending(InteractionStatus.COMPLETED, reply=answer.text, answered_place=0, tool_calls=CALLS)
    view = (await line.store.end(line.interaction_id, ending)).view
    assert (view.message, view.tool_calls, view.finish_reason) == ("", CALLS, "tool_calls")
    assert await line.store.view(line.interaction_id) == view
