"""Who may use which route: the table, and the guard at the door that enforces it.

The guard stands before everything else, so that a stranger learns nothing, not even which routes there are, and no body
is read for one. What depends on whose a thing is, is asked by the routes, of the `Caller` they are given.
"""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from api.error_handlers import content_of_errors, error_response
from core.orchestrator.access.caller import EVERYBODY, Caller, Scope
from core.orchestrator.access.keys import KeyRing
from core.orchestrator.errors import KeyRequiredError, NotAllowedError

OPEN = None
"""Nobody is asked for a key."""
_STRANGER = Caller(frozenset())

RULES: dict[str, Scope | None] = {
    "POST /api/llm/interact": Scope.INTERACT,
    "POST /api/llm/direct": Scope.INTERACT,
    "POST /api/llm/interactions/{interaction_id}/cancel": Scope.INTERACT,
    "DELETE /api/sessions/{session_id}": Scope.INTERACT,
    "DELETE /api/users/{user_id}": Scope.INTERACT,  # the key's own user; any other takes `admin`
    "GET /api/llm/interactions": Scope.READ,
    "GET /api/llm/interactions/{interaction_id}": Scope.READ,
    "GET /api/llm/interactions/{interaction_id}/stream": Scope.READ,
    "GET /api/llm/interactions/{interaction_id}/explain": Scope.READ,
    "GET /api/sessions": Scope.READ,
    "GET /api/sessions/{session_id}/messages": Scope.READ,
    "GET /api/personas": Scope.READ,
    "GET /api/personas/{persona_id}": Scope.READ,
    "GET /api/agents": Scope.READ,
    "GET /api/models": Scope.READ,
    "GET /v1/models": Scope.READ,
    "GET /v1/models/{model}": Scope.READ,
    "POST /v1/chat/completions": Scope.INTERACT,
    "POST /v1/responses": Scope.INTERACT,
    "POST /v1/responses/{response_id}/cancel": Scope.INTERACT,
    "GET /v1/responses/{response_id}": Scope.READ,
    "GET /api/usage": Scope.READ,  # of the key's own user, or of one that is named; everybody's takes `admin`
    "GET /metrics": Scope.ADMIN,
    "POST /codec/encode": Scope.ADMIN,
    "POST /codec/decode": Scope.ADMIN,
    "GET /healthz": OPEN,
    "GET /readyz": OPEN,
    # What is written here anybody can read in the sources.
    "GET /": OPEN,
    "GET /docs": OPEN,
    "GET /openapi.json": OPEN,
    "GET /swagger/swagger-ui-bundle.js": OPEN,
    "GET /swagger/swagger-ui.css": OPEN,
    "GET /swagger/favicon-32x32.png": OPEN,
}
"""What a key must be good for, by method and path. A route that is missing here takes `admin`."""

_UNAUTHORIZED = {
    "description": "No key, or none that is known.",
    "headers": {"WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}}},
}
_FORBIDDEN = {"description": "The key does not allow this, or it is another user's."}


class Guard:
    """Lets a request in if its key allows it, and tells the routes who sent it."""

    def __init__(self, app: ASGIApp, front: FastAPI, keys: KeyRing) -> None:
        """Guard `app`, which serves the routes of `front`; without keys everybody may do everything."""
        self._app = app
        self._keys = keys
        self._routes = list(iter_route_contexts(front.routes))

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it before anything of its body is read."""
        if scope["type"] == "http":
            try:
                scope.setdefault("state", {})["caller"] = self._admit(scope)
            except (KeyRequiredError, NotAllowedError) as refusal:
                response = await error_response(Request(scope), refusal)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, scope: ASGIScope) -> Caller:
        if not self._keys:
            return EVERYBODY
        route = next((route for route in self._routes if route.matches(scope)[0] is Match.FULL), None)
        rule = None if route is None else rule_of(scope["method"], route.path_format)
        if route is not None and rule is OPEN:
            return _STRANGER
        caller = self._keys.caller(_key_in(Headers(scope=scope)))
        if caller is None:
            raise KeyRequiredError
        if rule is not None:  # else there is nothing to be had: 404, or 405
            caller.demand(rule)
        return caller


def rule_of(method: str, path: str | None) -> Scope | None:
    """Return what a key must be good for on a route, or `OPEN`."""
    return RULES.get(f"{'GET' if method == 'HEAD' else method} {path}", Scope.ADMIN)


def describe_access(description: dict[str, Any], *, asked_for: bool) -> None:
    """Tell in an OpenAPI description what takes a key; where keys are not `asked_for`, one may be sent all the same."""
    description["components"]["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key that `orchestrator keys create` made; its entry stands in `API_KEYS`.",
        }
    }
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            scope = rule_of(method.upper(), path)
            if scope is OPEN:
                continue
            operation["security"] = [{"key": []}] if asked_for else [{"key": []}, {}]
            operation["description"] += f"\n\nTakes a key with the scope `{scope}`."
            content = {"content": content_of_errors(path)}
            operation["responses"] |= {"401": _UNAUTHORIZED | content, "403": _FORBIDDEN | content}


def _key_in(headers: Headers) -> str:
    """Return the key of a request; empty where it has none, or more than one."""
    found = headers.getlist("authorization")
    scheme, _, key = found[0].partition(" ") if len(found) == 1 else ("", "", "")
    return key.strip(" ") if scheme.lower() == "bearer" else ""
