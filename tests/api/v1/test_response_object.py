"""Interactions as responses: whole, cut off, failed, cancelled."""

from datetime import UTC, datetime
from typing import Any

import pytest

from api.v1.response_object import interaction_of_item, interaction_of_response, response_of
from core.orchestrator.contracts import InteractionError, InteractionStatus, InteractionView, Usage
from core.orchestrator.errors import ErrorType, UnknownResourceError
from tests.api.v1.response_types import as_response

INTERACTION_ID = "019aaaaa-5c00-7abc-8def-0123456789ab"
BEGUN = datetime(2025, 11, 22, 8, 24, 42, tzinfo=UTC)
"""What the id says of it."""
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def _view(status: InteractionStatus = InteractionStatus.COMPLETED, **fields: Any) -> InteractionView:
    return InteractionView(
        interaction_id=INTERACTION_ID,
        workflow_id="w",
        persona_id="cherry",
        status=status,
        **{"message": "Hi", **fields},
    )


def test_a_response_says_what_came_and_when() -> None:
    usage = Usage(prompt_tokens=5, completion_tokens=2, cached_tokens=3, reasoning_tokens=1)
    found = as_response(response_of(_view(usage=usage, response_time_ms=2500), {}))
    assert (found.id, found.object, found.status) == (f"resp_{INTERACTION_ID}", "response", "completed")
    assert (found.model, found.output_text, found.error) == ("cherry", "Hi", None)
    assert datetime.fromtimestamp(found.created_at, UTC) == BEGUN
    assert found.completed_at == found.created_at + 2
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.total_tokens) == (5, 2, 7)
    assert found.usage.input_tokens_details.cached_tokens == 3
    assert found.usage.output_tokens_details.reasoning_tokens == 1


def test_tokens_nobody_counted_are_unknown_rather_than_none() -> None:
    assert response_of(_view(usage=Usage(prompt_tokens=5)), {})["usage"] is None


def test_what_the_client_said_is_found_again() -> None:
    echo = {
        "model": "cherry@openai/gpt-4",
        "instructions": "Be brief",
        "metadata": {"a": "b"},
        "temperature": 0.1,
        "max_output_tokens": 50,
        "tools": [{"type": "function", "name": "weather", "parameters": {}, "strict": False}],
        "tool_choice": {"type": "function", "name": "weather"},
        "parallel_tool_calls": False,
        "previous_response_id": "resp_x",
        "conversation": "c1",
        "text": {"verbosity": "low"},
        "reasoning": {"effort": "low"},
        "store": False,
        "background": True,
        "user": "ada",
        "something": "else",
    }
    body = response_of(_view(), echo)
    found = as_response(body)
    assert found.conversation is not None
    assert found.conversation.id == "c1"
    assert body["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    for name in echo.keys() - {"conversation", "text", "something"}:
        assert body[name] == echo[name], name
    assert "something" not in body


def test_calls_of_functions_are_items_behind_the_text() -> None:
    found = as_response(response_of(_view(tool_calls=[CALL]), {}))
    assert [item.type for item in found.output] == ["message", "function_call"]
    alone = as_response(response_of(_view(message="", tool_calls=[CALL]), {}))
    [item] = alone.output
    assert item.to_dict() == {
        "id": f"fc_{INTERACTION_ID}_0",
        "type": "function_call",
        "status": "completed",
        "call_id": "call_1",
        "name": "weather",
        "arguments": "{}",
    }


@pytest.mark.parametrize(
    ("finish_reason", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_a_reply_that_was_cut_off_says_why(finish_reason: str, reason: str) -> None:
    found = as_response(response_of(_view(finish_reason=finish_reason), {}))
    assert found.incomplete_details is not None
    assert (found.status, found.incomplete_details.reason, found.output_text) == ("incomplete", reason, "Hi")
    assert found.output[0].to_dict()["status"] == "incomplete"


@pytest.mark.parametrize("status", [InteractionStatus.INCOMPLETE, InteractionStatus.CANCELLED])
def test_what_was_said_before_it_broke_off_is_there(status: InteractionStatus) -> None:
    error = InteractionError(type=ErrorType.STALLED, detail="silence")
    found = as_response(response_of(_view(status, error=error), {}))
    assert (found.status, found.output_text, found.error, found.completed_at) == (status, "Hi", None, None)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ErrorType.RATE_LIMIT, "rate_limit_exceeded"),
        (ErrorType.INVALID_REQUEST, "invalid_prompt"),
        (ErrorType.TIMEOUT, "server_error"),
    ],
)
def test_a_failure_says_why(kind: ErrorType, code: str) -> None:
    error = InteractionError(type=kind, detail="no")
    found = as_response(response_of(_view(InteractionStatus.FAILED, message=None, error=error), {}))
    assert (found.status, found.output) == ("failed", [])
    assert found.error is not None
    assert (found.error.code, found.error.type, found.error.message) == (code, kind, "no")


@pytest.mark.parametrize("status", [InteractionStatus.QUEUED, InteractionStatus.IN_PROGRESS])
def test_before_its_end_a_response_is_empty(status: InteractionStatus) -> None:
    found = as_response(response_of(_view(status, message=None), {}))
    assert (found.status, found.output, found.usage, found.completed_at) == (status, [], None, None)


@pytest.mark.parametrize("prefix", ["resp_", "chatcmpl-", ""])
def test_a_response_is_known_by_every_name_of_its_interaction(prefix: str) -> None:
    assert interaction_of_response(prefix + INTERACTION_ID) == INTERACTION_ID


def test_items_are_known_by_the_names_they_were_given() -> None:
    items = response_of(_view(tool_calls=[CALL]), {})["output"]
    assert {interaction_of_item(item["id"]) for item in items} == {INTERACTION_ID}


@pytest.mark.parametrize(
    "name", ["", "x", "resp_", f"msg_{INTERACTION_ID}", f"resp_{INTERACTION_ID.upper()}", f"resp_{INTERACTION_ID} "]
)
def test_any_other_name_names_nothing(name: str) -> None:
    with pytest.raises(UnknownResourceError):
        interaction_of_response(name)
    with pytest.raises(UnknownResourceError):
        interaction_of_item(f"fc{name}")
