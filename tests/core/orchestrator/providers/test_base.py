"""What a provider may return, and what becomes of it."""

from typing import Any

import pytest

from core.orchestrator.errors import ErrorType, LLMProviderServiceError
from core.orchestrator.providers.base import ChatCompletion, LLMProvider


@pytest.mark.parametrize("returned", ["Hello", {"content": "Hello"}, ChatCompletion(content="Hello")])
def test_a_text_a_mapping_and_a_completion_are_answers(returned: object) -> None:
    assert ChatCompletion.of(returned).content == "Hello"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("returned", "error_type"),
    [(None, ErrorType.EMPTY), ({}, ErrorType.MALFORMED), ({"content": 5}, ErrorType.MALFORMED), (5, "malformed")],
)
def test_anything_else_is_a_typed_error(returned: object, error_type: ErrorType) -> None:
    with pytest.raises(LLMProviderServiceError) as caught:
        ChatCompletion.of(returned)  # type: ignore[arg-type]
    assert caught.value.error_type == error_type


def test_what_no_database_stores_is_removed() -> None:
    completion = ChatCompletion.of({"content": "a\0b\ud83d\ude00\ud800c", "model": "m\nodel" * 100})
    assert completion.content == "ab\U0001f600\N{REPLACEMENT CHARACTER}c"
    assert completion.model is not None
    assert len(completion.model) <= 200
    assert "\n" not in completion.model


CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def test_an_answer_in_openais_form_may_call_tools_alone() -> None:
    completion = ChatCompletion.of({"content": None, "tool_calls": [{**CALL, "index": 0}]})
    assert (completion.content, completion.tool_calls) == ("", [CALL])


@pytest.mark.parametrize("calls", [None, []])
def test_an_answer_without_calls_says_so_in_one_way(calls: object) -> None:
    assert ChatCompletion.of({"content": "Hi", "tool_calls": calls}).tool_calls is None


@pytest.mark.parametrize(
    "calls",
    [7, "weather", {"a": 1}, [None], [{}], [{**CALL, "function": {"name": "a", "arguments": {}}}], [CALL] * 129],
)
def test_calls_that_are_none_are_a_typed_error(calls: object) -> None:
    with pytest.raises(LLMProviderServiceError) as caught:
        ChatCompletion.of({"content": "Hi", "tool_calls": calls})
    assert caught.value.error_type is ErrorType.MALFORMED


class Simple(LLMProvider):
    """Answers in one piece with what it was asked beyond the messages."""

    provider_name = "simple"

    async def generate_chat_completion(self, _messages: Any, *_: Any, **more: Any) -> str:
        return f"asked with {more}"


async def test_a_provider_that_cannot_stream_is_given_the_parameters_and_nothing_where_there_are_none() -> None:
    plain = [piece async for piece in Simple().stream_chat_completion([])]
    assert plain[0] == "asked with {}"
    with_some = [piece async for piece in Simple().stream_chat_completion([], parameters={"seed": 1})]
    assert with_some[0] == "asked with {'parameters': {'seed': 1}}"
