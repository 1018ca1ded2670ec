"""What a chat may hold: what is passed on, what is ignored, and what is refused, by name."""

from typing import Any

import pytest

from api.v1.chat_body import ChatBody
from tests.api.keyed import Keyed, bearer
from tests.api.v1.talk import CHAT, assert_error, body

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "x": None}, "strict": True}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
USER = {"role": "user", "content": "Hello"}
PASSED_ON: dict[str, Any] = {
    "top_p": 0.5,
    "stop": ["a", "b"],
    "seed": -1,
    "frequency_penalty": -2,
    "presence_penalty": 2.0,
    "logit_bias": {"50256": -100},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": [None]}}},
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "verbosity": "high",
    "top_k": 40,
    "min_p": 0.1,
    "top_a": 0,
    "repetition_penalty": 1.1,
    "reasoning": {"max_tokens": 100, "exclude": True},
    "provider": {"order": ["a"], "allow_fallbacks": False},
    "plugins": [{"id": "web"}],
}
IGNORED: dict[str, Any] = {
    "store": True,
    "metadata": {"a": "b"},
    "service_tier": "flex",
    "user": "somebody",
    "n": 1,
    "logprobs": False,
    "top_logprobs": 0,
    "modalities": ["text"],
    "prediction": None,
    "functions": None,
    "prompt_cache_key": 3,
    "colour": {"red": "\0"},
}
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    # What is sent, the code, and the field.
    "two replies": ({"n": 2}, "unsupported_value", "n"),
    "logprobs": ({"logprobs": True}, "unsupported_parameter", "logprobs"),
    "top_logprobs": ({"top_logprobs": 3}, "unsupported_parameter", "top_logprobs"),
    "sound": ({"modalities": ["text", "audio"]}, "unsupported_value", "modalities"),
    "a voice": ({"audio": {"voice": "x"}}, "unsupported_parameter", "audio"),
    "a prediction": ({"prediction": {"type": "content"}}, "unsupported_parameter", "prediction"),
    "a search": ({"web_search_options": {}}, "unsupported_parameter", "web_search_options"),
    "old tools": ({"functions": []}, "unsupported_parameter", "functions"),
    "an old choice": ({"function_call": "auto"}, "unsupported_parameter", "function_call"),
    "fallbacks": ({"models": ["a/b"]}, "unsupported_parameter", "models"),
    "a tool of no client": ({"tools": [{"type": "web_search"}]}, "unsupported_value", "tools[0]"),
    "a tool without a name": (
        {"tools": [{"type": "function", "function": {}}]},
        "missing_required_parameter",
        "tools[0].function.name",
    ),
    "too warm": ({"temperature": 2.5}, "invalid_value", "temperature"),
    "a warm word": ({"temperature": "1"}, "invalid_type", "temperature"),
    "no length": ({"max_tokens": 0}, "invalid_value", "max_tokens"),
    "no newer length": ({"max_completion_tokens": -1}, "invalid_value", "max_completion_tokens"),
    "too large a share": ({"top_p": 1.5}, "invalid_value", "top_p"),
    "too many stops": ({"stop": ["a"] * 5}, "invalid_value", "stop"),
    "a wrong stop": ({"stop": ["a", 1]}, "invalid_type", "stop[1]"),
    "too large a seed": ({"seed": 2**63}, "invalid_value", "seed"),
    "too strong a bias": ({"logit_bias": {"1": 101}}, "invalid_value", "logit_bias[1]"),
    "a bias for what nobody stores": ({"logit_bias": {"\0": 1}}, "invalid_value", "logit_bias"),
    "a choice of nothing": ({"tool_choice": {}}, "missing_required_parameter", "tool_choice.type"),
    "a choice of no function": ({"tool_choice": {"type": "x"}}, "unsupported_value", "tool_choice.type"),
    "a choice of a function without a name": (
        {"tool_choice": {"type": "function", "function": {}}},
        "missing_required_parameter",
        "tool_choice.function.name",
    ),
    "a wrong choice": ({"tool_choice": "perhaps"}, "invalid_value", "tool_choice"),
    "a form without a type": ({"response_format": {}}, "missing_required_parameter", "response_format.type"),
    "a long user": ({"user": "x" * 129}, "invalid_value", "user"),
    "an empty conversation": ({"conversation": ""}, "invalid_value", "conversation"),
    "a conversation without an id": ({"conversation": {}}, "missing_required_parameter", "conversation.id"),
    "a number as conversation": (
        {"metadata": {"conversation_id": 3}},
        "invalid_type",
        "metadata.conversation_id",
    ),
    "a NUL": ({"metadata": {"a": "\0"}}, "invalid_value", "metadata"),
    "no message": ({"messages": []}, "invalid_value", "messages"),
    "nothing but instructions": ({"messages": [{"role": "system", "content": "x"}]}, "invalid_value", "messages"),
    "the assistant last": (
        {"messages": [USER, {"role": "assistant", "content": "Hi"}, {"role": "system", "content": "x"}]},
        "invalid_value",
        "messages",
    ),
    "an old role": ({"messages": [{"role": "function", "content": "x"}]}, "invalid_value", "messages[0].role"),
    "a user without words": ({"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0].content"),
    "a user with empty words": (
        {"messages": [{"role": "user", "content": ""}]},
        "invalid_value",
        "messages[0].content",
    ),
    "a user with nothing but space": (
        {"messages": [{"role": "user", "content": " \n"}]},
        "invalid_value",
        "messages[0].content",
    ),
    "a user with parts of nothing": (
        {"messages": [USER, {"role": "user", "content": [{"type": "text", "text": " "}, {"type": "text"}]}]},
        "invalid_value",
        "messages[1].content",
    ),
    "no parts": ({"messages": [{"role": "user", "content": []}]}, "invalid_value", "messages[0].content"),
    "a part without a type": (
        {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
        "missing_required_parameter",
        "messages[0].content[0].type",
    ),
    "a result of nothing": (
        {"messages": [USER, {"role": "tool", "content": "x"}]},
        "missing_required_parameter",
        "messages[1].tool_call_id",
    ),
}


WRONG_CALLS: dict[str, tuple[Any, str, str]] = {
    # What stands among the calls, the code, and the way from there to the field.
    "no object": ("look", "invalid_type", ""),
    "no id": ({key: CALL[key] for key in ("type", "function")}, "missing_required_parameter", ".id"),
    "a number as id": ({**CALL, "id": 1}, "invalid_type", ".id"),
    "a long id": ({**CALL, "id": "x" * 2000}, "invalid_value", ".id"),
    "another type": ({**CALL, "type": "custom"}, "invalid_value", ".type"),
    "no function": ({**CALL, "function": None}, "invalid_type", ".function"),
    "a text as function": ({**CALL, "function": "look"}, "invalid_type", ".function"),
    "no name": ({**CALL, "function": {"arguments": "{}"}}, "missing_required_parameter", ".function.name"),
    "an empty name": ({**CALL, "function": {"name": "", "arguments": "{}"}}, "invalid_value", ".function.name"),
    "no arguments": ({**CALL, "function": {"name": "look"}}, "missing_required_parameter", ".function.arguments"),
    "an object as arguments": (
        {**CALL, "function": {"name": "look", "arguments": {}}},
        "invalid_type",
        ".function.arguments",
    ),
    "what nobody stores": ({**CALL, "more": {"\0": 1}}, "invalid_value", ""),
}


@pytest.mark.parametrize("why", WRONG_CALLS)
async def test_a_call_that_is_none_is_refused_where_it_stands(keyed: Keyed, why: str) -> None:
    call, code, way = WRONG_CALLS[why]
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL, call]}, USER]
    response = await keyed.ask("both", "POST", CHAT, json=body(messages=messages))
    assert_error(response, 400, code, f"messages[1].tool_calls[1]{way}")


