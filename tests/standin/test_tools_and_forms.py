"""Tools that the client offers, and the form that it wants an answer in."""

import json
from typing import Any

import httpx
import pytest

from standin import StandIn
from tests.standin.talk import HELLO, ask, ask_streaming, chunks, finish_reasons, text

CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "…", "parameters": CITY}},
    {"type": "function", "function": {"name": "clock"}},
]
SIMPLEST = {"city": "something", "days": 1}


def saying(words: str) -> list[dict[str, Any]]:
    return [HELLO[0], {"role": "user", "content": words}]


def calls(message: dict[str, Any]) -> list[tuple[str, Any]]:
    told = [call["function"] for call in message.get("tool_calls", ())]
    return [(function["name"], json.loads(function["arguments"])) for function in told]


async def called(client: httpx.AsyncClient, **more: Any) -> list[tuple[str, Any]]:
    choice = (await ask(client, tools=TOOLS, **more)).json()["choices"][0]
    assert choice["finish_reason"] == ("tool_calls" if choice["message"].get("tool_calls") else "stop")
    return calls(choice["message"])


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, []),
        ("auto", []),
        ("none", []),
        ("required", [("weather", SIMPLEST)]),
        ({"type": "function", "function": {"name": "clock"}}, [("clock", {})]),
        ({"type": "function", "function": {"name": "unknown"}}, []),
    ],
)
async def test_the_tool_is_called_that_the_parameters_choose(
    client: httpx.AsyncClient, choice: object, expected: list[tuple[str, Any]]
) -> None:
    more = {"tool_choice": choice} if choice else {}
    assert await called(client, **more) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Please call weather.", [("weather", SIMPLEST)]),
        ('Please call weather {"city": "Rom", "near": {"a": 1}} now', [("weather", {"city": "Rom", "near": {"a": 1}})]),
        ('call clock, then call weather {"city": "Rom"}', [("clock", {}), ("weather", {"city": "Rom"})]),
        ("call weather {nonsense", [("weather", SIMPLEST)]),
        ("call Ada", []),
        ("recall clock", []),
    ],
)
async def test_the_tool_is_called_that_the_last_message_names(
    client: httpx.AsyncClient, words: str, expected: list[tuple[str, Any]]
) -> None:
    assert await called(client, messages=saying(words)) == expected


async def test_no_tool_is_called_by_name_where_none_may_be(client: httpx.AsyncClient) -> None:
    assert await called(client, messages=saying("call clock"), tool_choice="none") == []
    assert "You said" in (await ask(client, messages=saying("call clock"))).json()["choices"][0]["message"]["content"]


async def test_a_stream_has_the_calls_in_pieces(client: httpx.AsyncClient) -> None:
    said = saying('call weather {"city": "Santiago de Compostela"} and call clock')
    response = await ask_streaming(client, messages=said, tools=TOOLS)
    deltas = [choice["delta"] for chunk in chunks(response) for choice in chunk["choices"]]
    pieces = [piece for delta in deltas for piece in delta.get("tool_calls", ())]

    assert [piece["function"]["name"] for piece in pieces if "id" in piece] == ["weather", "clock"]
    arguments = [piece["function"]["arguments"] for piece in pieces if piece["index"] == 0]
    assert "".join(arguments) == '{"city": "Santiago de Compostela"}'
    assert len(arguments) > 3
    assert (text(response), finish_reasons(response)) == ("", ["tool_calls"])
    assert chunks(response)[-1]["usage"]["completion_tokens"] == len(pieces)


async def test_what_a_tool_said_is_told_in_words(client: httpx.AsyncClient) -> None:
    first = (await ask(client, messages=saying("call clock"), tools=TOOLS)).json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "ten past four"}
    response = await ask(client, messages=[*saying("call clock"), first, result], tools=TOOLS, tool_choice="required")
    choice = response.json()["choices"][0]

    assert choice["message"]["content"].endswith('A tool said: "ten past four".')
    assert (choice["finish_reason"], calls(choice["message"])) == ("stop", [])


@pytest.mark.parametrize(("tools", "name"), [(TOOLS, "weather"), (None, "nobody_offered_this")])
async def test_a_model_may_call_a_tool_unasked(
    client: httpx.AsyncClient, standin: StandIn, tools: list[Any] | None, name: str
) -> None:
    standin.script("openai/gpt-4", "tool-calls", "tool-calls")
    offer = {"tools": tools} if tools else {}
    message = (await ask(client, **offer)).json()["choices"][0]["message"]
    assert [called for called, _ in calls(message)] == [name]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "fine"}
    answer = (await ask(client, messages=[*HELLO, message, result], **offer)).json()["choices"][0]["message"]
    assert answer["content"].endswith('A tool said: "fine".')


async def test_any_object_is_an_answer_where_any_is_asked_for(client: httpx.AsyncClient) -> None:
    response = await ask_streaming(client, response_format={"type": "json_object"})
    assert json.loads(text(response))["answer"].startswith("Cherry here")
    assert (await ask(client, response_format={"type": "text"})).json()["choices"][0]["message"]["content"][0] == "C"


NESTED = {
    "type": "object",
    "$defs": {
        "Step": {"type": "object", "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Step"}]}}}
    },
    "properties": {
        "title": {"type": "string"},
        "mood": {"enum": ["glad", "sad"]},
        "kind": {"const": "story"},
        "sure": {"type": "boolean"},
        "score": {"type": ["number", "null"], "minimum": 3},
        "steps": {"type": "array", "items": {"$ref": "#/$defs/Step"}},
    },
}


async def test_an_answer_fits_the_schema_that_it_is_asked_to_fit(client: httpx.AsyncClient) -> None:
    asked = {"type": "json_schema", "json_schema": {"name": "story", "strict": True, "schema": NESTED}}
    told = json.loads((await ask(client, response_format=asked)).json()["choices"][0]["message"]["content"])
    assert told.pop("title").startswith("Cherry here")
    assert told == {"mood": "glad", "kind": "story", "sure": True, "score": 3, "steps": [{"next": None}]}


async def test_a_schema_that_refers_to_itself_has_an_end(client: httpx.AsyncClient) -> None:
    loop = {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    asked = {"type": "json_schema", "json_schema": {"schema": loop}}
    answer = (await ask(client, response_format=asked)).json()["choices"][0]["message"]["content"]
    assert json.loads(answer) is None


async def test_every_parameter_is_shown_as_it_came(client: httpx.AsyncClient, standin: StandIn) -> None:
    parameters = {"top_p": 0.5, "seed": 3, "tools": TOOLS, "tool_choice": "auto", "stop": ["x"]}
    await ask(client, **parameters)
    assert standin.ledger.calls[-1].parameters == parameters
