"""The Responses API: what comes back, what it is remembered by, and what is refused."""

from typing import Any

import httpx
import pytest

from tests.api.v1.response_types import as_response
from tests.api.v1.talk import assert_error, chat
from tests.harness import System

RESPONSES = "/v1/responses"
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


async def respond(system: System, said: Any = "Hello", **fields: Any) -> httpx.Response:
    return await system.client.post(RESPONSES, json={"model": "cherry", "input": said, **fields})


async def done(system: System, said: Any = "Hello", **fields: Any) -> Any:
    response = await respond(system, said, **fields)
    assert response.status_code == 200, response.text
    return as_response(response.json())


def prompt_of(system: System) -> list[dict[str, Any]]:
    """What the model was sent last, without the persona."""
    return [dict(message) for message in system.standin.ledger.calls[-1].messages[1:]]


async def test_a_response_can_be_read_again(system: System) -> None:
    response = await respond(system, instructions="Be brief", metadata={"a": "b"}, temperature=0.2)
    found = as_response(response.json())
    assert (found.status, found.model, found.instructions) == ("completed", "cherry", "Be brief")
    assert (found.metadata, found.temperature, found.conversation) == ({"a": "b"}, 0.2, None)
    assert found.output_text
    assert found.usage is not None
    assert found.id == f"resp_{response.headers['x-interaction-id']}"
    again = await system.client.get(f"{RESPONSES}/{found.id}")
    assert (again.status_code, again.json()) == (200, response.json())
    assert again.headers["x-interaction-id"] == response.headers["x-interaction-id"]


async def test_without_a_conversation_nothing_is_remembered(system: System) -> None:
    response = await respond(system, user="stateless")
    assert "x-session-id" not in response.headers
    found = (await system.client.get("/api/sessions", params={"user_id": "stateless"})).json()
    assert found["items"] == []


async def test_what_is_asked_for_reaches_the_model(system: System) -> None:
    await done(
        system,
        [
            {"role": "developer", "content": "Be kind"},
            {"role": "user", "content": [{"type": "input_image", "image_url": "https://x.example/a.png"}]},
        ],
        instructions="Be brief",
        model="cherry@openai/gpt-4",
        top_p=0.3,
        max_output_tokens=64,
        text={"format": {"type": "json_object"}},
    )
    call = system.standin.ledger.calls[-1]
    assert (call.model, call.parameters["top_p"], call.parameters["max_tokens"]) == ("openai/gpt-4", 0.3, 64)
    assert call.parameters["response_format"] == {"type": "json_object"}
    assert prompt_of(system) == [
        {"role": "system", "content": "Be brief"},
        {"role": "developer", "content": "Be kind"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]},
    ]


async def test_a_response_follows_the_one_it_names(system: System) -> None:
    first = await done(system, "My name is Ada", user="ada")
    second = await done(system, "Who am I?", user="ada", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert prompt_of(system) == [
        {"role": "user", "content": "My name is Ada"},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "Who am I?"},
    ]
    await done(system, "And now?", previous_response_id=second.id)  # whose it is, is known
    assert [message["content"] for message in prompt_of(system)][-2:] == [second.output_text, "And now?"]


async def test_two_may_follow_the_same_one(system: System) -> None:
    first = await done(system, "Think of a number")
    for said in ("Is it one?", "Is it two?"):
        await done(system, said, previous_response_id=first.id)
        assert [message["content"] for message in prompt_of(system)] == ["Think of a number", first.output_text, said]


async def test_a_conversation_is_remembered(system: System) -> None:
    first = await respond(system, "My name is Ada", conversation={"id": "responses-c1"})
    assert first.headers["x-session-id"] == "responses-c1"
    found = as_response(first.json())
    assert found.conversation is not None
    assert found.conversation.id == "responses-c1"
    await done(system, "Who am I?", conversation="responses-c1")
    assert [message["content"] for message in prompt_of(system)] == [
        "My name is Ada",
        found.output_text,
        "Who am I?",
    ]


async def test_a_client_may_name_what_was_said_instead_of_saying_it_again(system: System) -> None:
    first = await done(system, "My name is Ada")
    item = {"type": "item_reference", "id": first.output[0].id}
    await done(system, [{"role": "user", "content": "My name is Ada"}, item, {"role": "user", "content": "Who am I?"}])
    assert [message["content"] for message in prompt_of(system)] == [
        "My name is Ada",
        first.output_text,
        "Who am I?",
    ]


async def test_a_function_is_called_and_its_result_is_answered(system: System) -> None:
    system.standin.script("openai/gpt-4", "tool-calls")
    first = await done(system, "How is the weather?", model="cherry@openai/gpt-4", tools=[WEATHER])
    [call] = [item for item in first.output if item.type == "function_call"]
    assert (call.name, first.status) == ("weather", "completed")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"}
    second = await done(system, [result], previous_response_id=first.id, tools=[WEATHER])
    assert 'A tool said: "18 degrees"' in second.output_text
    call_in_chat = {"name": "weather", "arguments": call.arguments}
    assert prompt_of(system)[1]["tool_calls"] == [{"id": call.call_id, "type": "function", "function": call_in_chat}]
    assert prompt_of(system)[2] == {"role": "tool", "tool_call_id": call.call_id, "content": "18 degrees"}


