"""Who may do what: every route of the app, with every kind of caller."""

from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import pytest

from api.access import RULES
from core.orchestrator.access.caller import Scope
from tests.api.keyed import KEYS, OPEN, Keyed, address, bearer, keyed_in
from tests.api.talk import CHAT, INTERACT, assert_problem
from tests.api.v1.talk import assert_error

GUARDED: dict[str, tuple[Scope, int, int]] = {
    # The scope, what it brings the one whose things it is about, and what the key of another user.
    "POST /api/llm/interact": (Scope.INTERACT, 202, 403),
    "POST /api/llm/direct": (Scope.INTERACT, 202, 403),
    "POST /api/llm/interactions/{interaction_id}/cancel": (Scope.INTERACT, 200, 404),
    "DELETE /api/sessions/{session_id}": (Scope.INTERACT, 204, 404),
    "DELETE /api/users/{user_id}": (Scope.INTERACT, 204, 403),
    "GET /api/llm/interactions": (Scope.READ, 200, 403),
    "GET /api/llm/interactions/{interaction_id}": (Scope.READ, 200, 404),
    "GET /api/llm/interactions/{interaction_id}/stream": (Scope.READ, 200, 404),
    "GET /api/llm/interactions/{interaction_id}/explain": (Scope.READ, 200, 404),
    "GET /api/sessions": (Scope.READ, 200, 403),
    "GET /api/sessions/{session_id}/messages": (Scope.READ, 200, 404),
    "GET /api/personas": (Scope.READ, 200, 200),
    "GET /api/personas/{persona_id}": (Scope.READ, 200, 200),
    "GET /api/agents": (Scope.READ, 200, 200),
    "GET /api/models": (Scope.READ, 200, 200),
    "GET /api/usage": (Scope.READ, 200, 403),
    "GET /v1/models": (Scope.READ, 200, 200),
    "GET /v1/models/{model}": (Scope.READ, 200, 200),
    "POST /v1/chat/completions": (Scope.INTERACT, 404, 404),  # for its persona: nothing here would end it
    "POST /v1/responses": (Scope.INTERACT, 404, 404),
    "POST /v1/responses/{response_id}/cancel": (Scope.INTERACT, 200, 404),
    "GET /v1/responses/{response_id}": (Scope.READ, 200, 404),
    "GET /metrics": (Scope.ADMIN, 200, 403),
    "POST /codec/encode": (Scope.ADMIN, 200, 403),
    "POST /codec/decode": (Scope.ADMIN, 200, 403),
}
"""What the contract says, written down once more: else the table of the code would be compared with itself."""
TAKES_ADMIN_UNBOUND = {"DELETE /api/users/{user_id}"}

NAMES_A_USER = {"GET /api/llm/interactions", "GET /api/sessions", "GET /api/usage"}
BODIES: dict[str, Any] = {
    "POST /api/llm/interact": {"message": "Hello", "user_id": "alice", "background": True},
    "POST /api/llm/direct": {"messages": CHAT, "user_id": "alice", "background": True},
    "POST /v1/chat/completions": {"model": "nobody", "messages": CHAT},
    "POST /v1/responses": {"model": "nobody", "input": "Hello"},
    "POST /codec/encode": {"payloads": []},
    "POST /codec/decode": {"payloads": []},
}

_ADMIN = KEYS["admin"].key
NO_KEYS = {
    "none": [],
    "a scheme alone": ["Bearer"],
    "a scheme and a blank": ["Bearer "],
    "a key alone": [_ADMIN],
    "another scheme": [f"Basic {_ADMIN}"],
    "no blank": [f"Bearer{_ADMIN}"],
    "a tab": [f"Bearer\t{_ADMIN}"],
    "more behind it": [f"Bearer {_ADMIN} x"],
    "more before it": [f"Bearer x {_ADMIN}"],
    "a comma": [f"Bearer {_ADMIN},"],
    "quotes": [f'Bearer "{_ADMIN}"'],
    "a key cut off": [f"Bearer {_ADMIN[:-1]}"],
    "a key and more": [f"Bearer {_ADMIN}A"],
    "the hash": [f"Bearer {KEYS['admin'].entry.digest}"],
    "the entry": [f"Bearer {KEYS['admin'].entry}"],
    "a key nobody made": ["Bearer ork_" + "A" * 43],
    "no ASCII": ["Bearer " + "é" * 47],
    "very long": ["Bearer " + "x" * 20_000],
    "twice": [f"Bearer {_ADMIN}"] * 2,
    "two": [f"Bearer {_ADMIN}", "Bearer x"],
}
"""What is no key, however close to one."""
_numbers = count()


async def _status(keyed: Keyed, route: str, caller: str) -> int:
    """Ask a route for something new of Alice's, as one who knows all about it."""
    session_id = f"alices-{next(_numbers)}"
    interaction_id = await keyed.ended("alice", session_id)
    method, path = address(route, interaction_id=interaction_id, session_id=session_id)
    parameters = {"user_id": "alice"} if route in NAMES_A_USER else {}
    return (await keyed.ask(caller, method, path, params=parameters, json=BODIES.get(route))).status_code


# --- the door ---


def test_every_route_has_a_rule_and_every_rule_a_route(keyed: Keyed) -> None:
    routes = set(keyed.routes)
    assert routes == OPEN | GUARDED.keys(), "say here, too, who may use it"
    assert RULES.keys() == routes - {"HEAD /openapi.json"}


