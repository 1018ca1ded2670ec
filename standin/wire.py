"""OpenRouter's formats, as pure functions: chunks, bodies, errors, and the bytes that frame an event."""

import json
import time
from enum import Enum, auto
from typing import Any
from uuid import uuid4

from standin.catalogue import provider_of
from standin.ledger import Call, Outcome

Json = dict[str, Any]

COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = "[DONE]"

_CONTINUATION_BYTES = range(0x80, 0xC0)
"""Second and later bytes of a character, in UTF-8."""


class UsageShape(Enum):
    """What the choices of a usage chunk look like; all three have been seen."""

    NO_CHOICES = auto()
    OPEN_CHOICE = auto()
    """One choice without content whose finish_reason is null."""
    REPEATED_FINISH = auto()
    """One choice without content that repeats the finish_reason."""


def dumps(value: Json) -> str:
    """Text beyond ASCII stays as it is, so that clients meet UTF-8 on the wire."""
    return json.dumps(value, ensure_ascii=False)


def error_body(code: int | str, message: str, **metadata: Any) -> Json:
    """An error, as a whole HTTP body."""
    error: Json = {"code": code, "message": message}
    return {"error": error | {"metadata": metadata} if metadata else error}


def usage(call: Call) -> Json:
    """What a call used. With the account's own provider key the upstream's price is not in `cost`."""
    upstream = float(call.cost)
    return {
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "total_tokens": call.prompt_tokens + call.completion_tokens,
        "cost": 0.0 if call.own_key else upstream,
        "is_byok": call.own_key,
        "cost_details": {"upstream_inference_cost": upstream},
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": call.reasoning_tokens},
    }


def chunk(call: Call, delta: Json, finish_reason: str | None = None) -> Json:
    """One event of a stream."""
    choice = {"index": 0, "delta": {"role": "assistant", "content": "", **delta}, **_finish(call, finish_reason)}
    return {**_envelope(call, "chat.completion.chunk"), "choices": [choice]}


def tool_call(name: str) -> Json:
    """The beginning of a tool call, before its arguments."""
    return {"id": f"call_{uuid4().hex[:24]}", "type": "function", "function": {"name": name, "arguments": ""}}


def choiceless_chunk(call: Call, choices: list[Json] | None) -> Json:
    """An event whose choices are none at all."""
    return {**_envelope(call, "chat.completion.chunk"), "choices": choices}


def usage_chunk(call: Call, used: Json, shape: UsageShape) -> Json:
    """The last event before `[DONE]`."""
    if shape is UsageShape.NO_CHOICES:
        return {**choiceless_chunk(call, []), "usage": used}
    repeated = call.finish_reason if shape is UsageShape.REPEATED_FINISH else None
    return {**chunk(call, {}, repeated), "usage": used}


def completion(call: Call, message: Json) -> Json:
    """The body of an answer that is not streamed, without its usage."""
    whole = {"role": "assistant", "content": "", "refusal": None, "reasoning": None, **message}
    choice = {"index": 0, "message": whole, **_finish(call, call.finish_reason)}
    return {**_envelope(call, "chat.completion"), "choices": [choice]}


def generation(call: Call) -> Json:
    """What `GET /generation` knows about a settled call, however it ended."""
    told = usage(call)
    return {
        "data": {
            "id": call.generation_id,
            "model": call.model,
            "provider_name": provider_of(call.model),
            "streamed": call.stream,
            "cancelled": call.outcome is Outcome.ABORTED,
            "finish_reason": call.finish_reason,
            "native_finish_reason": call.finish_reason,
            "created_at": call.started_at.isoformat(),
            "total_cost": told["cost"],
            "usage": told["cost"],
            "is_byok": call.own_key,
            "upstream_inference_cost": told["cost_details"]["upstream_inference_cost"],
            "tokens_prompt": call.prompt_tokens,
            "tokens_completion": call.completion_tokens,
            "native_tokens_prompt": call.prompt_tokens,
            "native_tokens_completion": call.completion_tokens,
            "native_tokens_reasoning": call.reasoning_tokens,
            "native_tokens_cached": 0,
        }
    }


def event(data: str) -> list[bytes]:
    """Frame one event the usual way, in one write."""
    return [f"data: {data}\n\n".encode()]


def odd_event(data: str) -> list[bytes]:
    """Frame one event in the strangest way the specification allows, in three writes.

    CRLF, no space after the colon, data over several lines, fields nobody knows; the writes are split inside a
    character where there is one beyond ASCII, and between the last CR and its LF.
    """
    lines = json.dumps(json.loads(data), ensure_ascii=False, indent=0).split("\n")
    fields = ["id: 1", "retry: 3000", "mood: odd", "colonless", *(f"data:{line}" for line in lines), "", ""]
    frame = "\r\n".join(fields).encode()
    inside_a_character = (place for place, byte in enumerate(frame) if byte in _CONTINUATION_BYTES)
    cut = next(inside_a_character, len(frame) // 2)
    return [frame[:cut], frame[cut:-1], frame[-1:]]


def _envelope(call: Call, kind: str) -> Json:
    return {
        "id": call.labels.get("id", call.generation_id),
        "provider": call.labels.get("provider", provider_of(call.model)),
        "model": call.labels.get("model", call.model),
        "object": kind,
        "created": int(time.time()),
    }


def _finish(call: Call, reason: str | None) -> Json:
    told = call.labels.get("finish_reason", reason) if reason else None
    return {"finish_reason": told, "native_finish_reason": told, "logprobs": None}
