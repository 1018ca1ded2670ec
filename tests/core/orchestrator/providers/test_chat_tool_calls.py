"""How models call the client's tools on the wire, and what becomes of calls that are none."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.orchestrator.errors import ErrorType, LLMProviderError, NextStep
from core.orchestrator.providers.base import ChatCompletion
from core.orchestrator.providers.openrouter import OpenRouterProvider
from core.orchestrator.providers.tool_calls import MOST_BYTES, MOST_CALLS
from tests.core.orchestrator.providers.conftest import (
    DONE,
    KEY,
    Step,
    Upstream,
    collect,
    delta,
    event,
    failure_of,
    head,
    json_answer,
    leaks,
    read_bytes,
)

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("weather", "clock")]
END = event(delta("", "tool_calls"))


def piece(index: Any = 0, call_id: Any = None, name: Any = None, arguments: Any = None, **more: Any) -> dict[str, Any]:
    """A piece of a tool call, without the fields that it does not have."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    told = {"index": index, "id": call_id, "function": function} | more
    return {key: value for key, value in told.items() if value is not None}


def calling(*pieces: Any, **fields: Any) -> bytes:
    """An event with pieces of tool calls."""
    return event({"id": "gen-1", "choices": [{"delta": {"tool_calls": list(pieces), **fields}}]})


def whole(*calls: tuple[str, str, str]) -> list[dict[str, Any]]:
    return [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in calls
    ]


WEATHER = ("call_1", "weather", '{"city": "Rom"}')
CLOCK = ("call_2", "clock", "{}")

STREAMS: dict[str, list[bytes]] = {
    "as OpenAI does": [
        calling(piece(0, "call_1", "weather", "", type="function")),
        calling(piece(0, arguments='{"city"')),
        calling(piece(0, arguments=': "Rom"}')),
        calling(piece(1, "call_2", "clock", "", type="function")),
        calling(piece(1, arguments="{}")),
    ],
    "each in one piece": [calling(piece(0, *WEATHER)), calling(piece(1, *CLOCK))],
    "all at once": [calling(piece(0, *WEATHER), piece(1, *CLOCK))],
    "in turns": [
        calling(piece(0, "call_1", "weather", '{"city": '), piece(1, "call_2", "clock", "{")),
        calling(piece(1, arguments="}"), piece(0, arguments='"Rom"}')),
    ],
    "indexes from one": [calling(piece(1, *WEATHER)), calling(piece(2, *CLOCK))],
    "without indexes": [
        calling(piece(None, "call_1", "weather", "")),
        calling(piece(None, arguments='{"city": "Rom"}')),
        calling(piece(None, *CLOCK)),
    ],
    "without indexes, the id with each piece": [
        calling(piece(None, "call_1", "weather", '{"city": ')),
        calling(piece(None, "call_1", None, '"Rom"}')),
        calling(piece(None, *CLOCK)),
    ],
    "id and name with each piece": [
        calling(piece(0, "call_1", "weather", '{"city": ')),
        calling(piece(0, "call_1", "weather", '"Rom"}')),
        calling(piece(1, *CLOCK)),
    ],
    "the name in pieces": [
        calling(piece(0, "call_1", "wea"), piece(0, None, "ther", '{"city": "Rom"}')),
        calling(piece(1, *CLOCK)),
    ],
    "no arguments at all": [calling(piece(0, *WEATHER)), calling(piece(1, "call_2", "clock"))],
    "empty fields between": [
        calling(piece(0, *WEATHER)),
        calling(),
        event({"choices": [{"delta": {"content": None, "tool_calls": None}}]}),
        calling(piece(1, "call_2", "clock", "{}"), {"index": 1, "id": None, "function": {"name": None}}),
    ],
}


@pytest.mark.parametrize("pieces", STREAMS.values(), ids=STREAMS.keys())
async def test_calls_in_pieces_are_put_together(
    upstream: Upstream, provider: OpenRouterProvider, pieces: list[bytes]
) -> None:
    upstream.answers(head(), *pieces, END, DONE)
    said, completion = await collect(provider, tools=TOOLS)
    assert said == []
    assert (completion.content, completion.finish_reason) == ("", "tool_calls")
    assert completion.tool_calls == whole(WEATHER, CLOCK)


