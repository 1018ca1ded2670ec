"""What a success looks like: exactly the fields of the contract."""

import asyncio
from typing import Any

import pytest

from tests.api.talk import CHAT, DIRECT, assert_problem, post
from tests.harness import System

USAGE = {
    *("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens"),
    *("cost_usd", "estimated_cost_usd"),
}
INTERACTION = {
    *("message", "persona_id", "persona_name", "persona_version", "model", "provider", "usage", "session_id"),
    *("interaction_id", "workflow_id", "agent", "status", "finish_reason", "degraded", "error", "attempts"),
    "response_time_ms",
}
COMPLETION = {
    *("content", "model", "provider", "usage", "finish_reason", "response_time_ms", "interaction_id", "attempts")
}
ATTEMPT = {
    *("ordinal", "model", "provider", "upstream_provider", "answered_model", "status", "error_type", "http_status"),
    *("error_code", "detail", "generation_id", "usage", "first_token_ms", "duration_ms", "wait_ms"),
}


async def test_an_interaction_has_exactly_the_fields_of_the_contract(system: System) -> None:
    response = await system.interact("Tell me about artificial intelligence", session_id="fields", model="openai/gpt-4")
    reply = response.json()
    assert reply.keys() == INTERACTION
    assert reply["usage"].keys() == USAGE
    assert [attempt.keys() for attempt in reply["attempts"]] == [ATTEMPT]
    assert reply["session_id"] == "fields"
    assert reply["response_time_ms"] > 0
    assert response.headers["content-type"] == "application/json"
    assert response.headers["location"] == f"/api/llm/interactions/{reply['interaction_id']}"
    assert response.headers["x-interaction-id"] == reply["interaction_id"]


async def test_the_interaction_can_be_read_again_where_location_says(system: System) -> None:
    response = await system.interact()
    again = await system.client.get(response.headers["location"])
    assert (again.status_code, again.json()) == (200, response.json())


async def test_without_a_persona_the_settings_persona_answers(system: System) -> None:
    assert (await system.interact()).json()["persona_id"] == "cherry"


async def test_a_session_is_made_when_none_is_named(system: System) -> None:
    first, second = (await system.interact()).json(), (await system.interact()).json()
    assert first["session_id"] != second["session_id"]


async def test_an_agent_can_be_forced(system: System) -> None:
    reply = (await system.interact(agent="conversation")).json()
    explained = (await system.client.get(f"/api/llm/interactions/{reply['interaction_id']}/explain")).json()
    assert explained["agent"] == {"name": "conversation", "forced": True, "scores": {}}


