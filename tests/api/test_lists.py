"""Interactions and sessions, listed page by page."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from tests.api.talk import CHAT, DIRECT, assert_problem, post
from tests.harness import System

INTERACTIONS, SESSIONS = "/api/llm/interactions", "/api/sessions"


def cursor_of(*parts: object) -> str:
    return urlsafe_b64encode(json.dumps(parts).encode()).decode()


async def read(system: System, url: str, **parameters: Any) -> dict[str, Any]:
    response = await system.client.get(url, params=parameters)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    assert found.keys() == {"items", "next_cursor"}
    return found


async def test_interactions_come_newest_first_page_by_page_while_others_are_added(system: System) -> None:
    made = [(await system.interact(user_id="lister", session_id=f"listed-{n % 2}")).json() for n in range(4)]
    direct = await post(system, CHAT, f"{DIRECT}?user_id=lister")
    seen, cursor, pages = [], None, 0
    while cursor or not pages:
        page = await read(system, INTERACTIONS, user_id="lister", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += page["items"]
        cursor = page["next_cursor"]
        pages += 1
        await system.interact(user_id="lister", session_id=f"later-{pages}")
    assert seen[0]["interaction_id"] == direct.json()["interaction_id"]
    assert (seen[1:], pages) == (made[::-1], 3)
    of_session = await read(system, INTERACTIONS, session_id="listed-1", user_id="lister")
    assert of_session == {"items": [made[3], made[1]], "next_cursor": None}
    exactly = await read(system, INTERACTIONS, session_id="listed-1", limit=2)
    assert exactly == of_session


async def test_interactions_are_listed_by_where_they_stand(system: System) -> None:
    done = (await system.interact(user_id="stander")).json()
    failed = (await system.interact(user_id="stander", model="standin/unauthorized", fallback_models=[])).json()
    for status, expected in (("completed", [done]), ("failed", [failed]), ("cancelled", [])):
        assert (await read(system, INTERACTIONS, user_id="stander", status=status))["items"] == expected


async def test_sessions_come_newest_first_page_by_page_while_others_are_added(system: System) -> None:
    names = ["plain", "with/slash", "with ünïcode & more?", "x" * 128]
    for name in names:
        await system.interact(user_id="owner", session_id=name)
    await system.interact(user_id="owner", session_id="plain")
    seen, cursor, pages = [], None, 0
    while cursor or not pages:
        page = await read(system, SESSIONS, user_id="owner", limit=1, **({"cursor": cursor} if cursor else {}))
        seen += page["items"]
        cursor = page["next_cursor"]
        pages += 1
        await system.interact(user_id="owner", session_id=f"later-{pages}")
    assert [session["session_id"] for session in seen] == names[::-1]
    assert [session["turns"] for session in seen] == [1, 1, 1, 2]
    branch = {"conversation_id": None, "forked_from": None, "forked_at": None}
    assert seen[0].keys() == {"session_id", "user_id", "created_at", "turns", *branch}
    assert seen[0] | branch == seen[0]
    assert await read(system, SESSIONS, user_id="nobody") == {"items": [], "next_cursor": None}


async def test_the_messages_of_a_session_with_a_slash_can_be_read(system: System) -> None:
    await system.interact(user_id="slasher", session_id="team/a%b/c")
    spoken = await read(system, f"{SESSIONS}/team%2Fa%25b%2Fc/messages")
    assert [message["role"] for message in spoken["items"]] == ["user", "assistant"]


async def test_a_session_is_listed_for_its_user_alone(system: System) -> None:
    await system.interact(user_id="ada", session_id="ada-only")
    listed = await system.client.get(INTERACTIONS, params={"session_id": "ada-only", "user_id": "eve"})
    assert_problem(listed, 403, "forbidden")
    assert_problem(await system.client.get(INTERACTIONS, params={"session_id": "nobodys"}), 404, "not_found")


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("", "user_id"),
        ("?status=completed", "user_id"),
        ("?user_id=", "user_id"),
        ("?user_id=%00", "user_id"),
        ("?session_id=", "session_id"),
        (f"?session_id={'x' * 129}", "session_id"),
        ("?user_id=ada&status=done", "status"),
        ("?user_id=ada&limit=0", "limit"),
        ("?user_id=ada&limit=201", "limit"),
        ("?user_id=ada&limit=ten", "limit"),
        ("?user_id=ada&cursor=", "cursor"),
        ("?user_id=ada&cursor=5", "cursor"),
        ("?user_id=ada&cursor=0192F0C1-0000-7000-8000-00000000000A", "cursor"),
        ("?user_id=ada&cursor=%7B0192f0c1-0000-7000-8000-00000000000a%7D", "cursor"),
        ("?user_id=ada&page=2", "page"),
        ("?user_id=ada&user_id=eve", "user_id"),
    ],
)
async def test_a_wrong_question_for_interactions_is_refused(system: System, query: str, path: str) -> None:
    assert_problem(await system.client.get(INTERACTIONS + query), 422, path=path)


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("", "user_id"),
        ("?user_id=", "user_id"),
        ("?user_id=ada&limit=0", "limit"),
        ("?user_id=ada&cursor=", "cursor"),
        ("?user_id=ada&cursor=W10", "cursor"),
        *(
            (f"?user_id=ada&cursor={cursor_of(*parts)}", "cursor")
            for parts in (
                [],
                [1, 2],
                ["2026-01-31T12:00:00+00:00", 2],
                ["2026-01-31T12:00:00", "x"],
                ["0001-01-01T00:00:00+14:00", "x"],
                ["2026-01-31T12:00:00+00:00", "\ud800"],
                ["2026-01-31T12:00:00+00:00", "x", "y"],
                ["2026-01-31T12:00:00Z", "x"],
            )
        ),
        ("?user_id=ada&cursor=%C3%BC", "cursor"),
        (f"?user_id=ada&cursor={'W' * 3000}", "cursor"),
        (f"?user_id=ada&cursor={'W1tb' * 450}", "cursor"),
        ("?user_id=ada&session_id=x", "session_id"),
    ],
)
async def test_a_wrong_question_for_sessions_is_refused(system: System, query: str, path: str) -> None:
    assert_problem(await system.client.get(SESSIONS + query), 422, path=path)
