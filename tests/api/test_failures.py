"""When no model answers: the persona's line, or a problem whose status says whose turn it is to act."""

import pytest

from tests.api.talk import CHAT, DIRECT, assert_problem, post
from tests.harness import System

FAILURES = [
    ("unauthorized", 502, "authentication"),
    ("no-credit", 502, "credit"),
    ("moderated", 502, "moderation"),
    ("rate-limited-long", 429, "rate_limit"),
    ("unknown-model", 503, "model_not_found"),
    ("down", 503, "unavailable"),
]


@pytest.mark.parametrize(("fault", "status", "error_type"), FAILURES)
async def test_an_error_that_was_asked_for_says_who_must_act(
    system: System, fault: str, status: int, error_type: str
) -> None:
    response = await system.interact(model=f"standin/{fault}", fallback_models=[], on_failure="error")
    _assert_failed(response.json(), dict(response.headers), status)
    found = assert_problem(response, status, error_type)
    view = (await system.client.get(f"/api/llm/interactions/{found['interaction_id']}")).json()
    assert (view["status"], view["message"], view["error"]["type"]) == ("failed", None, error_type)


@pytest.mark.parametrize(("fault", "status", "error_type"), FAILURES)
async def test_a_failed_completion_is_a_problem(system: System, fault: str, status: int, error_type: str) -> None:
    response = await post(system, {"messages": CHAT, "model": f"standin/{fault}", "fallback_models": []}, DIRECT)
    _assert_failed(response.json(), dict(response.headers), status)
    assert_problem(response, status, error_type)


def _assert_failed(problem: dict[str, str], headers: dict[str, str], status: int) -> None:
    assert headers["x-interaction-id"] == problem["interaction_id"]
    assert ("retry-after" in headers) == (status in (429, 503))
    assert int(headers.get("retry-after", "1")) > 0
    assert "sk-or-" not in str(problem)


async def test_a_deadline_that_passed_is_a_504(own_system: System) -> None:
    await own_system.start_worker(INTERACTION_DEADLINE_SECONDS="1")
    await own_system.start_api()
    response = await own_system.interact(model="standin/silent", on_failure="error")
    assert_problem(response, 504, "timeout")


async def test_by_default_the_persona_says_that_it_cannot_answer(system: System) -> None:
    response = await system.interact(model="standin/unauthorized", session_id="sorry")
    reply = response.json()
    persona = (await system.client.get("/api/personas/cherry")).json()
    assert (response.status_code, reply["status"], reply["degraded"]) == (200, "failed", True)
    assert reply["message"] == persona["fallback_line"]
    assert (reply["error"]["type"], reply["model"], reply["finish_reason"]) == ("authentication", None, None)


async def test_the_line_is_shown_and_part_of_no_later_prompt(system: System) -> None:
    line = (await system.interact("One", model="standin/unauthorized", session_id="later")).json()["message"]
    second = await system.interact("Two", session_id="later")
    explained = (await system.client.get(f"{second.headers['location']}/explain")).json()
    assert [message["content"] for message in explained["messages"][1:]] == ["One", "Two"]
    transcript = (await system.client.get("/api/sessions/later/messages")).json()["items"]
    assert [(message["role"], message["status"]) for message in transcript] == [
        ("user", "failed"),
        ("assistant", "failed"),
        ("user", "completed"),
        ("assistant", "completed"),
    ]
    assert transcript[1]["content"] == line