@pytest.mark.parametrize("sent", NO_KEYS.values(), ids=NO_KEYS)
async def test_without_a_key_every_route_says_the_same(keyed: Keyed, sent: list[str]) -> None:
    headers = [(b"Authorization", value.encode()) for value in sent]
    for route in keyed.guarded:
        method, path = address(route)
        response = await keyed.client.request(method, path, headers=headers, json=BODIES.get(route))
        if path.startswith("/v1/"):
            said = assert_error(response, 401, "invalid_api_key")["message"]
        else:
            said = assert_problem(response, 401, "unauthorized")["detail"]
        assert response.headers["www-authenticate"] == "Bearer"
        assert said == "send a key of this service: Authorization: Bearer KEY"


@pytest.mark.parametrize("blanks", ["", " ", "  "])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_may_be_written_as_one_likes(keyed: Keyed, scheme: str, blanks: str) -> None:
    headers = {"authorization": f"{scheme} {blanks}{_ADMIN}"}
    assert (await keyed.client.get("/api/personas", headers=headers)).status_code == 200


async def test_a_stranger_learns_of_nothing_else(keyed: Keyed) -> None:
    for method, path, more in (
        ("GET", "/api/nothing", {}),
        ("GET", "/no/such/place", {}),
        ("OPTIONS", INTERACT, {}),
        ("POST", "/healthz", {}),
        ("DELETE", "/docs", {}),
        ("PUT", INTERACT, {}),
        ("POST", INTERACT, {"content": b"{", "headers": {"content-type": "application/json"}}),
        ("POST", INTERACT, {"content": b"x", "headers": {"content-type": "text/plain"}}),
        ("POST", INTERACT, {"content": b"x" * (1024 * 1024 + 1), "headers": {"content-type": "application/json"}}),
        ("POST", INTERACT, {"json": {"colour": "red"}}),
        ("GET", "/api/usage?colour=red", {}),
        ("GET", "/api/usage?from=never", {}),
    ):
        assert_problem(await keyed.ask(None, method, path, **more), 401, "unauthorized")
        assert (await keyed.ask("admin", method, path, **more)).status_code not in (200, 401, 403), (method, path)


async def test_nothing_of_a_body_is_read_for_a_stranger_nor_for_one_who_may_not(keyed: Keyed) -> None:
    async def receive() -> NoReturn:
        raise AssertionError("it was read")

    for headers, status in (({}, 401), (bearer("read"), 403)):
        sent: list[Any] = []

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": INTERACT, "raw_path": INTERACT.encode(), "headers": raw}
        await keyed.app(scope | {"query_string": b"", "http_version": "1.1", "scheme": "http"}, receive, send)
        assert sent[0]["status"] == status


@pytest.mark.filterwarnings("ignore:open_binary is deprecated:DeprecationWarning")  # in fastapi_swagger
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nonsense"}, bearer("bob")])
async def test_what_is_open_asks_nobody(keyed: Keyed, headers: dict[str, str]) -> None:
    for route in OPEN:
        method, path = route.split(" ")
        assert (await keyed.client.request(method, path, headers=headers)).status_code in (200, 307), route


# --- scopes ---


@pytest.mark.parametrize("caller", ["interact", "read", "both", "admin"])
async def test_a_key_opens_what_its_scopes_say_and_no_more(keyed: Keyed, caller: str) -> None:
    scopes = KEYS[caller].entry.scopes
    for route in keyed.guarded:
        scope, allowed, _ = GUARDED[route]
        needed = Scope.ADMIN if route in TAKES_ADMIN_UNBOUND else scope
        expected = allowed if {needed, Scope.ADMIN} & scopes else 403
        assert await _status(keyed, route, caller) == expected, route


async def test_a_bound_key_gets_its_own(keyed: Keyed) -> None:
    for route in keyed.guarded:
        scope, own, _ = GUARDED[route]
        assert await _status(keyed, route, "alice") == (403 if scope is Scope.ADMIN else own), route
        assert await _status(keyed, route, "alice-read") == (own if scope is Scope.READ else 403), route


async def test_a_bound_key_gets_nothing_of_anothers(keyed: Keyed) -> None:
    for route in keyed.guarded:
        assert await _status(keyed, route, "bob") == GUARDED[route][2], route


async def test_a_refusal_says_which_scope_it_takes(keyed: Keyed) -> None:
    problem = assert_problem(
        await keyed.ask("read", "POST", INTERACT, json=BODIES["POST " + INTERACT]), 403, "forbidden"
    )
    assert problem["detail"] == "this takes a key with the scope 'interact'"


# --- the description ---


async def test_the_description_says_what_takes_a_key(keyed: Keyed) -> None:
    for _ in range(2):
        description = (await keyed.client.get("/openapi.json")).json()
        assert description["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
        for path, operations in description["paths"].items():
            for method, operation in operations.items():
                route = f"{method.upper()} {path}"
                if route in OPEN:
                    assert "security" not in operation
                    continue
                assert operation["security"] == [{"key": []}]
                assert {"401", "403"} <= operation["responses"].keys()
                told = f"Takes a key with the scope `{GUARDED[route][0]}`."
                assert operation["description"].count(told) == 1


# --- without keys ---


async def test_where_no_keys_are_set_nobody_is_asked(tmp_path: Path) -> None:
    async with keyed_in(tmp_path, keys=False) as keyed:
        for route in keyed.guarded:
            for caller in (None, "bob"):
                session_id = f"alices-{next(_numbers)}"
                interaction_id = await keyed.ended("alice", session_id)
                method, path = address(route, interaction_id=interaction_id, session_id=session_id)
                parameters = {"user_id": "alice"} if route in NAMES_A_USER else {}
                response = await keyed.ask(caller, method, path, params=parameters, json=BODIES.get(route))
                assert response.status_code == GUARDED[route][1], (route, response.text)
        description = (await keyed.client.get("/openapi.json")).json()
        assert description["paths"]["/api/personas"]["get"]["security"] == [{"key": []}, {}]
