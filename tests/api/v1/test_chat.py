"""Chat completions as OpenAI's clients ask for them: what comes back, and what becomes of it."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.v1.talk import CHAT, assert_error, body, chat, events_of, said_in, text_of
from tests.harness import System

COMPLETION = {"id", "object", "created", "model", "choices", "usage"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
TITLE = "### Task:\nGenerate a concise title for the chat."


async def _sessions(system: System, user_id: str) -> list[str]:
    found = (await system.client.get("/api/sessions", params={"user_id": user_id})).json()
    return [session["session_id"] for session in found["items"]]


async def _transcript(system: System, session_id: str) -> list[str]:
    found = (await system.client.get(f"/api/sessions/{session_id}/messages")).json()["items"]
    return [message["content"] for message in found]


async def _interaction(system: System, response: httpx.Response) -> dict[str, Any]:
    url = f"/api/llm/interactions/{response.headers['x-interaction-id']}"
    found: dict[str, Any] = (await system.client.get(url)).json()
    return found


async def test_a_completion_has_the_fields_of_openais(system: System) -> None:
    response = await chat(system, user="fields")
    found = response.json()
    assert found.keys() == COMPLETION
    assert (found["object"], found["model"]) == ("chat.completion", "cherry")
    assert found["id"] == f"chatcmpl-{response.headers['x-interaction-id']}"
    [choice] = found["choices"]
    assert choice.keys() == {"index", "message", "logprobs", "finish_reason"}
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    assert choice["message"] == {"role": "assistant", "content": text_of(response), "refusal": None}
    usage = found["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert usage["prompt_tokens_details"].keys() == {"cached_tokens"}
    assert usage["completion_tokens_details"].keys() == {"reasoning_tokens"}
    view = await _interaction(system, response)
    assert (view["message"], view["persona_id"]) == (text_of(response), "cherry")


async def test_without_a_conversation_nothing_is_remembered(system: System) -> None:
    history = [{"role": "assistant", "content": "Hi, Ada."}, {"role": "user", "content": "Who am I?"}]
    response = await chat(system, user="nobody-knows", messages=[{"role": "user", "content": "I am Ada."}, *history])
    assert "x-session-id" not in response.headers
    assert await _sessions(system, "nobody-knows") == []
    sent = system.standin.ledger.calls[-1].messages
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert (await _interaction(system, response))["session_id"] is None


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({"X-Conversation-Id": "NAME", "X-OpenWebUI-Chat-Id": "no"}, {"conversation": "no"}),
        ({"X-OpenWebUI-Chat-Id": "NAME"}, {"conversation": "no"}),
        ({"X-Conversation-Id": ""}, {"conversation": {"id": "NAME"}, "metadata": {"conversation_id": "no"}}),
        ({}, {"metadata": {"conversation_id": "NAME"}}),
    ],
)
async def test_a_conversation_is_remembered_however_it_is_named(
    system: System, headers: dict[str, str], fields: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    name = f"named-{request.node.callspec.id}"
    headers = {key: value.replace("NAME", name) for key, value in headers.items()}
    named = {key: _renamed(value, name) for key, value in fields.items()}
    response = await chat(system, "Remember me", headers, user=name, **named)
    assert response.headers["x-session-id"] == name
    assert await _transcript(system, name) == ["Remember me", text_of(response)]


def _renamed(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(item, name) for key, item in value.items()}
    return value.replace("NAME", name)


async def test_the_user_is_whom_the_client_names_first(system: System) -> None:
    named = {"safety_identifier": "user-b", "user": "user-c"}
    cases = [
        ({"X-OpenWebUI-User-Id": "user-a"}, named, "user-a"),
        ({"X-OpenWebUI-User-Id": ""}, named, "user-b"),
        ({}, {"user": "user-c"}, "user-c"),
        ({}, {"user": ""}, "anonymous"),
    ]
    for place, (headers, fields, user_id) in enumerate(cases):
        session = f"whose-{place}"
        await chat(system, headers={**headers, "X-Conversation-Id": session}, **fields)
        assert session in await _sessions(system, user_id)


async def test_another_users_conversation_is_refused(system: System) -> None:
    where = {"X-Conversation-Id": "adas-own"}
    await chat(system, "My secret", where, user="ada")
    assert_error(await chat(system, "Tell me", where, user="eve"), 403, "permission_denied")


async def test_how_the_model_is_to_answer_reaches_it(system: System) -> None:
    instructions = {"role": "system", "content": "Answer in French."}
    response = await chat(
        system,
        model="cherry@openai/gpt-4",
        messages=[instructions, {"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
        temperature=0.1,
        max_completion_tokens=9,
        seed=7,
        stop=["x"],
        top_k=3,
    )
    assert response.json()["choices"][0]["finish_reason"] == "length"
    call = system.standin.ledger.calls[-1]
    assert call.model == "openai/gpt-4"
    assert call.messages[1:] == [instructions, {"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
    sent = {name: call.parameters[name] for name in ("temperature", "seed", "stop", "top_k")}
    assert sent == {"temperature": 0.1, "seed": 7, "stop": ["x"], "top_k": 3}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_is_asked_to_call_its_tools(system: System, stream: bool) -> None:
    response = await chat(system, tools=[TOOL], tool_choice="required", stream=stream)
    assert response.status_code == 200, response.text
    if stream:
        *chunks, last, done = events_of(response.text)
        assert (last["choices"][0]["finish_reason"], done) == ("tool_calls", "[DONE]")
        [call] = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
        assert call["index"] == 0
    else:
        [choice] = response.json()["choices"]
        assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
        [call] = choice["message"]["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "look")
    assert call["id"]


async def test_a_request_that_is_sent_again_is_one_turn(system: System) -> None:
    where = {"X-Conversation-Id": "sent-again", "x-stainless-retry-count": "0"}
    first = await chat(system, "Once", where)
    again = await chat(system, "Once", where | {"x-stainless-retry-count": "1"})
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert len(await _transcript(system, "sent-again")) == 2
    other = await chat(system, "Twice", where | {"x-stainless-retry-count": "1"})
    assert other.headers["x-interaction-id"] != first.headers["x-interaction-id"]


async def test_a_key_makes_two_requests_one_and_no_two_bodies_the_same(system: System) -> None:
    keyed = {"Idempotency-Key": "v1-key"}
    first = await chat(system, "Once", keyed, user="keyed")
    again = await chat(system, "Once", keyed, user="keyed")
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")
    assert_error(await chat(system, "Twice", keyed, user="keyed"), 400, "idempotency_conflict")


async def test_a_client_that_gave_up_finds_its_reply_when_it_asks_again(system: System) -> None:
    system.standin.script("openai/gpt-4", {"hold": True})
    model = "cherry@openai/gpt-4"
    asking = asyncio.create_task(chat(system, model=model, user="impatient"))
    await system.standin.ledger.until_held()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    retry = asyncio.create_task(chat(system, headers={"x-stainless-retry-count": "1"}, model=model, user="impatient"))
    system.standin.release()
    assert text_of(await retry)
    assert [call.model for call in system.standin.ledger.calls] == ["openai/gpt-4"]


@pytest.mark.parametrize(
    ("message", "headers"), [(TITLE, {}), ("What would be a title?", {"X-Task": "title_generation"})]
)
async def test_what_open_webui_asks_for_itself_is_no_turn(
    system: System, message: str, headers: dict[str, str]
) -> None:
    where = {"X-OpenWebUI-Chat-Id": f"tasks-{bool(headers)}"}
    await chat(system, "Hello", where)
    before = await _transcript(system, where["X-OpenWebUI-Chat-Id"])
    response = await chat(system, message, where | headers)
    assert text_of(response)
    assert "x-session-id" not in response.headers
    assert system.standin.ledger.calls[-1].messages == [{"role": "user", "content": message}]
    assert await _transcript(system, where["X-OpenWebUI-Chat-Id"]) == before


# --- streams ---


async def test_a_stream_says_what_is_stored_and_where(system: System) -> None:
    response = await chat(
        system, headers={"X-Conversation-Id": "streamed"}, stream=True, stream_options={"include_usage": True}
    )
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-session-id"] == "streamed"
    *chunks, usage, done = events_of(response.text)
    assert done == "[DONE]"
    assert usage["usage"]["total_tokens"] > 0
    assert await _transcript(system, "streamed") == ["Hello", said_in(chunks)]
    assert (await _interaction(system, response))["message"] == said_in(chunks)


async def test_a_call_that_fails_before_the_first_word_is_seen_by_nobody(system: System) -> None:
    system.standin.script("openai/gpt-4", "empty-choices", "ok")
    response = await chat(system, model="cherry@openai/gpt-4", stream=True)
    *chunks, done = events_of(response.text)
    assert done == "[DONE]"
    assert said_in(chunks)
    assert len(system.standin.ledger.calls) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_what_fails_without_a_word_is_an_error_with_a_status(system: System, stream: bool) -> None:
    system.standin.script("openai/gpt-4", "context-length")
    response = await chat(
        system, headers={"X-Conversation-Id": f"too-long-{stream}"}, model="cherry@openai/gpt-4", stream=stream
    )
    assert_error(response, 400, "context_length_exceeded", "messages")
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["x-session-id"] == f"too-long-{stream}"
    assert (await _interaction(system, response))["status"] == "failed"


async def test_a_stream_that_breaks_after_its_first_word_ends_with_an_error_and_the_reply_is_found(
    system: System,
) -> None:
    system.standin.script("openai/gpt-4", "reset")
    response = await chat(system, model="cherry@openai/gpt-4", stream=True)
    *chunks, last = events_of(response.text)
    assert said_in(chunks)
    assert last["error"]["type"] == "server_error"
    url = f"/api/llm/interactions/{response.headers['x-interaction-id']}"
    assert url in last["error"]["message"]
    whole = (await system.client.get(url, params={"wait": 20})).json()
    assert whole["status"] == "completed"


# --- headers ---


async def test_every_answer_tells_its_request(system: System) -> None:
    sane = await system.client.post(CHAT, json=body(n=2), headers={"X-Request-Id": "mine-1"})
    assert sane.headers["x-request-id"] == "mine-1"
    made = await system.client.get("/v1/nothing", headers={"X-Request-Id": "not sane"})
    assert made.headers["x-request-id"] not in ("", "not sane")


async def test_a_conversation_may_have_any_name_and_its_header_stays_one(system: System) -> None:
    response = await chat(system, conversation="Größe 100%\r\nX-Evil: 1")
    assert response.status_code == 200
    assert response.headers["x-session-id"] == "Gr%C3%B6%C3%9Fe 100%25%0D%0AX-Evil: 1"
    assert "x-evil" not in response.headers