async def test_another_users_session_is_refused_and_stays_as_it_was(system: System) -> None:
    await system.interact("My secret", session_id="mine", user_id="ada")
    assert_problem(await system.interact("Tell me", session_id="mine", user_id="eve"), 403, "forbidden")
    messages = (await system.client.get("/api/sessions/mine/messages")).json()["items"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[0]["content"] == "My secret"


async def test_a_reader_waits_for_the_end_and_no_longer_than_asked(system: System) -> None:
    system.standin.script("openai/gpt-4", {"hold": True})
    asking = asyncio.create_task(system.interact(model="openai/gpt-4", session_id="held"))
    await system.standin.ledger.until_held()
    sent = (await system.client.get("/api/sessions/held/messages")).json()["items"]
    url = f"/api/llm/interactions/{sent[0]['interaction_id']}"
    now = await system.client.get(url)
    assert now.json().keys() == INTERACTION
    assert (now.json()["status"], now.json()["message"], now.json()["response_time_ms"]) == ("in_progress", None, None)
    assert (await system.client.get(f"{url}?wait=0.1")).json()["status"] == "in_progress"
    reading = asyncio.create_task(system.client.get(f"{url}?wait=60"))
    system.standin.release()
    assert (await reading).json() == (await asking).json()


@pytest.mark.parametrize(
    ("body", "query"),
    [
        pytest.param(CHAT, "?model=openai/gpt-4&temperature=0.5&max_tokens=3&user_id=ada", id="an array"),
        pytest.param(
            {"messages": CHAT, "model": "openai/gpt-4", "temperature": 0.5, "max_tokens": 3, "user_id": "ada"},
            "",
            id="an object",
        ),
        pytest.param(
            {"messages": CHAT, "model": "openai/gpt-4", "max_tokens": 3},
            "?model=no/model&temperature=0.5&user_id=ada",
            id="an object that wins over the query",
        ),
    ],
)
async def test_both_forms_of_a_completion_ask_the_model_the_same(system: System, body: Any, query: str) -> None:
    response = await post(system, body, DIRECT + query)
    assert response.status_code == 200, response.text
    reply = response.json()
    assert reply.keys() == COMPLETION
    assert reply["usage"].keys() == USAGE
    assert [attempt.keys() for attempt in reply["attempts"]] == [ATTEMPT]
    assert (reply["model"], reply["finish_reason"]) == ("openai/gpt-4", "length")
    assert response.headers["x-interaction-id"] == reply["interaction_id"]
    explained = (await system.client.get(f"{response.headers['location']}/explain")).json()
    assert (explained["messages"], explained["temperature"], explained["max_tokens"]) == (CHAT, 0.5, 3)
    usage = (await system.client.get("/api/usage?group_by=user&user_id=ada")).json()
    assert [item["key"] for item in usage["items"]] == ["ada"]


async def test_a_completion_without_a_user_is_anonymous(system: System) -> None:
    before = (await system.client.get("/api/usage?user_id=anonymous")).json()["total"]["calls"]
    await post(system, CHAT, DIRECT)
    assert (await system.client.get("/api/usage?user_id=anonymous")).json()["total"]["calls"] == before + 1


async def test_the_model_is_sent_the_parts_as_they_were_written(system: System) -> None:
    parts = [
        {"type": "text", "text": "Look", "cache_control": None},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": None}},
    ]
    messages = [{"role": "developer", "content": "Be brief"}, {"role": "user", "content": parts, "name": "ada"}]
    response = await post(system, messages, DIRECT)
    explained = (await system.client.get(f"{response.headers['location']}/explain")).json()
    assert explained["messages"] == messages


async def test_a_completion_leaves_no_session(system: System) -> None:
    response = await post(system, CHAT, DIRECT)
    view = (await system.client.get(response.headers["location"])).json()
    assert (view["session_id"], view["persona_id"], view["agent"]) == (None, None, None)


# --- what follows a call that broke after text ---


@pytest.mark.parametrize("after_output", ["incomplete", "continue"])
async def test_a_text_that_nobody_finished_is_a_reply_and_says_so(system: System, after_output: str) -> None:
    response = await system.interact(
        model="standin/error-mid-stream",
        fallback_models=[],
        after_output=after_output,
        on_failure="error",
        session_id=f"broken-{after_output}",
    )
    assert response.status_code == 200, response.text
    reply = response.json()
    assert reply.keys() == INTERACTION
    assert (reply["status"], reply["degraded"], reply["finish_reason"]) == ("incomplete", False, None)
    assert reply["message"]
    assert reply["error"]["type"] == reply["attempts"][-1]["error_type"]
    assert (reply["model"], reply["provider"]) == ("standin/error-mid-stream", "openrouter")
    again = (await system.client.get(response.headers["location"])).json()
    settled_later = {"usage", "attempts"}  # what the broken calls cost
    assert {name: again[name] for name in again.keys() - settled_later} == {
        name: reply[name] for name in reply.keys() - settled_later
    }
    spoken = (await system.client.get(f"/api/sessions/broken-{after_output}/messages")).json()["items"]
    assert [(message["content"], message["status"]) for message in spoken] == [
        ("Hello", "incomplete"),
        (reply["message"], "incomplete"),
    ]


async def test_by_default_a_broken_text_is_forgotten_and_another_model_asked(system: System) -> None:
    reply = (await system.interact(model="standin/error-mid-stream", fallback_models=["openai/gpt-4"])).json()
    assert (reply["status"], reply["model"]) == ("completed", "openai/gpt-4")
    explained = (await system.client.get(f"/api/llm/interactions/{reply['interaction_id']}/explain")).json()
    assert (explained["plan"]["after_output"], explained["plan"]["after_output_from"]) == ("restart", "default")
    assert [said["attempt"] for said in explained["partials"]] == [1, 2, 3]
    assert {said["text"][:11] for said in explained["partials"]} == {"Cherry here"}
