"""Answers that a test spells out for the stand-in's model."""

import json

_HEAD = {"id": "gen-1", "object": "chat.completion.chunk", "created": 1, "model": "some/model"}


def says(text: str) -> dict[str, object]:
    """An answer of the model, word for word."""
    return _streamed({"role": "assistant", "content": text}, "stop")


def calls(name: str, arguments: dict[str, str]) -> dict[str, object]:
    """An answer that calls a tool."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    return _streamed({"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls")


def breaks_off() -> dict[str, object]:
    """One word and, once somebody has read it, a refusal to say more: the next model is asked at once."""
    error = {"code": 403, "message": "No more of this.", "metadata": {"error_type": "content_policy_violation"}}
    return {"hold": True, "after": 1, "error": error}


def _streamed(delta: dict[str, object], finish_reason: str) -> dict[str, object]:
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10, "cost": 0.0}
    chunks: list[dict[str, object]] = [
        {**_HEAD, "choices": [_choice(delta)]},
        {**_HEAD, "choices": [_choice({}, finish_reason)]},
        {**_HEAD, "choices": [], "usage": usage},
    ]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return {"status": 200, "headers": {"Content-Type": "text/event-stream"}, "body": f"{body}data: [DONE]\n\n"}


def _choice(delta: dict[str, object], finish_reason: str | None = None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}
