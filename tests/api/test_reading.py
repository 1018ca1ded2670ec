"""Reading: why it came out as it did, what was said, who can be talked to."""

import pytest

from tests.api.talk import CHAT, DIRECT, assert_problem, post
from tests.harness import System


@pytest.mark.parametrize("path", ["interactions/nobody", "interactions/nobody?wait=5", "interactions/nobody/explain"])
async def test_an_unknown_interaction_is_not_found(system: System, path: str) -> None:
    assert_problem(await system.client.get(f"/api/llm/{path}"), 404, "not_found")


async def test_an_interaction_is_explained(system: System) -> None:
    await system.interact("My name is Ada", session_id="explained")
    reply = (
        await system.interact(
            "What is my name?",
            session_id="explained",
            model="standin/bad-gateway",
            fallback_models=["openai/gpt-4"],
            max_tokens=50,
        )
    ).json()
    explained = (await system.client.get(f"/api/llm/interactions/{reply['interaction_id']}/explain")).json()
    assert explained["persona"] == {"id": "cherry", "name": "Cherry", "version": reply["persona_version"]}
    assert explained["agent"]["name"] == reply["agent"]
    assert explained["memory"]["used"]["messages"] == 2
    assert explained["memory"]["used"]["first_sequence"] == 1
    assert explained["memory"]["dropped"] == {"messages": 0, "reason": None}
    budget = explained["budget"]
    assert budget["total"] == budget["system"] + budget["memory"] + budget["message"]
    assert budget["memory"] == explained["memory"]["used"]["tokens"] > 0
    plan = explained["plan"]
    assert [call["model"] for call in plan["models"]] == ["standin/bad-gateway", "openai/gpt-4"]
    assert (plan["model_from"], plan["fallbacks_from"], plan["skipped"]) == ("request", "request", [])
    assert (plan["after_output"], plan["after_output_from"]) == ("restart", "default")
    assert [message["role"] for message in explained["messages"]] == ["system", "user", "assistant", "user"]
    assert explained["messages"][-1]["content"] == "What is my name?"
    assert explained["max_tokens"] == 50
    assert (explained["status"], explained["error"]) == (reply["status"], reply["error"])
    assert explained["attempts"] == reply["attempts"]


async def test_dropped_memory_is_explained(own_system: System) -> None:
    await own_system.start_worker(MEMORY_TOKEN_BUDGET="20")
    await own_system.start_api()
    for message in ("The first message, too long to be remembered: " + "so " * 50, "The second"):
        response = await own_system.interact(message, session_id="long")
    explained = (await own_system.client.get(f"{response.headers['location']}/explain")).json()
    assert explained["memory"]["token_budget"] == 20
    assert explained["memory"]["used"]["messages"] == 0
    assert explained["memory"]["dropped"]["messages"] == 2
    assert "20 estimated tokens" in explained["memory"]["dropped"]["reason"]


async def test_a_completion_is_explained_by_its_plan(system: System) -> None:
    response = await post(system, CHAT, DIRECT)
    explained = (await system.client.get(f"{response.headers['location']}/explain")).json()
    assert (explained["persona"], explained["agent"], explained["memory"]) == (None, None, None)
    assert explained["plan"]["model_from"] == "setting"
    assert explained["messages"] == CHAT


async def test_a_transcript_comes_page_by_page(system: System) -> None:
    for number in range(3):
        await system.interact(f"Message {number}", session_id="pages", user_id="ada")
    url = "/api/sessions/pages/messages"
    whole = (await system.client.get(url)).json()
    assert whole["next_cursor"] is None
    assert [message["sequence"] for message in whole["items"]] == [1, 2, 3, 4, 5, 6]
    assert [message["role"] for message in whole["items"]] == ["user", "assistant"] * 3
    assert whole["items"][0].keys() == {"sequence", "role", "content", "status", "interaction_id", "created_at"}
    items, cursor, pages = [], "0", 0
    while cursor is not None:
        page = (await system.client.get(url, params={"cursor": cursor, "limit": 4, "user_id": "ada"})).json()
        items += page["items"]
        cursor = page["next_cursor"]
        pages += 1
    assert (items, pages) == (whole["items"], 2)
    exactly = (await system.client.get(url, params={"limit": 6})).json()
    assert exactly == whole


async def test_another_users_transcript_is_refused(system: System) -> None:
    await system.interact(session_id="private", user_id="ada")
    response = await system.client.get("/api/sessions/private/messages?user_id=eve")
    assert_problem(response, 403, "forbidden")
    assert_problem(await system.client.get("/api/sessions/nobodys/messages"), 404, "not_found")


async def test_the_personas_are_listed_and_shown(system: System) -> None:
    listed = (await system.client.get("/api/personas")).json()
    assert [item["id"] for item in listed["items"]] == ["cherry", "karen", "sophia"]
    assert listed["next_cursor"] is None
    for item in listed["items"]:
        shown = (await system.client.get(f"/api/personas/{item['id']}")).json()
        assert item.items() <= shown.items()
        assert shown["fallback_line"]
        assert shown["traits"]
        assert shown["after_output"] is None
    assert_problem(await system.client.get("/api/personas/nobody"), 404, "not_found")


async def test_the_agents_are_listed(system: System) -> None:
    listed = (await system.client.get("/api/agents")).json()
    assert "conversation" in [agent["name"] for agent in listed["items"]]
    assert all(agent["description"] for agent in listed["items"])
