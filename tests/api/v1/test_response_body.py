"""What `POST /v1/responses` takes, and what it refuses."""

from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from api.v1.response_body import ResponseBody

WEATHER = {"type": "function", "name": "weather", "description": "Tells it", "parameters": {"type": "object"}}
TIME = {"type": "function", "name": "time", "strict": True, "defer_loading": False}
WEATHER_IN_CHAT = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells it", "parameters": {"type": "object"}},
}
TIME_IN_CHAT = {"type": "function", "function": {"name": "time", "strict": True}}


def _body(**fields: Any) -> ResponseBody:
    return ResponseBody.model_validate({"model": "cherry", "input": "Hello", **fields})


def _fault(**fields: Any) -> tuple[str, str]:
    """Return code and place of what is wrong, whoever finds it."""
    with pytest.raises((RequestValidationError, ValidationError)) as raised:
        _body(**fields).parameters()
    fault: dict[str, Any] = raised.value.errors()[0]
    return fault["type"], ".".join(str(part) for part in fault["loc"] if part != "body")


def test_what_nobody_knows_is_ignored() -> None:
    body = _body(moderation={"model": "x"}, stream_options={"include_obfuscation": False}, whatever=1)
    assert body.parameters() == {}
    assert body.echo == {"model": "cherry"}


def test_null_means_absent() -> None:
    names = ResponseBody.model_fields.keys() - {"model", "input"}
    body = _body(**dict.fromkeys(names))
    assert (body.parameters(), body.echo, body.conversation_id) == ({}, {"model": "cherry"}, None)


def test_what_has_another_name_in_a_chat_is_passed_on_by_that() -> None:
    schema = {"type": "json_schema", "name": "city", "schema": {"type": "object"}, "strict": True}
    body = _body(top_p=0.5, reasoning={"effort": "low", "summary": "auto"}, text={"format": schema, "verbosity": "low"})
    assert body.parameters() == {
        "top_p": 0.5,
        "reasoning_effort": "low",
        "verbosity": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "city", "schema": {"type": "object"}, "strict": True},
        },
    }
    assert not body.wants_text


@pytest.mark.parametrize("text", [None, {}, {"format": {"type": "text"}}, {"verbosity": "high"}])
def test_a_reply_of_any_form_will_do_unless_one_is_asked_for(text: Any) -> None:
    body = _body(text=text)
    assert body.wants_text
    assert "response_format" not in body.parameters()


CHOICES: dict[str, tuple[Any, list[Any], Any]] = {
    "none": (None, [WEATHER_IN_CHAT, TIME_IN_CHAT], None),
    "a word": ("required", [WEATHER_IN_CHAT, TIME_IN_CHAT], "required"),
    "a function": (
        {"type": "function", "name": "time"},
        [WEATHER_IN_CHAT, TIME_IN_CHAT],
        {"type": "function", "function": {"name": "time"}},
    ),
    "some": (
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "time"}]},
        [TIME_IN_CHAT],
        "required",
    ),
}


@pytest.mark.parametrize("name", CHOICES)
def test_functions_are_offered_as_a_chat_offers_them(name: str) -> None:
    choice, tools, chosen = CHOICES[name]
    body = _body(tools=[WEATHER, TIME], tool_choice=choice, parallel_tool_calls=False)
    expected = {"tools": tools, "parallel_tool_calls": False} | ({"tool_choice": chosen} if chosen else {})
    assert body.parameters() == expected
    assert body.echo["tools"] == [WEATHER, TIME]


def test_without_functions_there_is_nothing_to_choose() -> None:
    assert _body(tools=[], tool_choice="auto", parallel_tool_calls=True).parameters() == {}


@pytest.mark.parametrize("conversation", ["c1", {"id": "c1"}])
def test_a_conversation_may_be_written_in_two_ways(conversation: Any) -> None:
    body = _body(conversation=conversation)
    assert body.conversation_id == "c1"
    assert body.echo["conversation"] == "c1"


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a hosted tool": ({"tools": [WEATHER, {"type": "web_search"}]}, "unsupported_value", "tools.1.type"),
    "a server of tools": ({"tools": [{"type": "mcp", "server_label": "x"}]}, "unsupported_value", "tools.0.type"),
    "a function without a name": ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools.0.name"),
    "a choice of nothing": ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
    "a choice of what is not offered": (
        {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "time"}},
        "invalid_value",
        "tool_choice",
    ),
    "a choice of a hosted tool": (
        {"tools": [WEATHER], "tool_choice": {"type": "file_search"}},
        "unsupported_value",
        "tool_choice.type",
    ),
    "a template": ({"prompt": {"id": "pmpt_1"}}, "unsupported_parameter", "prompt"),
    "a voice": ({"audio": {"voice": "x"}}, "unsupported_parameter", "audio"),
    "how likely it was": ({"top_logprobs": 2}, "unsupported_parameter", "top_logprobs"),
    "the same, otherwise": ({"include": ["message.output_text.logprobs"]}, "unsupported_value", "include.0"),
    "a form nobody knows": ({"text": {"format": {"type": "grammar"}}}, "unsupported_value", "text.format.type"),
    "a schema without a name": (
        {"text": {"format": {"type": "json_schema", "schema": {}}}},
        "missing_required_parameter",
        "text.format.name",
    ),
    "a conversation and what it follows": (
        {"conversation": "c1", "previous_response_id": "resp_1"},
        "invalid_value",
        "previous_response_id",
    ),
    "metadata that is no text": ({"metadata": {"a": 1}}, "string_type", "metadata.a"),
    "too many metadata": ({"metadata": {str(n): "x" for n in range(17)}}, "too_long", "metadata"),
    "instructions that are a list": ({"instructions": []}, "string_type", "instructions"),
    "instructions that are an object": ({"instructions": {}}, "string_type", "instructions"),
    "a choice without a type": ({"tool_choice": {}}, "unsupported_value", "tool_choice.type"),
    "nothing said": ({"input": []}, "too_short", "input.<array>"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused(name: str) -> None:
    fields, code, place = REFUSED[name]
    assert _fault(**fields) == (code, place)
