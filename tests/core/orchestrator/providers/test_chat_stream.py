"""How an answer is framed, cut and worded on the wire; each test sends exact bytes through a real socket."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.orchestrator.contracts import Usage
from core.orchestrator.errors import ErrorType, LLMProviderError, NextStep
from core.orchestrator.providers.base import ChatCompletion
from core.orchestrator.providers.openrouter import OpenRouterProvider
from tests.core.orchestrator.providers.conftest import (
    DONE,
    Step,
    Upstream,
    collect,
    delta,
    event,
    failure_of,
    head,
    json_answer,
    read_bytes,
)

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.5}
STOP = event(delta("", "stop"))
EVERY_LINE_END = "a\u0085b\u2028c\u2029d\ve\ff\x1cg"


# --- unusual, and right -------------------------------------------------------------------------------------------


async def test_a_plain_stream_is_read_in_pieces(upstream: Upstream, provider: OpenRouterProvider) -> None:
    upstream.answers(head(), event(delta("Hel")), 0.01, event(delta("lo")), STOP, event(delta(usage=USAGE)), DONE)
    pieces, completion = await collect(provider)
    assert pieces == ["Hel", "lo"]
    assert completion == ChatCompletion(
        content="Hello",
        model="maker/model-2",
        upstream_provider="Maker",
        finish_reason="stop",
        usage=Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5, cost_usd=0.5),
        generation_id="gen-1",
    )


TEXT = "Grüße, 😀 " + EVERY_LINE_END
RAW = json.dumps(delta(TEXT), ensure_ascii=False).encode()
PRETTY = json.dumps(delta(TEXT), ensure_ascii=False, indent=1).replace("\n", "\ndata: ").encode()

FRAMINGS = {
    "CRLF": b"data: " + RAW + b"\r\n\r\n" + STOP,
    "CR": b"data: " + RAW + b"\r\r" + STOP,
    "no space after the colon": b"data:" + RAW + b"\n\n" + STOP,
    "several data lines": b"data: " + PRETTY + b"\n\n" + STOP,
    "comments": b": OPENROUTER PROCESSING\n\n:\n\n" + event(RAW) + b": more\n" + STOP,
    "other fields": b"event: message\nid: 7\nretry: 10\nunknown\n" + event(RAW) + STOP,
    "an event without data": b"event: ping\n\ndata\n\nid: 1\n\n" + event(RAW) + STOP,
    "a byte order mark": b"\xef\xbb\xbf" + event(RAW) + STOP,
    "blank lines first": b"\n\r\n\n" + event(RAW) + STOP,
    "no blank line at the end": event(RAW) + STOP.rstrip(),
    "[DONE] without a line end": event(RAW) + STOP + b"data: [DONE]",
    "[DONE] alone, without finish_reason": event(RAW) + DONE,
    "chunks without choices": event({"debug": {"x": 1}}) + event({"choices": []}) + event(RAW) + STOP,
    "unknown fields": event(delta(TEXT, new={"a": [1]})) + STOP,
    "null fields": event({**delta(TEXT), "usage": None, "error": None, "model": None}) + STOP,
    "content parts": event({"choices": [{"delta": {"content": [{"type": "text", "text": TEXT}]}}]}) + STOP,
}


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS.keys())
async def test_any_conforming_framing_gives_the_same_text(
    upstream: Upstream, provider: OpenRouterProvider, framing: bytes
) -> None:
    upstream.answers(head(), framing)
    _, completion = await collect(provider)
    assert completion.content == TEXT


@pytest.mark.parametrize("name", ["CRLF", "several data lines", "a byte order mark", "comments"])
async def test_the_cut_between_two_reads_may_fall_anywhere(name: str) -> None:
    stream = FRAMINGS[name]
    for cut in range(len(stream) + 1):
        assert await text_of([stream[:cut], stream[cut:]]) == TEXT


async def test_every_byte_may_come_alone() -> None:
    assert await text_of([bytes([byte]) for byte in FRAMINGS["CRLF"]]) == TEXT


@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), width=st.integers(1, 50))
@settings(deadline=None)
def test_any_text_arrives_as_it_was_sent(text: str, width: int) -> None:
    stream = b"".join(b"data: " + json.dumps(delta(c), ensure_ascii=False).encode() + b"\r\n\r\n" for c in text)
    stream += event(delta("!", "stop"))
    chunks = [stream[start : start + width] for start in range(0, len(stream), width)]
    assert asyncio.run(text_of(chunks)) == text + "!"


async def test_a_character_cut_in_two_escapes_is_joined(upstream: Upstream, provider: OpenRouterProvider) -> None:
    upstream.answers(head(), event(delta("a\ud83d")), event(delta("\ude00b\ud83d")), event(delta("\0c", "stop")))
    pieces, completion = await collect(provider)
    assert pieces == ["a", "😀b", "\ufffdc"]
    assert completion.content.encode()


SHAPES_OF_USAGE: list[dict[str, Any]] = [
    {"choices": []},
    {"choices": [{"delta": {"content": ""}, "finish_reason": None}]},
    {"choices": [{"delta": {"content": ""}, "finish_reason": "stop"}]},
]


@pytest.mark.parametrize("shape", SHAPES_OF_USAGE)
async def test_usage_comes_in_three_shapes_and_counts_once(
    upstream: Upstream, provider: OpenRouterProvider, shape: dict[str, Any]
) -> None:
    usage = event({**shape, "usage": USAGE})
    upstream.answers(head(), event(delta("Hi", usage=USAGE)), STOP, usage, usage, DONE)
    _, completion = await collect(provider)
    assert completion.usage == Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5, cost_usd=0.5)
    assert completion.finish_reason == "stop"


async def test_missing_usage_is_unknown(upstream: Upstream, provider: OpenRouterProvider) -> None:
    upstream.answers(head(), event(delta("Hi", "stop")), DONE)
    _, completion = await collect(provider)
    assert completion.usage is None


@pytest.mark.parametrize("ending", [Step.RESET, Step.HANG])
async def test_an_answer_is_whole_once_it_has_a_finish_reason(
    upstream: Upstream, hasty_provider: OpenRouterProvider, ending: Step
) -> None:
    upstream.answers(head(), event(delta("Hi")), STOP, 0.01, ending)
    _, completion = await collect(hasty_provider)
    assert completion.content == "Hi"


async def test_a_refusal_is_an_answer(upstream: Upstream, provider: OpenRouterProvider) -> None:
    chunks = [event({"choices": [{"delta": {"content": None, "refusal": part}}]}) for part in ("I ", "won't")]
    upstream.answers(head(), *chunks, STOP, DONE)
    pieces, completion = await collect(provider)
    assert pieces == ["I won't"]
    assert completion.finish_reason == "content_filter"


WHOLE = {
    "id": "gen-2",
    "model": "maker/model-2",
    "choices": [{"message": {"role": "assistant", "content": "Whole"}, "finish_reason": "stop"}],
    "usage": USAGE,
}


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "text/plain"])
async def test_a_whole_completion_instead_of_a_stream_is_an_answer(
    upstream: Upstream, provider: OpenRouterProvider, content_type: str
) -> None:
    upstream.answers(head(content_type=content_type), b"  \n ", json.dumps(WHOLE, indent=1).encode())
    pieces, completion = await collect(provider)
    assert pieces == ["Whole"]
    assert completion.generation_id == "gen-2"
    assert completion.usage is not None


# --- no answer ------------------------------------------------------------------------------------------------------

ERROR = {"code": 503, "message": "overloaded", "metadata": {"error_type": "provider_overloaded"}}
ERROR_CHUNK = {"id": "gen-1", "error": ERROR, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]}

NO_ANSWERS: dict[str, tuple[bytes, ErrorType, int, NextStep]] = {
    "error as the only event": (event(ERROR_CHUNK), ErrorType.UNAVAILABLE, 3, NextStep.NEXT_MODEL),
    "error, then [DONE]": (event(ERROR_CHUNK) + DONE, ErrorType.UNAVAILABLE, 3, NextStep.NEXT_MODEL),
    "error in the middle": (event(delta("Hi")) + event(ERROR_CHUNK), ErrorType.UNAVAILABLE, 3, NextStep.NEXT_MODEL),
    "error after stop": (
        event(delta("Hi", "stop")) + event(ERROR_CHUNK),
        ErrorType.UNAVAILABLE,
        3,
        NextStep.NEXT_MODEL,
    ),
    "error of a choice": (
        event({"choices": [{"error": {"code": "server_error"}, "finish_reason": "error"}]}),
        ErrorType.UPSTREAM,
        3,
        NextStep.NEXT_MODEL,
    ),
    "error without an envelope": (
        event({"object": "error", "message": "it broke", "code": 500}),
        ErrorType.UPSTREAM,
        3,
        NextStep.NEXT_MODEL,
    ),
    "error as a text": (event({"error": "it broke"}), ErrorType.UPSTREAM, 3, NextStep.NEXT_MODEL),
    "error as an event's name": (
        b'event: error\ndata: {"code": 429, "message": "slow down"}\n\n',
        ErrorType.RATE_LIMIT,
        2,
        NextStep.NEXT_MODEL,
    ),
    "finish_reason error alone": (event(delta("Hi", "error")), ErrorType.UPSTREAM, 3, NextStep.NEXT_MODEL),
    "no choices at all": (event({"choices": []}) + DONE, ErrorType.EMPTY, 2, NextStep.NEXT_MODEL),
    "nothing but [DONE]": (DONE, ErrorType.EMPTY, 2, NextStep.NEXT_MODEL),
    "empty and stop": (STOP + DONE, ErrorType.EMPTY, 2, NextStep.NEXT_MODEL),
    "blanks and stop": (event(delta(" \n")) + STOP + DONE, ErrorType.EMPTY, 2, NextStep.NEXT_MODEL),
    "nothing": (b"", ErrorType.TRUNCATED, 2, NextStep.NEXT_MODEL),
    "comments only": (b": OPENROUTER PROCESSING\n\n", ErrorType.TRUNCATED, 2, NextStep.NEXT_MODEL),
    "text without an end": (event(delta("Hi")), ErrorType.TRUNCATED, 2, NextStep.NEXT_MODEL),
    "a refusal without an end": (
        event({"choices": [{"delta": {"refusal": "I wo"}}]}),
        ErrorType.TRUNCATED,
        2,
        NextStep.NEXT_MODEL,
    ),
    "half an event": (event(delta("Hi")) + STOP[:-20], ErrorType.TRUNCATED, 2, NextStep.NEXT_MODEL),
    "an illegible event": (event(b"{nonsense") + STOP, ErrorType.MALFORMED, 2, NextStep.NEXT_MODEL),
    "an event that is no object": (event(b"[1]") + STOP, ErrorType.MALFORMED, 2, NextStep.NEXT_MODEL),
    "nothing but reasoning": (
        event({"choices": [{"delta": {"reasoning": "hm"}, "finish_reason": "length"}]}) + DONE,
        ErrorType.OUTPUT_LIMIT,
        1,
        NextStep.FAIL,
    ),
    "withheld": (event(delta("", "content_filter")), ErrorType.CONTENT_POLICY, 1, NextStep.NEXT_MODEL),
    "markup": (b"<!doctype html><title>Hi</title>", ErrorType.MALFORMED, 2, NextStep.NEXT_MODEL),
    "JSON error": (json.dumps({"id": "gen-1", "error": ERROR}).encode(), ErrorType.UNAVAILABLE, 3, NextStep.NEXT_MODEL),
    "JSON with choices null": (b'{"choices": null}', ErrorType.EMPTY, 2, NextStep.NEXT_MODEL),
    "JSON without choices": (b'{"detail": "not here"}', ErrorType.MALFORMED, 2, NextStep.NEXT_MODEL),
    "JSON cut off": (b'{"choices": [{"mess', ErrorType.MALFORMED, 2, NextStep.NEXT_MODEL),
    "a JSON array": (b"[1, 2]", ErrorType.MALFORMED, 2, NextStep.NEXT_MODEL),
}


@pytest.mark.parametrize("name", NO_ANSWERS)
async def test_a_200_without_an_answer_is_an_error(upstream: Upstream, provider: OpenRouterProvider, name: str) -> None:
    body, *expected = NO_ANSWERS[name]
    upstream.answers(head(X_Generation_Id="gen-9"), body)
    error = await failure_of(provider)
    assert [error.error_type, error.posture.tries, error.posture.then] == expected
    assert (error.http_status, error.generation_id) == (200, "gen-9")


async def test_partial_content_with_an_error_is_an_error(upstream: Upstream, provider: OpenRouterProvider) -> None:
    choice = {"message": {"content": "Par"}, "error": {"code": "502", "message": "gone"}, "finish_reason": "error"}
    upstream.answers(json_answer({"choices": [choice]}))
    error = await failure_of(provider)
    assert (error.error_type, error.error_code) == (ErrorType.UNAVAILABLE, "502")


@pytest.mark.parametrize(
    "generated",
    [{"content": "Hi"}, {"reasoning": "hm"}, {"reasoning_content": "hm"}, {"refusal": "no"}, {"tool_calls": [{}]}],
)
async def test_whatever_was_generated_before_a_refusal_may_be_billed(
    upstream: Upstream, provider: OpenRouterProvider, generated: dict[str, object]
) -> None:
    refusal = {"error": {"code": 429, "message": "slow down"}}
    upstream.answers(head(), event({"choices": [{"delta": generated}]}), event(refusal))
    assert (await failure_of(provider)).may_be_billed
    upstream.answers(json_answer({"choices": [{"message": generated, **refusal}]}))
    assert (await failure_of(provider)).may_be_billed
    upstream.answers(json_answer(refusal))
    assert not (await failure_of(provider)).may_be_billed


async def test_an_empty_answer_that_costs_nothing_is_known_to_be_free(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    upstream.answers(head(), event(delta("", "stop", usage={"prompt_tokens": 3, "cost": 0})), DONE)
    assert not (await failure_of(provider)).may_be_billed
    upstream.answers(head(), STOP, DONE)
    assert (await failure_of(provider)).may_be_billed


@given(
    st.lists(st.binary(max_size=60) | st.sampled_from([*FRAMINGS.values(), b"data: {}\n\n", DONE, b"{"]), max_size=6)
)
@settings(deadline=None)
def test_any_bytes_are_an_answer_or_a_typed_error(chunks: list[bytes]) -> None:
    with suppress(LLMProviderError):
        asyncio.run(text_of(chunks))


async def text_of(chunks: list[bytes]) -> str:
    *told, completion = await read_bytes(chunks)
    assert isinstance(completion, ChatCompletion)
    assert "".join(piece for piece in told if isinstance(piece, str)) == completion.content
    return completion.content
