"""Whose things a key reaches: those of its own user, and of nobody else; another's look like none."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from core.orchestrator.contracts import Usage
from core.orchestrator.storage.tables import interactions
from tests.api.keyed import Keyed, address
from tests.api.talk import CHAT, DIRECT, INTERACT, assert_problem
from tests.core.orchestrator.domain import QUICK, begun, completion, new_id, opened, request


async def test_anothers_thing_looks_like_one_that_nobody_has(keyed: Keyed) -> None:
    session_id, interaction_id = "alices-own", await keyed.ended("alice", "alices-own")
    unknown_session, unknown_interaction = "nobodys-one", new_id()
    completion = await keyed.ended_completion("alice")
    for route in keyed.guarded:
        if "{interaction_id}" not in route and "{session_id}" not in route:
            continue
        seen = set()
        for session, interaction in (
            (session_id, interaction_id),
            (session_id, completion),
            (unknown_session, unknown_interaction),
        ):
            method, path = address(route, session_id=session, interaction_id=interaction)
            response = await keyed.ask("bob", method, path)
            individual = ("content-length", "x-request-id")
            headers = {name: value for name, value in response.headers.items() if name not in individual}
            body = response.text.replace(session, "ID").replace(interaction, "ID")
            seen.add((response.status_code, json.dumps(headers), body))
        assert len(seen) == 1, (route, seen)
    lists = [
        await keyed.ask("bob", "GET", "/api/llm/interactions", params={"session_id": session})
        for session in (session_id, unknown_session)
    ]
    assert [response.status_code for response in lists] == [404, 404]
    assert lists[0].json()["detail"].replace(session_id, unknown_session) == lists[1].json()["detail"]


async def test_another_users_key_ends_and_erases_nothing(keyed: Keyed) -> None:
    asked = request(user_id="alice", session_id="alices-open")
    await keyed.house.application.store.open_turn(asked)
    path = f"/api/llm/interactions/{asked.interaction_id}"
    assert_problem(await keyed.ask("bob", "POST", f"{path}/cancel"), 404, "not_found")
    assert_problem(await keyed.ask("bob", "DELETE", "/api/sessions/alices-open"), 404, "not_found")
    assert_problem(await keyed.ask("bob", "DELETE", "/api/users/alice"), 403, "forbidden")
    assert not await keyed.house.application.store.is_cancelling(asked.interaction_id)
    messages = (await keyed.ask("alice", "GET", "/api/sessions/alices-open/messages")).json()
    assert [message["content"] for message in messages["items"]] == ["Hello"]


async def test_a_bound_key_may_leave_its_user_out(keyed: Keyed) -> None:
    carols = {"message": "Hello", "background": True, "session_id": "carols"}
    accepted = await keyed.ask("carol", "POST", INTERACT, json=carols)
    assert accepted.status_code == 202, accepted.text
    made = [accepted.json()["interaction_id"]]
    for named in ({}, {"user_id": "carol"}):
        accepted = await keyed.ask("carol", "POST", DIRECT, json={"messages": CHAT, "background": True, **named})
        made += [accepted.json()["interaction_id"]]
    store = keyed.house.application.store
    assert [await store.owner(interaction_id) for interaction_id in made] == ["carol"] * 3
    await keyed.ended("alice", "not-carols")
    listed = (await keyed.ask("carol", "GET", "/api/llm/interactions")).json()["items"]
    assert [item["interaction_id"] for item in listed] == made[::-1]
    sessions = (await keyed.ask("carol", "GET", "/api/sessions")).json()["items"]
    assert [item["session_id"] for item in sessions] == ["carols"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", INTERACT, {"message": "Hello", "user_id": "alice"}),
        ("POST", DIRECT, {"messages": CHAT, "user_id": "alice"}),
        ("POST", f"{DIRECT}?user_id=alice", {"messages": CHAT}),
        ("POST", f"{DIRECT}?user_id=alice", {"messages": CHAT, "user_id": "bob"}),
        ("POST", f"{DIRECT}?user_id=alice", CHAT),
        ("GET", "/api/llm/interactions?user_id=alice", None),
        ("GET", "/api/llm/interactions?user_id=alice&session_id=bobs", None),
        ("GET", "/api/sessions?user_id=alice", None),
        ("GET", "/api/sessions/bobs/messages?user_id=alice", None),
        ("DELETE", "/api/sessions/bobs?user_id=alice", None),
        ("GET", "/api/usage?user_id=alice", None),
        ("DELETE", "/api/users/alice", None),
        ("DELETE", "/api/users/nobody-at-all", None),
    ],
)
async def test_to_name_another_user_is_refused_whoever_that_is(keyed: Keyed, method: str, path: str, body: Any) -> None:
    problem = assert_problem(await keyed.ask("bob", method, path, json=body), 403, "forbidden")
    assert problem["detail"] == "the key is bound to another user"


async def test_a_session_of_another_takes_no_message(keyed: Keyed) -> None:
    await keyed.ended("alice", "alices-room")
    body = {"message": "Hello", "session_id": "alices-room", "background": True}
    assert_problem(await keyed.ask("bob", "POST", INTERACT, json=body), 403, "forbidden")
    assert (
        len(await keyed.house.application.conversations.transcript("alices-room", user_id=None, after=0, limit=9)) == 2
    )


async def test_a_key_that_is_bound_to_nobody_says_for_whom_it_acts(keyed: Keyed) -> None:
    assert_problem(await keyed.ask("both", "POST", INTERACT, json={"message": "Hello"}), 422, path="user_id")
    assert_problem(await keyed.ask("both", "GET", "/api/sessions"), 422, path="user_id")
    assert_problem(await keyed.ask("both", "GET", "/api/llm/interactions"), 422, path="user_id")
    assert_problem(await keyed.ask("both", "GET", "/api/usage"), 403, "forbidden")
    assert (await keyed.ask("admin", "GET", "/api/usage")).status_code == 200
    accepted = await keyed.ask("both", "POST", DIRECT, json={"messages": CHAT, "background": True})
    assert await keyed.house.application.store.owner(accepted.json()["interaction_id"]) == "anonymous"
    for user in ("dora", "emil"):
        body = {"message": "Hello", "user_id": user, "background": True}
        accepted = await keyed.ask("both", "POST", INTERACT, json=body)
        assert await keyed.house.application.store.owner(accepted.json()["interaction_id"]) == user


async def test_usage_is_that_of_the_keys_user(keyed: Keyed) -> None:
    application = keyed.house.application
    for user in ("alice", "bob"):
        interaction_id = await opened(application.store, user_id=user, session_id=f"{user}-used")
        ordinal = await begun(application.ledger, interaction_id)
        usage = Usage(prompt_tokens=len(user), completion_tokens=0, total_tokens=len(user))
        await application.ledger.succeed(interaction_id, 0, ordinal, completion(usage=usage), QUICK)
    for user in ("alice", "bob"):
        report = (await keyed.ask(user, "GET", "/api/usage", params={"group_by": "user"})).json()
        assert [item["key"] for item in report["items"]] == [user]
        assert report["total"]["total_tokens"] == len(user)


async def test_an_interaction_keeps_the_name_of_its_key(keyed: Keyed) -> None:
    body = {"messages": CHAT, "background": True, "user_id": "fay"}
    made = [(await keyed.ask(who, "POST", DIRECT, json=body)).json()["interaction_id"] for who in ("both", "admin")]
    async with keyed.house.application.database.read() as connection:
        kept = [
            await connection.scalar(select(interactions.c.key_name).where(interactions.c.interaction_id == one))
            for one in made
        ]
    assert kept == ["both", "admin"]


# --- idempotency ---


async def test_the_same_idempotency_key_of_two_users_is_two_interactions(keyed: Keyed) -> None:
    body = {"message": "Hello", "background": True}
    headers = {"Idempotency-Key": "the-same"}
    first, second = [await keyed.ask(who, "POST", INTERACT, json=body, headers=headers) for who in ("alice", "bob")]
    assert first.json()["interaction_id"] != second.json()["interaction_id"]
    assert "idempotency-replayed" not in second.headers


@pytest.mark.parametrize(
    ("path", "body"), [(INTERACT, {"message": "Hello"}), (DIRECT, {"messages": CHAT})], ids=["interact", "direct"]
)
async def test_to_name_the_keys_own_user_changes_nothing(keyed: Keyed, path: str, body: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": f"named or not: {path}"}
    body |= {"background": True}
    named = body | {"user_id": "alice"}
    answers = [
        await keyed.ask(who, "POST", path, json=sent, headers=headers)
        for who, sent in (("alice", body), ("alice", named))
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert len({answer.json()["interaction_id"] for answer in answers}) == 1
    assert answers[1].headers["idempotency-replayed"] == "true"