async def test_a_whole_answer_may_call_tools(upstream: Upstream, provider: OpenRouterProvider) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": whole(WEATHER, CLOCK)}
    upstream.answers(json_answer({"choices": [{"message": message, "finish_reason": "tool_calls"}]}))
    _, completion = await collect(provider, tools=TOOLS)
    assert completion.tool_calls == whole(WEATHER, CLOCK)


async def test_text_and_calls_are_one_answer(upstream: Upstream, provider: OpenRouterProvider) -> None:
    upstream.answers(head(), event(delta("Let me look.")), calling(piece(0, *WEATHER)), END, DONE)
    said, completion = await collect(provider, tools=TOOLS)
    assert said == [completion.content] == ["Let me look."]
    assert completion.tool_calls == whole(WEATHER)


@pytest.mark.parametrize("ids", [(None, None), ("", ""), ("same", "same"), (7, 7), (KEY, f"call_{KEY[:10]}")])
async def test_every_call_has_an_id_of_its_own(
    upstream: Upstream, provider: OpenRouterProvider, ids: tuple[Any, Any]
) -> None:
    calls = [piece(index, call_id, "clock", "{}") for index, call_id in enumerate(ids)]
    upstream.answers(head(), calling(*calls), END, DONE)
    _, completion = await collect(provider, tools=TOOLS)
    told = [call["id"] for call in completion.tool_calls or ()]
    assert len(set(told)) == 2
    assert all(isinstance(one, str) and one and not leaks(one) for one in told)


