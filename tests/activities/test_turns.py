"""`load_memory` and `store_results`: whose turn it is, on a real store and a Temporal of fakes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.load_memory import LoadMemoryActivity
from activities.store_results import StoreResultsActivity
from core.orchestrator.agents.base import Agent
from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.calls.reconciliation import Reconciliation
from core.orchestrator.contracts import (
    InteractionError,
    InteractionRequest,
    InteractionStatus,
    InteractionView,
    MemoryWindow,
    MultitaskStrategy,
    StoreResults,
)
from core.orchestrator.errors import ErrorType
from core.orchestrator.events import EventBus
from core.orchestrator.interactions.opening import Opening
from core.orchestrator.interactions.results import Results
from core.orchestrator.interactions.settlement import Settlement
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.memory.budget import MemoryBudget
from core.orchestrator.models.catalogue import ModelCatalogue
from core.orchestrator.models.cooldowns import Cooldowns
from core.orchestrator.models.planning import ModelPlanner
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry
from core.orchestrator.runs import RunState
from core.orchestrator.storage.database import open_database
from core.orchestrator.workflow_ids import workflow_id_of
from tests.harness import ROOT


@dataclass
class FakeRuns:
    """The port to Temporal."""

    states: dict[str, RunState] = field(default_factory=dict)
    freed: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    async def state(self, workflow_id: str) -> RunState:
        return self.states.get(workflow_id, RunState.RUNNING)

    async def free_place(self, workflow_id: str) -> None:
        self.freed.append(workflow_id)

    async def reconcile(self, interaction_id: str) -> None:
        pass

    async def cancel(self, workflow_id: str) -> None:
        self.cancelled.append(workflow_id)


@dataclass
class Scene:
    store: InteractionStore
    runs: FakeRuns
    load: LoadMemoryActivity
    results: StoreResultsActivity
    now: datetime = datetime(2026, 1, 31, 12, tzinfo=UTC)

    async def begin(self, name: str) -> MemoryWindow:
        return await ActivityEnvironment().run(self.load.load_memory, _request(name))

    async def end(self, name: str, error_type: ErrorType = ErrorType.UNAVAILABLE) -> InteractionView:
        error = InteractionError(type=error_type, detail="no luck")
        return await ActivityEnvironment().run(
            self.results.store_results, StoreResults(interaction_id=name, error=error)
        )


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    database = open_database(tmp_path / "orchestrator.db")
    await database.migrate()
    runs = FakeRuns()

    def clock() -> datetime:
        return scene.now

    store = InteractionStore(database, clock)
    personas = PersonaLibrary.load(ROOT / "personas")
    results = Results(
        store=store,
        ledger=AttemptLedger(database),
        personas=personas,
        agents=Registry("agent", Agent),
        events=EventBus(),
        runs=runs,
        reconciliation=Reconciliation(database, Registry("provider", LLMProvider), runs),
    )
    providers: Registry[LLMProvider] = Registry("provider", LLMProvider)  # type: ignore[type-abstract]
    planner = ModelPlanner(
        "a/model",
        [],
        providers=providers,
        catalogue=ModelCatalogue(database, providers, timedelta(hours=1), clock),
        cooldowns=Cooldowns(database, 3, timedelta(seconds=30), clock),
    )
    budget = MemoryBudget(1000, planner, personas)
    load = LoadMemoryActivity(store, Settlement(store, AttemptLedger(database), results, runs, clock), budget)
    scene = Scene(store, runs, load, StoreResultsActivity(results))
    yield scene
    await database.close()


NOTHING_SAID_YET = MemoryWindow(budget=1000)


def _request(name: str) -> InteractionRequest:
    return InteractionRequest(
        interaction_id=name, user_id="ada", session_id="s", persona_id="cherry", message=f"I am {name}"
    )


async def test_a_turn_that_the_store_lacks_is_opened_again_from_the_input(scene: Scene) -> None:
    assert await scene.begin("first") == NOTHING_SAID_YET
    assert (await scene.store.view("first")).status is InteractionStatus.QUEUED


async def test_what_has_no_session_waits_for_nobody_and_remembers_nothing(scene: Scene) -> None:
    for name in ("first", "second"):
        asked = _request(name).model_copy(update={"session_id": None, "has_input": True})
        window = await ActivityEnvironment().run(scene.load.load_memory, asked)
        assert (window.waiting_on, window.messages, window.budget) == (None, 0, 0)


async def test_a_turn_waits_for_an_earlier_one_that_runs(scene: Scene) -> None:
    await scene.begin("first")
    assert (await scene.begin("second")).waiting_on == "first"


@pytest.mark.parametrize(
    ("state", "ended"),
    [(RunState.CLOSED, InteractionStatus.FAILED), (RunState.CANCELLED, InteractionStatus.CANCELLED)],
)
async def test_an_earlier_turn_whose_run_is_over_is_settled_and_not_waited_for(
    scene: Scene, state: RunState, ended: InteractionStatus
) -> None:
    await scene.begin("first")
    scene.runs.states[workflow_id_of("first")] = state
    assert (await scene.begin("second")).waiting_on is None
    assert (await scene.store.view("first")).status is ended


async def test_an_earlier_turn_that_was_never_started_is_waited_for_only_while_it_may_still_start(
    scene: Scene,
) -> None:
    await scene.store.open_turn(_request("first"))
    scene.runs.states[workflow_id_of("first")] = RunState.MISSING
    assert (await scene.begin("second")).waiting_on == "first"
    scene.now += timedelta(seconds=10)
    assert (await scene.begin("second")) == NOTHING_SAID_YET


async def test_an_earlier_turn_that_is_to_end_is_cancelled_by_the_one_that_waits_for_it(scene: Scene) -> None:
    await scene.begin("first")
    await scene.store.open_turn(_request("second"), Opening(strategy=MultitaskStrategy.INTERRUPT))
    assert (await scene.begin("second")).waiting_on == "first"
    assert scene.runs.cancelled == [workflow_id_of("first")]


async def test_the_end_of_a_turn_is_told_to_the_next_in_line_alone(scene: Scene) -> None:
    for name in ("first", "second", "third"):
        await scene.store.open_turn(_request(name))
    await scene.end("first")
    assert scene.runs.freed == [workflow_id_of("second")]


async def test_the_first_end_stays_however_often_it_is_stored(scene: Scene) -> None:
    await scene.begin("first")
    ended = await scene.end("first")
    assert (ended.status, ended.degraded) == (InteractionStatus.FAILED, True)
    assert await scene.end("first", ErrorType.CANCELLED) == ended
    assert (await scene.begin("first")).ended


async def test_the_end_of_an_interaction_that_nobody_knows_is_a_final_failure(scene: Scene) -> None:
    with pytest.raises(ApplicationError, match="unknown interaction 'nobody'") as failure:
        await scene.end("nobody")
    assert failure.value.non_retryable
