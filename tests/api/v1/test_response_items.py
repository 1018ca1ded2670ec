"""What a client says to the Responses API, as chat messages."""

from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError

from api.v1.response_items import referenced, spoken

CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"}
CALLED = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}


def _messages(*items: dict[str, Any]) -> list[dict[str, Any]]:
    return spoken(list(items), {}.__getitem__).messages


def _fault(*items: dict[str, Any]) -> tuple[str, tuple[str | int, ...]]:
    with pytest.raises(RequestValidationError) as raised:
        _messages(*items)
    [fault] = raised.value.errors()
    return fault["type"], fault["loc"]


def test_a_text_is_what_the_user_says() -> None:
    assert spoken("Hello", {}.__getitem__).messages == [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize("kind", [{}, {"type": "message"}])
@pytest.mark.parametrize("content", ["Hello", [{"type": "input_text", "text": "Hello"}]])
def test_a_message_may_be_written_in_several_ways(kind: dict[str, str], content: Any) -> None:
    assert _messages({**kind, "role": "user", "content": content}) == [{"role": "user", "content": "Hello"}]


def test_what_the_assistant_said_is_one_text() -> None:
    content = [{"type": "output_text", "text": "I "}, {"type": "refusal", "refusal": "cannot"}]
    assert _messages({"role": "assistant", "content": content}) == [{"role": "assistant", "content": "I cannot"}]


def test_instructions_are_no_part_of_the_conversation() -> None:
    items = [{"role": "developer", "content": "Be brief"}, {"role": "user", "content": "Hello"}]
    said = spoken(items, {}.__getitem__)
    assert said.instructions == [{"role": "developer", "content": "Be brief"}]
    assert said.messages == [{"role": "user", "content": "Hello"}]


def test_images_and_files_are_parts_of_a_message() -> None:
    content = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "https://x.example/a.png", "detail": "low", "file_id": None},
        {"type": "input_file", "file_data": "data:application/pdf;base64,QQ==", "filename": "a.pdf"},
        {"type": "input_file", "file_url": "https://x.example/b.pdf"},
    ]
    [message] = _messages({"role": "user", "content": content})
    assert message["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ==", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "https://x.example/b.pdf"}},
    ]


def test_calls_belong_to_the_message_before_them() -> None:
    said = {"role": "assistant", "content": "Let me look"}
    other = {**CALL, "call_id": "call_2"}
    assert _messages({"role": "user", "content": "?"}, said, CALL, other, OUTPUT) == [
        {"role": "user", "content": "?"},
        {**said, "tool_calls": [CALLED, {**CALLED, "id": "call_2"}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]


def test_a_call_without_words_is_a_message_of_its_own() -> None:
    assert _messages(CALL, OUTPUT)[0] == {"role": "assistant", "content": None, "tool_calls": [CALLED]}


def test_what_is_named_stands_where_its_name_does() -> None:
    items = [
        {"role": "user", "content": "Hello"},
        {"type": "item_reference", "id": "msg_1"},
        {"id": "rs_1"},
        CALL,
        OUTPUT,
    ]
    assert referenced(items) == ["msg_1", "rs_1"]
    known = {"msg_1": {"type": "message", "role": "assistant", "content": "Hi"}, "rs_1": None}
    assert spoken(items, known.__getitem__).messages[1:2] == [
        {"role": "assistant", "content": "Hi", "tool_calls": [CALLED]}
    ]


def test_what_a_model_thought_is_passed_over() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    assert _messages(thought, {"role": "user", "content": "Hello"}) == [{"role": "user", "content": "Hello"}]


UNREADABLE: dict[str, tuple[dict[str, Any], str, tuple[str | int, ...]]] = {
    "a hosted tool's call": ({"type": "web_search_call", "id": "ws_1"}, "unsupported_value", ("type",)),
    "a role nobody has": ({"role": "robot", "content": "x"}, "invalid_value", ("role",)),
    "no content": ({"role": "user"}, "missing_required_parameter", ("content",)),
    "content that is none": ({"role": "user", "content": 1}, "invalid_type", ("content",)),
    "a part that is none": ({"role": "user", "content": ["x"]}, "invalid_type", ("content", 0)),
    "a sound": ({"role": "user", "content": [{"type": "input_audio"}]}, "unsupported_value", ("content", 0, "type")),
    "a file of OpenAI's": (
        {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]},
        "unsupported_parameter",
        ("content", 0, "file_id"),
    ),
    "an image nowhere": (
        {"role": "user", "content": [{"type": "input_image"}]},
        "missing_required_parameter",
        ("content", 0, "image_url"),
    ),
    "a result of nothing": (
        {"type": "function_call_output", "output": "x"},
        "missing_required_parameter",
        ("call_id",),
    ),
    "a call of nothing": ({**CALL, "name": None}, "missing_required_parameter", ("name",)),
    "a call by an empty name": ({**CALL, "name": ""}, "invalid_value", ("name",)),
    "a call by a long name": ({**CALL, "name": "x" * 129}, "invalid_value", ("name",)),
    "a call with a long id": ({**CALL, "call_id": "x" * 2000}, "invalid_value", ("call_id",)),
    "a result with an empty id": ({**OUTPUT, "call_id": ""}, "invalid_value", ("call_id",)),
    "arguments that are no text": ({**CALL, "arguments": {}}, "invalid_type", ("arguments",)),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_passed_on_is_refused_where_it_stands(name: str) -> None:
    item, code, place = UNREADABLE[name]
    assert _fault({"role": "user", "content": "Hello"}, item) == (code, ("body", "input", 1, *place))
