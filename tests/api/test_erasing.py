"""Erasing over HTTP: whose it must be, what is there, and what cannot be reached."""

import sqlite3
from contextlib import closing

import pytest

from tests.api.talk import CHAT, DIRECT, assert_problem, post
from tests.harness import System


async def test_a_session_can_be_erased_once_and_begun_anew(system: System) -> None:
    for session_id in ("erased", "kept", "with/slash"):
        await system.interact(user_id="eraser", session_id=session_id)
    for path in ("erased", "with%2Fslash"):
        response = await system.client.delete(f"/api/sessions/{path}")
        assert (response.status_code, response.content) == (204, b"")
        assert_problem(await system.client.delete(f"/api/sessions/{path}"), 404, "not_found")
        assert_problem(await system.client.get(f"/api/sessions/{path}/messages"), 404, "not_found")
    left = (await system.client.get("/api/sessions?user_id=eraser")).json()["items"]
    assert [session["session_id"] for session in left] == ["kept"]
    anew = await system.interact(user_id="somebody else", session_id="erased")
    assert anew.status_code == 200


async def test_a_session_whose_erasure_broke_off_takes_no_message_until_it_is_erased(system: System) -> None:
    session = {"user_id": "eraser-2", "session_id": "half-erased"}
    await system.interact(**session)
    with closing(sqlite3.connect(system.directory / "data" / "orchestrator.db")) as database, database:
        database.execute("UPDATE sessions SET erasing = true WHERE session_id = 'half-erased'")
    for how in ({}, {"stream": True}, {"background": True}, {"multitask_strategy": "rollback"}):
        assert_problem(await system.interact(**session, **how), 409, "session_erasing")
    assert (await system.client.delete("/api/sessions/half-erased")).status_code == 204
    assert (await system.interact(**session)).status_code == 200


async def test_an_erased_interaction_is_not_found_and_its_place_in_a_list_still_is(system: System) -> None:
    older, erased = [
        (await system.interact(user_id="lister-2", session_id=name)).json()["interaction_id"] for name in ("a1", "a2")
    ]
    await system.client.delete("/api/sessions/a2")
    for path in ("", "/explain", "/stream"):
        assert_problem(await system.client.get(f"/api/llm/interactions/{erased}{path}"), 404, "not_found")
    page = await system.client.get("/api/llm/interactions", params={"user_id": "lister-2", "cursor": erased})
    assert [item["interaction_id"] for item in page.json()["items"]] == [older]


async def test_a_user_of_any_name_can_be_erased(system: System) -> None:
    user = "team/ada & more?"
    await system.interact(user_id=user, session_id="adas")
    await post(system, CHAT, f"{DIRECT}?user_id=team/ada%20%26%20more?")
    address = "/api/users/team%2Fada%20%26%20more%3F"
    response = await system.client.delete(address)
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(await system.client.delete(address), 404, "not_found")
    listed = await system.client.get("/api/llm/interactions", params={"user_id": user})
    assert listed.json() == {"items": [], "next_cursor": None}


async def test_another_users_session_is_not_erased(system: System) -> None:
    await system.interact(user_id="ada", session_id="adas-own")
    assert_problem(await system.client.delete("/api/sessions/adas-own?user_id=eve"), 403, "forbidden")
    assert (await system.client.get("/api/sessions/adas-own/messages")).status_code == 200
    assert (await system.client.delete("/api/sessions/adas-own?user_id=ada")).status_code == 204


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("sessions/x?user_id=", "user_id"),
        ("sessions/x?force=true", "force"),
        (f"sessions/{'x' * 129}", "session_id"),
        ("sessions/%00", "session_id"),
        ("users/x?user_id=x", "user_id"),
        (f"users/{'x' * 129}", "user_id"),
        ("users/%00", "user_id"),
    ],
)
async def test_a_wrong_wish_to_erase_is_refused(system: System, path: str, field: str) -> None:
    assert_problem(await system.client.delete(f"/api/{path}"), 422, path=field)


@pytest.mark.parametrize(("path", "allowed"), [("sessions/x", "DELETE"), ("users/x", "DELETE"), ("sessions", "GET")])
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "OPTIONS"])
async def test_what_can_be_erased_allows_nothing_else(system: System, path: str, allowed: str, method: str) -> None:
    response = await system.client.request(method, f"/api/{path}")
    assert (response.status_code, response.headers["allow"]) == (405, allowed)


async def test_messages_cannot_be_erased_without_their_session(system: System) -> None:
    await system.interact(user_id="ada", session_id="spoken")
    response = await system.client.delete("/api/sessions/spoken/messages")
    assert (response.status_code, response.headers["allow"]) == (405, "GET")
    assert (await system.client.get("/api/sessions/spoken/messages")).status_code == 200
