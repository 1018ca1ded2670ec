"""The `openai` library on bad days: the right class of error, nothing asked twice, and nothing lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.clients.conftest import ALICE, MODEL, Front
from tests.lazily import lazily

if TYPE_CHECKING:
    from openai import AsyncOpenAI

openai = lazily("openai")

HELLO = [{"role": "user", "content": "Hello"}]
IMPATIENT = 0.5
"""Seconds."""


@pytest.fixture
async def client(front: Front) -> AsyncIterator[AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=front.base_url, api_key=front.key, max_retries=0) as client:
        yield client


async def test_an_unknown_persona_is_not_found(client: AsyncOpenAI) -> None:
    for ask in (
        client.chat.completions.create(model="nobody", messages=HELLO),
        client.responses.create(model="nobody", input="Hello"),
        client.models.retrieve("nobody"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            await ask
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        assert "nobody" in caught.value.message


async def test_a_wrong_key_is_an_error_of_authentication(client: AsyncOpenAI) -> None:
    stranger = client.with_options(api_key="sk-stranger")
    for ask in (stranger.models.list(), stranger.responses.create(model="cherry", input="Hello")):
        with pytest.raises(openai.AuthenticationError) as caught:
            await ask
        assert caught.value.code == "invalid_api_key"


async def test_a_key_of_ones_own_speaks_for_nobody_else(client: AsyncOpenAI, front: Front) -> None:
    alices = client.with_options(api_key=str(ALICE.key))
    response = await alices.responses.create(
        model="cherry", input="Hello", user="mallory", conversation="alices", safety_identifier="mallory"
    )
    assert await front.sessions("mallory") == []
    assert [session["session_id"] for session in await front.sessions("alice")] == ["alices"]
    with pytest.raises(openai.NotFoundError):
        await alices.responses.retrieve((await client.responses.create(model="cherry", input="Hello")).id)
    assert (await alices.responses.retrieve(response.id)).id == response.id


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"temperature": 5}, "temperature"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "villain", "content": "Hello"}]}, "messages[0]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_done_is_a_bad_request_that_names_the_field(
    client: AsyncOpenAI, front: Front, wrong: dict[str, object], param: str
) -> None:
    patient = client.with_options(max_retries=2)
    with pytest.raises(openai.BadRequestError) as caught:
        await patient.chat.completions.create(**{"model": "cherry", "messages": HELLO, **wrong})
    assert (caught.value.param or "").startswith(param)
    assert caught.value.type == "invalid_request_error"
    assert front.standin.ledger.calls == []


async def test_an_upstream_without_room_is_a_rate_limit_and_is_not_asked_for_again(
    client: AsyncOpenAI, front: Front
) -> None:
    patient = client.with_options(max_retries=2)
    for ask in (
        patient.chat.completions.create(model="popular", messages=HELLO, user="insistent"),
        patient.responses.create(model="popular", input="Hello", user="insistent"),
    ):
        with pytest.raises(openai.RateLimitError) as caught:
            await ask
        assert caught.value.code == "rate_limit_exceeded"
        assert int(caught.value.response.headers["retry-after"]) > 0
    begun = await front.get("/api/llm/interactions", user_id="insistent")
    assert len(begun["items"]) == 2


async def test_a_stream_that_cannot_begin_is_an_error_of_the_request(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.APIError):
        await _watch(client.chat.completions.create(model="popular", messages=HELLO, stream=True), [])


async def test_a_chat_stream_that_breaks_raises_and_the_reply_is_fetched_by_its_id(
    client: AsyncOpenAI, front: Front
) -> None:
    seen: list[Any] = []
    with pytest.raises(openai.APIError) as caught:
        await _watch(client.chat.completions.create(model="breaking", messages=HELLO, stream=True), seen, front)
    assert caught.value.message
    assert "".join(map(_text, seen)) == "Breaking"
    whole = await front.interaction(seen[0].id)
    assert whole["status"] == "completed"
    assert whole["message"].startswith("Breaking here (a stand-in for openai/gpt-4o speaking)")
    response = await client.responses.retrieve(f"resp_{whole['interaction_id']}")
    assert (response.status, response.output_text) == ("completed", whole["message"])


async def test_a_response_stream_that_breaks_raises_and_the_reply_is_fetched_by_its_id(
    client: AsyncOpenAI, front: Front
) -> None:
    seen: list[Any] = []
    with pytest.raises(openai.APIError):
        await _watch(client.responses.create(model="breaking", input="Hello", stream=True), seen, front)
    response_id = seen[0].response.id
    await front.interaction(response_id)
    last_seen = seen[-1].sequence_number  # the error was raised, not handed out
    rest: list[Any] = []
    await _watch(client.responses.retrieve(response_id, stream=True, starting_after=last_seen), rest)
    response = await client.responses.retrieve(response_id)
    assert [event.response for event in rest] == [response]
    assert response.status == "completed"
    assert response.output_text.startswith("Breaking here (a stand-in for openai/gpt-4o speaking)")


async def test_a_client_that_loses_patience_and_asks_again_gets_the_one_reply(front: Front) -> None:
    ways = [(route, conversation) for route in ("chat", "responses") for conversation in (None, "impatient")]
    front.standin.script(MODEL, *[{"hold": True}] * len(ways))
    everybody = asyncio.Barrier(len(ways) + 1)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        for route, conversation in ways:
            tasks.create_task(_lose_patience(front, everybody, route, conversation))
        await everybody.wait()
        front.standin.release()
    assert (front.standin.ledger.total_calls, front.standin.ledger.billed_calls) == (len(ways), len(ways))


async def _lose_patience(front: Front, everybody: asyncio.Barrier, route: str, conversation: str | None) -> None:
    """Ask with little patience, until all the others have asked again too."""
    asked: list[str] = []

    async def count(request: httpx2.Request) -> None:
        asked.append(request.headers["x-stainless-retry-count"])
        if len(asked) == 2:
            await everybody.wait()

    user = f"impatient-{route}-{conversation}"
    headers = {"X-Conversation-Id": f"{route}-{conversation}"} if conversation else {}
    async with (
        openai.DefaultAsyncHttpxClient(event_hooks={"request": [count]}) as http,
        openai.AsyncOpenAI(
            base_url=front.base_url,
            api_key=front.key,
            default_headers=headers,
            timeout=IMPATIENT,
            max_retries=9,
            http_client=http,
        ) as client,
    ):
        text = await _ask(client, route, user)
    assert "I remember 0 earlier messages" in text
    assert asked[:2] == ["0", "1"]
    begun = await front.get("/api/llm/interactions", user_id=user)
    assert len(begun["items"]) == 1
    if conversation:
        (session,) = await front.sessions(user)
        assert await front.transcript(session["session_id"], user) == [("user", "Hello"), ("assistant", text)]


async def _watch(stream: Awaitable[AsyncIterable[Any]], seen: list[Any], front: Front | None = None) -> None:
    """See all of a stream; a model of `front` that waits for its words to be read goes on when they are."""
    async for part in await stream:
        seen.append(part)
        if front and _text(part):
            front.standin.release()


def _text(part: Any) -> str:
    """Return what a chunk of a chat, or an event of a response, says."""
    if hasattr(part, "choices"):
        return part.choices[0].delta.content or ""
    return part.delta if part.type == "response.output_text.delta" else ""


async def _ask(client: AsyncOpenAI, route: str, user: str) -> str:
    if route == "chat":
        answer = await client.chat.completions.create(model="cherry", messages=HELLO, user=user)
        return answer.choices[0].message.content or ""
    return (await client.responses.create(model="cherry", input="Hello", user=user)).output_text


async def test_errors_are_all_of_one_form(front: Front) -> None:
    client = front.system.client
    answers = [
        await client.get("/v1/nothing"),
        await client.delete("/v1/models"),
        await client.post("/v1/chat/completions", content=b"{"),
        await client.post("/v1/chat/completions", content=json.dumps({"model": "cherry"})),
    ]
    assert [answer.status_code for answer in answers] == [404, 405, 415, 415]
    for answer in answers:
        assert answer.json().keys() == {"error"}
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