async def test_a_call_may_be_named_too(system: System) -> None:
    system.standin.script("openai/gpt-4", "tool-calls")
    first = await done(system, "How is the weather?", model="cherry@openai/gpt-4", tools=[WEATHER])
    call = first.output[-1]
    assert call.type == "function_call"
    items = [
        {"role": "user", "content": "How is the weather?"},
        {"type": "item_reference", "id": call.id},
        {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"},
    ]
    assert 'A tool said: "18 degrees"' in (await done(system, items, tools=[WEATHER])).output_text


async def test_a_client_that_asks_again_because_it_heard_nothing_gets_the_same_response(system: System) -> None:
    asked = {"model": "cherry", "input": "Are you there?", "user": "impatient"}
    first = await system.client.post(RESPONSES, json=asked)
    again = await system.client.post(RESPONSES, json=asked, headers={"x-stainless-retry-count": "1"})
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert (await system.client.post(RESPONSES, json=asked)).json()["id"] != first.json()["id"]


async def test_a_reply_cut_off_by_its_length_is_incomplete(system: System) -> None:
    found = await done(system, max_output_tokens=3)
    assert (found.status, found.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert found.output_text


async def test_a_failure_is_an_error_and_a_failed_response_for_whoever_asks(system: System) -> None:
    system.standin.script("openai/gpt-4", "context-length")
    response = await respond(system, model="cherry@openai/gpt-4")
    assert_error(response, 400, "context_length_exceeded", "input")
    url = f"{RESPONSES}/resp_{response.headers['x-interaction-id']}"
    found = as_response((await system.client.get(url)).json())
    assert found.error is not None
    assert (found.status, found.error.type, found.output) == ("failed", "context_length", [])


async def test_a_chat_completion_is_a_response_too(system: System) -> None:
    response = await chat(system, user="ada")
    found = as_response((await system.client.get(f"{RESPONSES}/{response.json()['id']}")).json())
    assert found.output_text == response.json()["choices"][0]["message"]["content"]
    assert found.id == f"resp_{response.headers['x-interaction-id']}"


async def test_an_interaction_of_our_own_is_a_response_too(system: System) -> None:
    reply = (await system.interact("Hello")).json()
    found = as_response((await system.client.get(f"{RESPONSES}/resp_{reply['interaction_id']}")).json())
    assert (found.output_text, found.model) == (reply["message"], "cherry")


NOBODYS = "019aabbb-0000-7000-8000-000000000000"
WRONG: dict[str, tuple[dict[str, Any], int, str, str | None]] = {
    "an unknown persona": ({"model": "nobody"}, 404, "model_not_found", "model"),
    "nothing said": ({"input": None}, 400, "invalid_type", "input"),
    "a text of space": ({"input": " "}, 400, "invalid_value", "input"),
    "a message of nothing": ({"input": [{"role": "user", "content": ""}]}, 400, "invalid_value", "input"),
    "parts of nothing": (
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": ""}] * 2}]},
        400,
        "invalid_value",
        "input",
    ),
    "a hosted tool": ({"tools": [{"type": "web_search"}]}, 400, "unsupported_value", "tools[0].type"),
    "a template": ({"prompt": {"id": "pmpt_1"}}, 400, "unsupported_parameter", "prompt"),
    "a sound": (
        {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        400,
        "unsupported_value",
        "input[0].content[0].type",
    ),
    "the assistant's own words": (
        {"input": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
        400,
        "invalid_value",
        "input",
    ),
    "following nothing": (
        {"previous_response_id": f"resp_{NOBODYS}"},
        400,
        "previous_response_not_found",
        "previous_response_id",
    ),
    "following a word": (
        {"previous_response_id": "resp_x"},
        400,
        "previous_response_not_found",
        "previous_response_id",
    ),
    "following two": (
        {"previous_response_id": f"resp_{NOBODYS}", "conversation": "c1"},
        400,
        "invalid_value",
        "previous_response_id",
    ),
    "naming nothing": (
        {"input": [{"type": "item_reference", "id": f"msg_{NOBODYS}"}, {"role": "user", "content": "Hi"}]},
        404,
        "not_found",
        None,
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_cannot_be_is_told_as_openai_tells_it(system: System, nothing_stored: None, name: str) -> None:
    fields, status, code, param = WRONG[name]
    response = await respond(
        system,
        **({"said": fields["input"]} if "input" in fields else {}),
        **{field: value for field, value in fields.items() if field != "input"},
    )
    assert_error(response, status, code, param)
    assert response.headers["x-should-retry"] == "false"


async def test_another_users_response_is_followed_by_nobody_else(system: System) -> None:
    first = await done(system, "My secret", user="ada")
    refused = await respond(system, "Tell me", user="eve", previous_response_id=first.id)
    assert_error(refused, 400, "previous_response_not_found", "previous_response_id")
    item = {"type": "item_reference", "id": first.output[0].id}
    named = await respond(system, [item, {"role": "user", "content": "Tell me"}], user="eve")
    assert_error(named, 404, "not_found")


async def test_what_was_no_turn_is_followed_by_nobody(system: System) -> None:
    task = await done(system, "### Task:\nFind a title.", user="tasked")
    refused = await respond(system, "And now?", user="tasked", previous_response_id=task.id)
    assert_error(refused, 400, "previous_response_not_found", "previous_response_id")


async def test_the_number_of_an_event_is_written_in_digits(system: System) -> None:
    url = f"{RESPONSES}/{(await done(system)).id}"
    for number in ("1.0", "+3", "1_0", "-1", "x", "٣", ""):
        response = await system.client.get(url, params={"stream": "true", "starting_after": number})
        assert_error(response, 400, "invalid_value", "starting_after")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "?stream=true"), ("POST", "/cancel")])
@pytest.mark.parametrize("name", ["resp_x", f"resp_{NOBODYS}"])
async def test_what_nobody_has_is_not_found(system: System, method: str, path: str, name: str) -> None:
    assert_error(await system.client.request(method, f"{RESPONSES}/{name}{path}"), 404, "not_found")
