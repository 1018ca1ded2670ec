"""The `openai` library, responses: replies that can be left, found again, continued and ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.clients.conftest import MODEL, Front
from tests.clients.words import calls
from tests.lazily import lazily

if TYPE_CHECKING:
    from openai import AsyncOpenAI

openai = lazily("openai")


@pytest.fixture
async def client(front: Front) -> AsyncIterator[AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=front.base_url, api_key=front.key, max_retries=0) as client:
        yield client


async def test_a_persona_responds(client: AsyncOpenAI) -> None:
    response = await client.responses.create(model="sophia", input="Hello", metadata={"ticket": "7"})
    assert (response.object, response.status, response.error) == ("response", "completed", None)
    assert response.output_text.startswith("Sophia here (a stand-in for openai/gpt-3.5-turbo speaking)")
    assert response.metadata == {"ticket": "7"}
    assert response.usage is not None
    assert response.usage.input_tokens + response.usage.output_tokens == response.usage.total_tokens > 0
    assert await client.responses.retrieve(response.id) == response


async def test_a_stream_tells_every_step_once(client: AsyncOpenAI) -> None:
    stream = await client.responses.create(model="cherry", input="Hello", stream=True)
    events = [event async for event in stream]
    kinds = [event.type for event in events]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    first = kinds.index("response.output_text.delta")
    assert kinds[:first] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[first : first + len(deltas)] == ["response.output_text.delta"] * len(deltas)
    assert kinds[first + len(deltas) :] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers))
    assert events[-1].response.output_text == "".join(deltas) != ""


async def test_the_librarys_own_view_of_a_stream_is_the_response(client: AsyncOpenAI) -> None:
    async with client.responses.stream(model="cherry", input="Hello") as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_response()
    assert final.output_text.startswith("Cherry here")
    assert final.status == "completed"


async def test_a_response_follows_the_one_before_it(client: AsyncOpenAI, front: Front) -> None:
    first = await client.responses.create(model="cherry", input="Hello", user="follower")
    second = await client.responses.create(
        model="cherry", input="And now?", previous_response_id=first.id, user="follower"
    )
    third = await client.responses.create(
        model="cherry", input="And then?", previous_response_id=second.id, user="follower"
    )
    assert "I remember 2 earlier messages" in second.output_text
    assert "I remember 4 earlier messages" in third.output_text
    assert third.previous_response_id == second.id
    (session,) = await front.sessions("follower")
    said = [text for _, text in await front.transcript(session["session_id"], "follower")]
    replies = [first.output_text, second.output_text, third.output_text]
    assert said == [word for pair in zip(["Hello", "And now?", "And then?"], replies, strict=True) for word in pair]


async def test_two_answers_to_one_response_are_two_branches(client: AsyncOpenAI, front: Front) -> None:
    first = await client.responses.create(model="cherry", input="Hello", conversation="trunk", user="brancher")
    for words in ("Left", "Right"):
        after = await client.responses.create(
            model="cherry", input=words, previous_response_id=first.id, user="brancher"
        )
        assert "I remember 2 earlier messages" in after.output_text
    trunk, branch = await front.sessions("brancher")
    assert (trunk["session_id"], branch["conversation_id"], branch["forked_from"]) == ("trunk", "trunk", "trunk")
    said = [await front.transcript(session["session_id"], "brancher") for session in (trunk, branch)]
    assert [words for _, words in said[0]][::2] == ["Hello", "Left"]
    assert [words for _, words in said[1]][::2] == ["Hello", "Right"]


async def test_a_conversation_is_remembered(client: AsyncOpenAI, front: Front) -> None:
    for words in ("Hello", "And now?"):
        last = await client.responses.create(model="cherry", input=words, conversation="by-name", user="rememberer")
    assert "I remember 2 earlier messages" in last.output_text
    assert last.conversation is not None
    assert last.conversation.id == "by-name"
    assert len(await front.transcript("by-name", "rememberer")) == 4


async def test_a_reply_in_the_background_is_followed_from_any_event_on(client: AsyncOpenAI, front: Front) -> None:
    front.standin.script(MODEL, {"hold": True, "after": 3})
    begun = await client.responses.create(model="cherry", input="Hello", background=True)
    assert begun.status in ("queued", "in_progress")
    await front.standin.ledger.until_held()
    assert (await client.responses.retrieve(begun.id)).status == "in_progress"
    front.standin.release()
    seen = [event async for event in await client.responses.retrieve(begun.id, stream=True)]
    middle = seen[len(seen) // 2].sequence_number
    rest = [event async for event in await client.responses.retrieve(begun.id, stream=True, starting_after=middle)]
    assert rest == [event for event in seen if event.sequence_number > middle]
    assert seen[-1].type == "response.completed"
    ended = await client.responses.retrieve(begun.id)
    assert (ended.status, ended.output_text) == ("completed", seen[-1].response.output_text)


async def test_a_reply_can_be_ended(client: AsyncOpenAI, front: Front) -> None:
    front.standin.script(MODEL, {"hold": True, "after": 3})
    begun = await client.responses.create(model="cherry", input="Hello", background=True)
    await front.standin.ledger.until_held()
    ended = await client.responses.cancel(begun.id)
    assert ended.status == "cancelled"
    assert (await client.responses.retrieve(begun.id)).status == "cancelled"


async def test_a_tool_is_called_and_its_result_answered(client: AsyncOpenAI, front: Front) -> None:
    tool = {
        "type": "function",
        "name": "weather",
        "strict": False,
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    }
    front.standin.script(MODEL, calls("weather", {"place": "Rome"}))
    asked = await client.responses.create(model="cherry", input="Is it raining in Rome?", tools=[tool])
    (call,) = [item for item in asked.output if item.type == "function_call"]
    assert (call.name, call.arguments) == ("weather", '{"place": "Rome"}')
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "It pours."}
    answer = await client.responses.create(model="cherry", input=[result], previous_response_id=asked.id, tools=[tool])
    assert answer.output_text
    sent = front.standin.ledger.calls[-1].messages
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool"]
    assert sent[-1]["content"] == "It pours."


async def test_a_fallback_before_the_first_word_is_not_seen(client: AsyncOpenAI) -> None:
    async with client.responses.stream(model="stumbling", input="Hello") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert "error" not in kinds
    assert final.output_text.startswith("Stumbling here (a stand-in for openai/gpt-4o speaking)")


@pytest.mark.parametrize("some_id", ["resp_nothing", "nothing"])
async def test_a_response_that_never_was_is_neither_found_nor_followed(client: AsyncOpenAI, some_id: str) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(some_id)
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model="cherry", input="Hello", previous_response_id=some_id)
    assert caught.value.param == "previous_response_id"
