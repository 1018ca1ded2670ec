"""The service in one process, with a Temporal that does as a test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from api.service import InteractionService
from api.waiting import Waits
from core.orchestrator.application import Application
from core.orchestrator.config import Settings
from core.orchestrator.contracts import (
    CompletionRequest,
    InteractionRequest,
    InteractionStatus,
)
from core.orchestrator.errors import WorkflowServiceUnavailableError
from core.orchestrator.events import EventBus
from core.orchestrator.interactions.following import ReplyFollower
from core.orchestrator.interactions.opening import Opening
from core.orchestrator.interactions.store import Ending
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.runs import RunState
from core.orchestrator.storage.database import open_database
from tests.core.orchestrator.agents.personas import persona
from tests.core.orchestrator.domain import FakeRuns, new_id, request

NOW = timedelta(0)
NEVER = timedelta(days=1)
DONE = Ending(InteractionStatus.COMPLETED, reply="Hi")


@dataclass
class ScriptedRuns(FakeRuns):
    """A Temporal that can be away."""

    away: bool = False
    started: list[str] = field(default_factory=list)
    was_cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    asked_at: list[float] = field(default_factory=list)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    def _answer(self) -> None:
        if self.away:
            raise WorkflowServiceUnavailableError("Temporal does not answer")

    async def start(self, asked: InteractionRequest | CompletionRequest) -> None:
        self._answer()
        self.started.append(asked.interaction_id)
        self.states[f"interaction-{asked.interaction_id}"] = RunState.RUNNING

    async def state(self, workflow_id: str) -> RunState:
        self.asked_at.append(monotonic())
        self.was_asked.set()
        await self.may_answer.wait()
        self._answer()
        return await super().state(workflow_id)

    async def cancel(self, workflow_id: str) -> None:
        self._answer()
        await super().cancel(workflow_id)
        self.was_cancelled.set()


@dataclass
class House:
    """The service on a database of its own."""

    application: Application
    runs: ScriptedRuns
    told: list[str]

    def service(self, first_look: timedelta = NEVER, waits: Waits | None = None) -> InteractionService:
        runs: Any = self.runs
        return InteractionService(self.application, runs, self.follower, waits or self.waits(first_look))

    def waits(self, first_look: timedelta = NEVER) -> Waits:
        settlement = self.application.settlement(self.runs)
        return Waits(self.follower, settlement, first_look=first_look, rarely=NEVER, once_more=NOW)

    @property
    def follower(self) -> ReplyFollower:
        return ReplyFollower(self.application.database)

    async def opened(self) -> str:
        asked = request(session_id=new_id())
        await self.application.store.open_turn(asked, Opening(watched=True))
        self.runs.states[f"interaction-{asked.interaction_id}"] = RunState.RUNNING
        return asked.interaction_id

    async def end(self, interaction_id: str) -> None:
        await self.application.store.end(interaction_id, DONE)


@asynccontextmanager
async def house_in(directory: Path) -> AsyncIterator[House]:
    """A house with a database in a folder."""
    database = open_database(directory / "orchestrator.db")
    await database.migrate()
    events = EventBus()
    told: list[str] = []
    events.subscribe("interaction.created", lambda event: told.append(event.interaction_id))
    settings = Settings(_env_file=None, DATA_DIR=directory)
    yield House(Application(settings, database, PersonaLibrary([persona()]), events=events), ScriptedRuns(), told)
    await database.close()
