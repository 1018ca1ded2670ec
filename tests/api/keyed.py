"""A house whose door is guarded: keys for every kind of caller, and a client that sends them."""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from api.app import create_app
from core.orchestrator.access.caller import Scope
from core.orchestrator.access.keys import NewKey, create_key
from core.orchestrator.config import Settings
from core.orchestrator.contracts import CompletionRequest
from core.orchestrator.interactions.opening import Opening
from temporal.client import connect
from tests.api.house import House, house_in
from tests.core.orchestrator.domain import PROMPT, new_id, request
from tests.harness import Process

EVERY_DAY = frozenset({Scope.INTERACT, Scope.READ})
KEYS: dict[str, NewKey] = {
    "interact": create_key("interact", frozenset({Scope.INTERACT})),
    "read": create_key("read", frozenset({Scope.READ})),
    "both": create_key("both", EVERY_DAY),
    "admin": create_key("admin", frozenset({Scope.ADMIN})),
    "alice": create_key("alice", EVERY_DAY, "alice"),
    "alice-read": create_key("alice-read", frozenset({Scope.READ}), "alice"),
    "bob": create_key("bob", EVERY_DAY, "bob"),
    "carol": create_key("carol", EVERY_DAY, "carol"),
}
"""By what they are good for: unbound ones, and those of three users."""


KEY_SETTING = {"API_KEYS": ",".join(str(key.entry) for key in KEYS.values())}


def bearer(name: str | None) -> dict[str, str]:
    """Return the headers of a caller with a key; None: without."""
    return {} if name is None else {"Authorization": f"Bearer {KEYS[name].key}"}


OPEN = {
    "GET /",
    "GET /docs",
    "GET /openapi.json",
    "HEAD /openapi.json",
    "GET /swagger/swagger-ui-bundle.js",
    "GET /swagger/swagger-ui.css",
    "GET /swagger/favicon-32x32.png",
    "GET /healthz",
    "GET /readyz",
}
"""What anybody may see: that the service is there, and what its sources say."""


class _ReadyAtOnce:
    async def check(self) -> dict[str, str]:
        return {"temporal": "ok", "database": "ok", "worker": "ok"}


@dataclass
class Keyed:
    """The API in this process, asking for keys."""

    house: House
    app: FastAPI
    client: httpx.AsyncClient

    @property
    def routes(self) -> list[str]:
        """Every route of the app, by method and path."""
        return [
            f"{method} {route.path_format}"
            for route in iter_route_contexts(self.app.routes)
            for method in sorted(route.methods or ["?"])
        ]

    @property
    def guarded(self) -> list[str]:
        """Those that take a key."""
        return [route for route in self.routes if route not in OPEN]

    async def ask(self, name: str | None, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request with a key."""
        headers = {**bearer(name), **more.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **more)

    async def ended(self, user_id: str, session_id: str) -> str:
        """Hold one turn of a user's, and return its id."""
        asked = request(user_id=user_id, session_id=session_id, persona_id="cherry")
        await self.house.application.store.open_turn(asked, Opening(watched=True))
        await self.house.end(asked.interaction_id)
        return asked.interaction_id

    async def ended_completion(self, user_id: str) -> str:
        """Complete one chat of a user's, and return its id."""
        asked = CompletionRequest(interaction_id=new_id(), user_id=user_id)
        await self.house.application.store.open_completion(asked, PROMPT)
        await self.house.end(asked.interaction_id)
        return asked.interaction_id


@dataclass
class KeyedApi:
    """An API process that asks for keys."""

    process: Process
    client: httpx.AsyncClient

    @property
    def url(self) -> str:
        return str(self.client.base_url).rstrip("/")


def address(route: str, **names: str) -> tuple[str, str]:
    """Return method and path of a route, where its parameters are these, or anything."""
    method, path = route.split(" ")
    anything = {
        "interaction_id": "i",
        "session_id": "s",
        "persona_id": "cherry",
        "user_id": "alice",
        "model": "cherry",
        "response_id": f"resp_{names.get('interaction_id', 'i')}",
    }
    return method, path.format_map(anything | names)


@asynccontextmanager
async def keyed_in(directory: Path, *, keys: bool = True) -> AsyncIterator[Keyed]:
    """A guarded house with a database in a folder; one without `keys` asks nobody."""
    async with house_in(directory) as house:
        entries = [str(key.entry) for key in KEYS.values()] if keys else []
        settings = Settings(
            _env_file=None,
            DATA_DIR=directory,
            API_KEYS=entries,
            TEMPORAL_ADDRESS="127.0.0.1:1",
            PAYLOAD_ENCRYPTION_KEYS={"a": b64encode(bytes(32)).decode()},
        )
        house.application = replace(house.application, settings=settings)
        app = create_app(house.application, await connect(settings, lazy=True))
        app.state.service = house.service()
        app.state.erasure = house.application.erasure(house.runs)
        app.state.readiness = _ReadyAtOnce()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            yield Keyed(house, app, client)
