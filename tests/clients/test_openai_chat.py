"""The `openai` library, chat completions: what people build on it works with a persona's name as the model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from tests.clients.conftest import MODEL, Front
from tests.clients.words import calls, says
from tests.lazily import lazily

if TYPE_CHECKING:
    from openai import AsyncOpenAI

openai = lazily("openai")

HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather at a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}


@pytest.fixture
async def client(front: Front) -> AsyncIterator[AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=front.base_url, api_key=front.key, max_retries=0) as client:
        yield client


async def test_personas_are_the_models_there_are(client: AsyncOpenAI) -> None:
    listed = [model async for model in client.models.list()]
    assert {"cherry", "karen", "sophia"} <= {model.id for model in listed}
    assert {model.object for model in listed} == {"model"}
    one = await client.models.retrieve("sophia")
    assert one in listed


async def test_a_persona_answers_and_the_answer_has_every_part(client: AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="sophia", messages=HELLO)
    answer = raw.parse()
    (choice,) = answer.choices
    assert (choice.message.content or "").startswith("Sophia here (a stand-in for openai/gpt-3.5-turbo speaking)")
    assert (choice.index, choice.message.role, choice.finish_reason) == (0, "assistant", "stop")
    assert answer.object == "chat.completion"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == answer.usage.total_tokens > 0
    assert answer.id == f"chatcmpl-{raw.headers['x-interaction-id']}"
    assert raw.headers["x-request-id"]


async def test_a_model_can_be_pinned(client: AsyncOpenAI, front: Front) -> None:
    answer = await client.chat.completions.create(model="sophia@openai/gpt-4", messages=HELLO)
    assert (answer.choices[0].message.content or "").startswith("Sophia here (a stand-in for openai/gpt-4 speaking)")
    assert [call.model for call in front.standin.ledger.calls] == ["openai/gpt-4"]


async def test_without_a_conversation_the_transcript_is_all_that_is_remembered(
    client: AsyncOpenAI, front: Front
) -> None:
    first = await client.chat.completions.create(model="cherry", messages=HELLO, user="stateless")
    said = {"role": "assistant", "content": first.choices[0].message.content}
    messages = [*HELLO, said, {"role": "user", "content": "And now?"}]
    second = await client.chat.completions.create(model="cherry", messages=messages, user="stateless")
    assert "I remember 2 earlier messages" in (second.choices[0].message.content or "")
    assert await front.sessions("stateless") == []


@pytest.mark.parametrize("resends", [True, False], ids=["resends all", "sends what is new"])
async def test_a_conversation_is_stored_once_whatever_the_client_resends(
    client: AsyncOpenAI, front: Front, *, resends: bool
) -> None:
    user = f"teller-{resends}"
    teller = client.with_options(default_headers={"X-Conversation-Id": f"told-{resends}"})
    told: list[dict[str, str]] = []
    for words in ("Hello", "And now?", "And then?"):
        asked = {"role": "user", "content": words}
        answer = await teller.chat.completions.create(
            model="cherry", messages=[*told, asked] if resends else [asked], user=user
        )
        told += [asked, {"role": "assistant", "content": answer.choices[0].message.content or ""}]
    assert "I remember 4 earlier messages" in told[-1]["content"]
    (session,) = await front.sessions(user)
    assert session["session_id"] == f"told-{resends}"
    assert await front.transcript(session["session_id"], user) == [(turn["role"], turn["content"]) for turn in told]


async def test_a_stream_has_the_parts_in_their_order(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="cherry", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.startswith("Cherry here (a stand-in for openai/gpt-3.5-turbo speaking)")
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert {chunk.usage for chunk in chunks} == {None}
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens > 0
    assert len({chunk.id for chunk in [*chunks, last]}) == 1


async def test_the_librarys_own_view_of_a_stream_is_the_answer(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(model="cherry", messages=HELLO) as stream:
        deltas = [event.delta async for event in stream if event.type == "content.delta"]
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "".join(deltas) != ""


async def test_a_fallback_before_the_first_word_is_not_seen(client: AsyncOpenAI, front: Front) -> None:
    stream = await client.chat.completions.create(model="stumbling", messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.startswith("Stumbling here (a stand-in for openai/gpt-4o speaking)")
    assert chunks[-1].choices[0].finish_reason == "stop"
    attempts = (await front.interaction(chunks[0].id))["attempts"]
    assert [attempt["status"] for attempt in attempts] == ["failed", "succeeded"]


async def test_instructions_of_the_client_follow_the_personas_own(client: AsyncOpenAI, front: Front) -> None:
    messages = [{"role": "system", "content": "Answer in French."}, *HELLO]
    await client.chat.completions.create(model="cherry", messages=messages)
    (call,) = front.standin.ledger.calls
    roles = [message["role"] for message in call.messages]
    assert roles == ["system", "system", "user"]
    assert call.messages[0]["content"].startswith("You are Cherry, ")
    assert call.messages[1]["content"] == "Answer in French."


async def test_parameters_reach_the_model(client: AsyncOpenAI, front: Front) -> None:
    await client.chat.completions.create(
        model="cherry",
        messages=HELLO,
        temperature=0.5,
        max_completion_tokens=99,
        top_p=0.9,
        seed=7,
        stop=["END"],
        presence_penalty=0.1,
        frequency_penalty=0.2,
    )
    (call,) = front.standin.ledger.calls
    sent = {"temperature": 0.5, "max_tokens": 99, "top_p": 0.9, "seed": 7, "stop": ["END"]}
    assert call.parameters.items() >= {**sent, "presence_penalty": 0.1, "frequency_penalty": 0.2}.items()


async def test_pictures_reach_the_model(client: AsyncOpenAI, front: Front) -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]
    answer = await client.chat.completions.create(model="cherry", messages=[{"role": "user", "content": parts}])
    assert 'You said: "What is this?"' in (answer.choices[0].message.content or "")
    assert front.standin.ledger.calls[0].messages[-1]["content"] == parts


class _Answer(BaseModel):
    mood: str
    words: int


async def test_structured_output_is_parsed(client: AsyncOpenAI, front: Front) -> None:
    front.standin.script(MODEL, says('{"mood": "easy", "words": 3}'))
    answer = await client.chat.completions.parse(model="cherry", messages=HELLO, response_format=_Answer)
    assert answer.choices[0].message.parsed == _Answer(mood="easy", words=3)
    (call,) = front.standin.ledger.calls
    assert call.parameters["response_format"]["json_schema"]["name"] == "_Answer"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_tool_of_the_client_is_called_and_its_result_answered(
    client: AsyncOpenAI, front: Front, *, stream: bool
) -> None:
    headers, user = {"X-Conversation-Id": f"tools-{stream}"}, f"tools-{stream}"
    told: list[dict[str, object]] = [{"role": "user", "content": "Is it raining in Rome?"}]
    front.standin.script(MODEL, calls("weather", {"place": "Rome"}))
    if stream:
        async with client.chat.completions.stream(
            model="cherry", messages=told, tools=[WEATHER], user=user, extra_headers=headers
        ) as events:
            asked = await events.get_final_completion()
    else:
        asked = await client.chat.completions.create(
            model="cherry", messages=told, tools=[WEATHER], user=user, extra_headers=headers
        )
    assert asked.choices[0].finish_reason == "tool_calls"
    (call,) = asked.choices[0].message.tool_calls or []
    assert (call.type, call.function.name) == ("function", "weather")
    assert json.loads(call.function.arguments) == {"place": "Rome"}
    told += [
        asked.choices[0].message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}),
        {"role": "tool", "tool_call_id": call.id, "content": "It pours."},
    ]
    answer = await client.chat.completions.create(
        model="cherry", messages=told, tools=[WEATHER], user=user, extra_headers=headers
    )
    assert answer.choices[0].finish_reason == "stop"
    sent = front.standin.ledger.calls[-1]
    assert [message["role"] for message in sent.messages] == ["system", "user", "assistant", "tool"]
    assert sent.messages[2]["tool_calls"][0]["function"]["name"] == "weather"
    assert sent.parameters["tools"] == [WEATHER]
    (session,) = await front.sessions(user)
    assert session["turns"] == 2
