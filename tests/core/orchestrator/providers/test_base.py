"""What a provider may return, and what becomes of it."""

import pytest

from core.orchestrator.errors import ErrorType, LLMProviderServiceError
from core.orchestrator.providers.base import ChatCompletion


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