async def test_what_no_encoder_takes_and_the_key_are_taken_out_of_calls(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    pieces = [f'{{"a\0\ud83d{KEY[:9]}', f"\ude00{KEY[:9]}", f'{KEY[9:]}\ud800"}}']
    upstream.answers(
        head(),
        calling(piece(0, "call\0_\ud8001", KEY, "")),
        *[calling(piece(0, arguments=part)) for part in pieces],
        END,
        DONE,
    )
    _, completion = await collect(provider, tools=TOOLS)
    expected = f'{{"a\ufffd{KEY[:9]}\ufffd[redacted]\ufffd"}}'
    assert completion.tool_calls == whole(("call_\ufffd1", "[redacted]", expected))


async def test_a_character_cut_in_two_escapes_is_joined_in_arguments(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    upstream.answers(
        head(), calling(piece(0, "c", "clock", "\ud83d")), calling(piece(0, arguments="\ude00")), END, DONE
    )
    _, completion = await collect(provider, tools=TOOLS)
    assert completion.tool_calls == whole(("c", "clock", "😀"))


# --- no answer ------------------------------------------------------------------------------------------------------

LONG = "a" * 100_000

NO_CALLS: dict[str, list[bytes]] = {
    "no name": [calling(piece(0, "call_1", arguments="{}"))],
    "a blank name": [calling(piece(0, "call_1", " ", "{}"))],
    "an empty object": [calling({})],
    "no object": [calling("weather")],
    "no list": [event(delta()), event({"choices": [{"delta": {"tool_calls": {"function": {"name": "weather"}}}}]})],
    "arguments that are an object": [calling(piece(0, "call_1", "weather", {"city": "Rom"}))],
    "a name that is a number": [calling(piece(0, "call_1", 7, "{}"))],
    "no function": [calling(piece(0, "call_1", "weather", "{}", type="custom"))],
    "beside text": [event(delta("Hi")), calling(piece(0, "call_1", arguments="{}"))],
    "too many": [calling(*[piece(index, f"call_{index}", "clock", "{}") for index in range(MOST_CALLS + 1)])],
    "too long": [calling(piece(0, *WEATHER)), *[calling(piece(0, arguments=LONG))] * (MOST_BYTES // len(LONG) + 1)],
    "too long in bytes": [calling(piece(0, *WEATHER)), *[calling(piece(0, arguments="é" * 100_000))] * 6],
}


@pytest.mark.parametrize("pieces", NO_CALLS.values(), ids=NO_CALLS.keys())
async def test_calls_that_are_none_are_malformed(
    upstream: Upstream, provider: OpenRouterProvider, pieces: list[bytes]
) -> None:
    upstream.answers(head(), *pieces, END, DONE)
    error = await failure_of(provider, tools=TOOLS)
    assert (error.error_type, error.posture.tries, error.posture.then) == (ErrorType.MALFORMED, 2, NextStep.NEXT_MODEL)
    assert (error.http_status, error.may_be_billed, error.generation_id) == (200, True, "gen-1")


async def test_calls_without_end_are_not_read_to_the_end(upstream: Upstream, provider: OpenRouterProvider) -> None:
    upstream.answers(head(), *[calling(piece(0, "c", "clock", LONG))] * (MOST_BYTES // len(LONG) + 1), Step.HANG)
    assert (await failure_of(provider, tools=TOOLS)).error_type is ErrorType.MALFORMED
    async with asyncio.timeout(1):
        await upstream.client_left.wait()


async def test_calls_that_break_off_are_cut_off_whatever_they_say(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    upstream.answers(head(), calling(piece(0, *WEATHER)), calling(piece(1, "call_2")))
    error = await failure_of(provider, tools=TOOLS)
    assert (error.error_type, error.may_be_billed) == (ErrorType.TRUNCATED, True)


@pytest.mark.parametrize("field", [{"tool_calls": [{}]}, {"tool_calls": whole(WEATHER)}, {"function_call": {"a": 1}}])
async def test_a_call_that_nobody_asked_for_is_no_answer(
    upstream: Upstream, provider: OpenRouterProvider, field: dict[str, Any]
) -> None:
    upstream.answers(head(), event({"choices": [{"delta": field, "finish_reason": "tool_calls"}]}), DONE)
    error = await failure_of(provider)
    assert (error.error_type, error.may_be_billed) == (ErrorType.EMPTY, True)
    assert "nobody offered" in str(error)


async def test_text_is_an_answer_whatever_nobody_asked_for(upstream: Upstream, provider: OpenRouterProvider) -> None:
    upstream.answers(head(), event(delta("Hi")), calling({"name": 7}), END, DONE)
    _, completion = await collect(provider)
    assert (completion.content, completion.tool_calls) == ("Hi", None)


# --- whatever comes ---------------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=8) | st.sampled_from(["", "\0", "\ud83d", "\ude00", KEY, KEY[:20], "{}"])
ODD = st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | TEXTS
PIECES = st.fixed_dictionaries(
    {},
    optional={
        "index": ODD,
        "id": ODD,
        "type": st.sampled_from(["function", "custom", None, []]),
        "function": ODD | st.fixed_dictionaries({}, optional={"name": ODD, "arguments": ODD}),
    },
)


@given(st.lists(st.lists(PIECES | ODD, max_size=3) | ODD | PIECES, max_size=6), st.booleans())
@settings(deadline=None)
def test_any_pieces_are_calls_that_can_be_sent_on_or_a_typed_error(deltas: list[Any], with_tools: bool) -> None:
    stream = [event({"choices": [{"delta": {"tool_calls": pieces}}]}) for pieces in deltas]
    with suppress(LLMProviderError):
        *_, completion = asyncio.run(read_bytes([*stream, END, DONE], with_tools=with_tools))
        assert isinstance(completion, ChatCompletion)
        assert with_tools
        for call in completion.tool_calls or ():
            assert call.keys() == {"id", "type", "function"}
            assert call["function"]["name"].strip()
            assert isinstance(call["function"]["arguments"], str)
        sent_on = json.dumps(completion.tool_calls, ensure_ascii=False).encode()
        assert b"\\u0000" not in sent_on
        assert KEY.encode() not in sent_on


@given(
    st.lists(st.tuples(st.text(min_size=1), st.text()), min_size=1, max_size=4), st.integers(1, 9), st.integers(1, 50)
)
@settings(deadline=None)
def test_any_call_arrives_as_it_was_made_however_it_is_cut(
    made: list[tuple[str, str]], width: int, length: int
) -> None:
    expected = [(name.replace("\0", ""), arguments.replace("\0", "") or "{}") for name, arguments in made]
    if not all(name.strip() for name, _ in expected):
        return
    stream = b""
    for index, (name, arguments) in enumerate(made):
        stream += calling(piece(index, f"call_{index}", name))
        for start in range(0, len(arguments), width):
            stream += calling(piece(index, arguments=arguments[start : start + width]))
    stream += END + DONE
    chunks = [stream[start : start + length] for start in range(0, len(stream), length)]
    *_, completion = asyncio.run(read_bytes(chunks, with_tools=True))
    assert isinstance(completion, ChatCompletion)
    told = [(call["function"]["name"], call["function"]["arguments"]) for call in completion.tool_calls or ()]
    assert told == expected
    assert [call["id"] for call in completion.tool_calls or ()] == [f"call_{index}" for index in range(len(made))]
