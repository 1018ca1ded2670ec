"""One system for all clients: it asks for a key, as one that strangers' front ends talk to would."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.orchestrator.access.caller import Scope
from core.orchestrator.access.keys import create_key
from standin import StandIn
from tests.clients.words import breaks_off
from tests.harness import ROOT, System

KEY = create_key("clients", frozenset({Scope.INTERACT, Scope.READ}))
"""Bound to no user: it may speak for any."""
ALICE = create_key("alice", frozenset({Scope.INTERACT, Scope.READ}), "alice")

MODEL = "openai/gpt-3.5-turbo"
"""What the shipped personas ask."""
BREAKING_OFF = "standin/breaking-off"
FALLBACK = "openai/gpt-4o"
PERSONAS = {
    "stumbling": {"model": "standin/no-endpoints", "fallback_models": f"[{FALLBACK}]"},
    "breaking": {"model": BREAKING_OFF, "fallback_models": f"[{FALLBACK}]"},
    "popular": {"model": "standin/rate-limited-long", "fallback_models": "[]"},
}
"""Besides the shipped ones: their models fail before the first word, in the middle of a reply, or all and for long."""
_MOST_BREAKS = 10
_SECONDS = 20


@dataclass
class Front:
    """What a client is told, and what it cannot see."""

    system: System
    standin: StandIn

    @property
    def base_url(self) -> str:
        return f"{self.system.url}/v1"

    @property
    def key(self) -> str:
        return str(KEY.key)

    def reset(self) -> None:
        """Have the stand-in forget what was before, and know how to break off."""
        self.standin.reset()
        self.standin.script(BREAKING_OFF, *[breaks_off()] * _MOST_BREAKS)

    async def in_pieces(self, texts: AsyncIterator[str]) -> list[str]:
        """Read a reply whose model falls silent after three words, until somebody has read some of them."""
        self.standin.script(MODEL, {"hold": True, "after": 3})
        pieces = []
        async with asyncio.timeout(_SECONDS):
            async for text in texts:
                if text:
                    pieces.append(text)
                    self.standin.release()
        return pieces

    async def until_spoken(self, model: str) -> None:
        """Return when a model has said all it had to say."""
        async with asyncio.timeout(_SECONDS):
            await self.standin.ledger.until(
                lambda ledger: any(call.model == model and call.outcome == "completed" for call in ledger.calls)
            )

    async def get(self, path: str, **query: str) -> Any:
        """Read our own API."""
        response = await self.system.client.get(path, params=query)
        assert response.is_success, response.text
        return response.json()

    async def sessions(self, user_id: str) -> list[dict[str, Any]]:
        """A user's sessions, oldest first."""
        found: list[dict[str, Any]] = (await self.get("/api/sessions", user_id=user_id))["items"]
        return sorted(found, key=lambda session: session["created_at"])

    async def transcript(self, session_id: str, user_id: str) -> list[tuple[str, str]]:
        """What a session holds, as role and text."""
        page = await self.get(f"/api/sessions/{session_id}/messages", user_id=user_id)
        return [(message["role"], message["content"]) for message in page["items"]]

    async def interaction(self, some_id: str) -> dict[str, Any]:
        """The interaction behind an id of OpenAI's APIs, once it has ended."""
        interaction_id = some_id.partition("-" if some_id.startswith("chatcmpl-") else "_")[2]
        found: dict[str, Any] = await self.get(f"/api/llm/interactions/{interaction_id}", wait="20")
        return found


def _write_personas(directory: Path) -> Path:
    directory.mkdir()
    for shipped in (ROOT / "personas").glob("*.yaml"):
        (directory / shipped.name).write_text(shipped.read_text())
    for name, plan in PERSONAS.items():
        fields = {
            "id": name,
            "name": name.capitalize(),
            "description": "somebody with a bad day.",
            "fallback_line": "Not now.",
        }
        lines = [f"{field}: {value}" for field, value in {**fields, **plan}.items()]
        (directory / f"{name}.yaml").write_text("\n".join(lines))
    return directory


@pytest.fixture(scope="session")
async def running_front(temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    """An API and a worker for all tests of this folder."""
    directory = tmp_path_factory.mktemp("clients")
    async with StandIn() as standin:
        system = System(
            temporal_address,
            standin,
            directory,
            API_KEYS=f"{KEY.entry},{ALICE.entry}",
            PERSONAS_DIR=str(_write_personas(directory / "personas")),
            LLM_COOLDOWN_AFTER_FAILURES="0",
        )
        system.client.headers["Authorization"] = f"Bearer {KEY.key}"
        try:
            await system.start()
            yield Front(system, standin)
        finally:
            await system.stop()


@pytest.fixture
def front(running_front: Front) -> Front:
    """The same, with a stand-in that has forgotten the test before."""
    running_front.reset()
    return running_front
