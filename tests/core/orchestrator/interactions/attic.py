"""What is kept of users and sessions, who clears it, and what is left where."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.calls.reconciliation import Reconciliation
from core.orchestrator.contracts import (
    InteractionStatus,
    PlannedCall,
    Usage,
)
from core.orchestrator.errors import (
    LLMProviderServiceError,
    WorkflowServiceUnavailableError,
)
from core.orchestrator.events import EVERY_EVENT, EventBus, InteractionEvent, TextDelta
from core.orchestrator.interactions.erasing import Erasure
from core.orchestrator.interactions.results import Results
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import interactions, metadata
from core.orchestrator.usage import GroupBy, UsageReport, UsageReports
from tests.core.orchestrator.agents.personas import persona
from tests.core.orchestrator.domain import (
    PROMPT,
    QUICK,
    FakeRuns,
    answered,
    begun,
    opened_watched,
)

SECRET = "my cat is called Rumpelstilzchen"
BILL = Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15, cost_usd=0.25)
OTHER = PlannedCall(place=1, provider="openrouter", model="b/model")


@dataclass
class ErasingRuns(FakeRuns):
    """Runs whose deletion a test may refuse, or do something during."""

    refuse: int = 0
    """So many of them are deleted before Temporal is away."""
    meanwhile: list[Callable[[], Awaitable[object]]] = field(default_factory=list)

    async def delete(self, workflow_id: str) -> None:
        while self.meanwhile:
            await self.meanwhile.pop()()
        if self.refuse and len(self.deleted) >= self.refuse:
            raise WorkflowServiceUnavailableError("Temporal does not answer")
        await super().delete(workflow_id)


@dataclass
class Attic:
    """What is kept, and who clears it."""

    database: Database
    store: InteractionStore
    ledger: AttemptLedger
    place: Path | str
    runs: ErasingRuns = field(default_factory=ErasingRuns)
    events: list[InteractionEvent] = field(default_factory=list)

    @property
    def erasure(self) -> Erasure:
        return self.erasure_with(farewell=timedelta(milliseconds=10))

    def erasure_with(self, farewell: timedelta) -> Erasure:
        bus = EventBus()
        bus.subscribe(EVERY_EVENT, self.events.append)
        return Erasure(self.database, self.store, self.runs, bus, farewell=farewell)

    @property
    def reconciliation(self) -> Reconciliation:
        return Reconciliation(self.database, Registry("provider", LLMProvider), self.runs)  # type: ignore[type-abstract]

    @property
    def results(self) -> Results:
        return Results(
            store=self.store,
            ledger=self.ledger,
            personas=PersonaLibrary([persona()]),
            agents=Registry("agent", object),  # type: ignore[arg-type]
            events=EventBus(),
            runs=self.runs,
            reconciliation=self.reconciliation,
        )

    async def turn(self, message: str = SECRET, **fields: str) -> str:
        """A turn with a broken call, an answer and a bill."""
        interaction_id = await opened_watched(self.store, message, **fields)
        await self.store.take_place(interaction_id, 0)
        await self.store.save_prompt(interaction_id, PROMPT, {"said": SECRET}, persona_name="Cherry")
        ordinal = await begun(self.ledger, interaction_id)
        await self.ledger.show(TextDelta(interaction_id=interaction_id, attempt=ordinal, delta=SECRET))
        error = LLMProviderServiceError(SECRET, error_code=SECRET, generation_id=f"gen-{SECRET}", may_be_billed=True)
        await self.ledger.fail(interaction_id, ordinal, error, QUICK, partial=SECRET, estimated_cost_usd=0.5)
        await answered(self.store, self.ledger, interaction_id, SECRET, call=OTHER, usage=BILL)
        return interaction_id

    async def usage(self, group_by: GroupBy = GroupBy.MODEL) -> UsageReport:
        return await UsageReports(self.database).report(group_by)

    async def count(self, status: InteractionStatus | None = None) -> int:
        query = select(func.count()).select_from(interactions)
        if status is not None:
            query = query.where(interactions.c.status == status)
        async with self.database.read() as connection:
            return await connection.scalar(query) or 0

    async def holds(self, text: str) -> list[str]:
        """The tables that hold a text anywhere, and the files of SQLite in which its bytes are left."""
        async with self.database.read() as connection:
            rows = {name: await connection.execute(select(table)) for name, table in metadata.tables.items()}
            found = [name for name, some in rows.items() if any(text in str(row) for row in some)]
        if not isinstance(self.place, Path):
            return found
        files = [self.place, self.place.with_name(f"{self.place.name}-wal")]
        return found + [file.name for file in files if text.encode() in file.read_bytes()]
