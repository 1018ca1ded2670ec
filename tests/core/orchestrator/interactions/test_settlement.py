from dataclasses import dataclass

import pytest

from core.orchestrator.agents.base import Agent
from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.calls.reconciliation import Reconciliation
from core.orchestrator.contracts import InteractionStatus
from core.orchestrator.errors import ErrorType, UnknownResourceError
from core.orchestrator.events import EventBus
from core.orchestrator.interactions.results import Results
from core.orchestrator.interactions.settlement import Settlement
from core.orchestrator.interactions.store import Ending, InteractionStore
from core.orchestrator.memory.conversations import Conversations
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry
from core.orchestrator.runs import START_TIMEOUT, RunState
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.agents.personas import persona
from tests.core.orchestrator.domain import (
    ANY_BUDGET,
    CALL,
    PROMPT,
    QUICK,
    FakeRuns,
    SettableClock,
    begun,
    completion,
    opened,
)


@dataclass
class Court:
    store: InteractionStore
    runs: FakeRuns
    clock: SettableClock
    settlement: Settlement
    interaction_id: str

    def runs_as(self, state: RunState) -> None:
        self.runs.states[f"interaction-{self.interaction_id}"] = state

    async def settle(self) -> bool:
        return await self.settlement.settle_if_gone(self.interaction_id)

    async def outcome(self) -> tuple[InteractionStatus, ErrorType | None]:
        view = await self.store.view(self.interaction_id)
        return view.status, view.error and view.error.type


@pytest.fixture
async def court(database: Database) -> Court:
    clock = SettableClock()
    store = InteractionStore(database, clock)
    runs = FakeRuns()
    results = Results(
        store=store,
        ledger=AttemptLedger(database),
        personas=PersonaLibrary([persona()]),
        agents=Registry("agent", Agent),  # type: ignore[type-abstract]
        events=EventBus(),
        runs=runs,
        reconciliation=Reconciliation(database, Registry("provider", LLMProvider), runs),  # type: ignore[type-abstract]
    )
    return Court(
        store, runs, clock, Settlement(store, AttemptLedger(database), results, runs, clock), await opened(store)
    )


async def test_a_turn_whose_workflow_runs_is_left_alone(court: Court) -> None:
    court.runs_as(RunState.RUNNING)
    court.clock.advance(days=1)
    assert not await court.settle()
    assert await court.outcome() == (InteractionStatus.QUEUED, None)


async def test_a_turn_may_take_its_time_to_be_started(court: Court) -> None:
    court.clock.advance(seconds=START_TIMEOUT.total_seconds() + 1.9)
    assert not await court.settle()
    assert await court.outcome() == (InteractionStatus.QUEUED, None)


async def test_a_turn_that_was_never_started_is_abandoned(court: Court, conversations: Conversations) -> None:
    court.clock.advance(seconds=START_TIMEOUT.total_seconds() + 2)
    assert await court.settle()
    assert court.runs.asked == [f"interaction-{court.interaction_id}"]
    assert await court.outcome() == (InteractionStatus.FAILED, ErrorType.UNAVAILABLE)
    assert await conversations.transcript("s1", user_id="ada", after=0, limit=10) == []


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (RunState.CANCELLED, (InteractionStatus.CANCELLED, ErrorType.CANCELLED)),
        (RunState.CLOSED, (InteractionStatus.FAILED, ErrorType.UNAVAILABLE)),
    ],
)
async def test_a_turn_whose_workflow_was_ended_from_outside_ends(
    court: Court,
    conversations: Conversations,
    state: RunState,
    outcome: tuple[InteractionStatus, ErrorType | None],
) -> None:
    court.runs_as(state)
    assert await court.settle()
    assert await court.outcome() == outcome
    said = [line.content for line in await conversations.transcript("s1", user_id="ada", after=0, limit=10)]
    assert said[0] == "Hello", "it was accepted"
    assert said[1:] == ([persona().fallback_line] if outcome[0] is InteractionStatus.FAILED else [])


@pytest.mark.parametrize("state", list(RunState))
async def test_an_ending_that_the_store_has_stays(court: Court, state: RunState) -> None:
    ended = await court.store.end(court.interaction_id, Ending(InteractionStatus.COMPLETED, reply="Hi"))
    court.runs_as(state)
    court.clock.advance(days=1)
    await court.settle()
    assert await court.store.view(court.interaction_id) == ended.view


async def test_nobody_waits_for_a_settled_turn(court: Court) -> None:
    following = await opened(court.store)
    court.runs_as(RunState.CLOSED)
    assert (await court.store.take_place(following, ANY_BUDGET)).waiting_on == court.interaction_id
    await court.settle()
    assert court.runs.freed == [f"interaction-{following}"]
    assert (await court.store.take_place(following, ANY_BUDGET)).waiting_on is None


async def test_what_nobody_opened_cannot_be_settled(court: Court) -> None:
    court.interaction_id = "none"
    with pytest.raises(UnknownResourceError):
        await court.settle()


async def test_a_turn_deleted_from_temporal_ends_with_the_answer_it_had_paid_for(
    court: Court, ledger: AttemptLedger
) -> None:
    await court.store.save_prompt(court.interaction_id, PROMPT, {})
    ordinal = await begun(ledger, court.interaction_id, CALL, court.clock())
    await ledger.succeed(court.interaction_id, CALL.place, ordinal, completion("Hi there"), QUICK)
    court.clock.advance(days=1)
    assert await court.settle()
    assert (await court.store.view(court.interaction_id)).message == "Hi there"


async def test_a_turn_deleted_from_temporal_before_any_answer_has_the_personas_line(court: Court) -> None:
    await court.store.save_prompt(court.interaction_id, PROMPT, {})
    court.clock.advance(days=1)
    assert await court.settle()
    view = await court.store.view(court.interaction_id)
    assert (view.message, view.degraded) == (persona().fallback_line, True)