async def test_more_calls_than_any_model_makes_are_refused(keyed: Keyed) -> None:
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL] * 129}, USER]
    response = await keyed.ask("both", "POST", CHAT, json=body(messages=messages))
    assert_error(response, 400, "invalid_value", "messages[1].tool_calls")


@pytest.mark.parametrize("why", REFUSED)
async def test_what_cannot_be_is_refused_by_name(
    keyed: Keyed,
    why: str,
) -> None:
    sent, code, param = REFUSED[why]
    response = await keyed.ask("both", "POST", CHAT, json=body() | sent)
    error = assert_error(response, 400, code, param)
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(f"{param}: ")


async def test_a_body_without_its_fields_names_them(keyed: Keyed) -> None:
    response = await keyed.ask("both", "POST", CHAT, json={"messages": [USER]})
    assert_error(response, 400, "missing_required_parameter", "model")
    assert_error(await keyed.ask("both", "POST", CHAT, json=[]), 400, "invalid_type")


@pytest.mark.parametrize("name", ["X-Conversation-Id", "X-OpenWebUI-Chat-Id", "X-OpenWebUI-User-Id", "Idempotency-Key"])
async def test_a_header_that_cannot_be_is_refused_by_name(keyed: Keyed, name: str) -> None:
    for sent in ([(name, "x" * 300)], [(name, "a"), (name, "b")]):
        headers = [*bearer("both").items(), *sent]
        assert_error(await keyed.client.post(CHAT, json=body(), headers=headers), 400, "invalid_value", name)


def test_what_openai_and_openrouter_know_is_passed_on_as_it_was_sent() -> None:
    said = ChatBody.model_validate(body(**PASSED_ON)).said
    assert dict(said.parameters) == PASSED_ON


def test_what_changes_nothing_is_ignored() -> None:
    said = ChatBody.model_validate(body(**IGNORED)).said
    assert dict(said.parameters) == {}
    nulls = dict.fromkeys([*PASSED_ON, *IGNORED, "temperature", "max_tokens", "stream", "stream_options"])
    assert dict(ChatBody.model_validate(body(**nulls)).said.parameters) == {}


def test_both_names_of_the_length_are_known_and_the_newer_one_counts() -> None:
    assert ChatBody.model_validate(body(max_tokens=5)).length == 5
    assert ChatBody.model_validate(body(max_completion_tokens=6)).length == 6
    assert ChatBody.model_validate(body(max_tokens=5, max_completion_tokens=6)).length == 6


def test_instructions_are_told_apart_wherever_they_stand_and_the_rest_stays_in_order() -> None:
    parts = [{"type": "text", "text": "Look", "cache_control": None}, {"type": "image_url", "image_url": {"url": "x"}}]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": parts, "name": "ada", "id": "m1"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "assistant", "content": None},
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "And now?"},
    ]
    said = ChatBody.model_validate({"model": "cherry", "messages": messages}).said
    assert said.instructions == [messages[0], messages[5]]
    assert said.messages == [
        {"role": "user", "content": parts, "name": "ada"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        messages[3],
        {"role": "assistant", "content": ""},
        messages[6],
    ]
    assert (len(said.earlier), len(said.new)) == (4, 1)
