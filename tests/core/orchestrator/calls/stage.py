"""A whole interaction without Temporal: the plan's order, the caller, the stand-in over sockets, the store's end.

The waits between tries are not waited: they are Temporal's, and what they are is in the attempts.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from core.orchestrator.agents.base import Agent
from core.orchestrator.calls.answers import Progress
from core.orchestrator.calls.calling import ModelCaller
from core.orchestrator.calls.cancelling import Cancellations
from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.calls.reconciliation import Reconciliation
from core.orchestrator.contracts import (
    AfterOutput,
    Attempt,
    CallFailure,
    CallModel,
    InteractionError,
    InteractionView,
    ModelAnswer,
    PlannedCall,
    PromptPlan,
    StoreResults,
    Usage,
)
from core.orchestrator.errors import ErrorType
from core.orchestrator.events import EventBus, TextReset
from core.orchestrator.interactions.results import Results
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.models.cooldowns import Cooldowns
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry
from core.orchestrator.storage.database import Database
from standin import Call, StandIn, reply
from tests.core.orchestrator.agents.personas import persona
from tests.core.orchestrator.domain import NOON, PROMPT, FakeRuns, opened
from workflows.order import Order

FIRST, SECOND = "openai/gpt-4", "openai/gpt-4o"
_WRONG = InteractionError(type=ErrorType.UNAVAILABLE, detail="no model is planned")


def said_by(call: Call, pieces: int | None = None) -> str:
    """What the stand-in said in a call, or its first `pieces` tokens."""
    return "".join(reply.pieces(call.model, call.messages)[:pieces])


def half_of(call: Call) -> str:
    return said_by(call, (len(reply.pieces(call.model, call.messages)) + 1) // 2)


def broken_stream(
    error: Mapping[str, Any], *more: Mapping[str, Any], words: Sequence[str] = ("Once", " upon")
) -> dict[str, Any]:
    """A step of a script: words, more deltas, then an error."""
    chunks = [{"choices": [{"delta": delta}]} for delta in (*({"content": word} for word in words), *more)]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in [*chunks, {"error": error}])
    return {"status": 200, "headers": {"Content-Type": "text/event-stream"}, "body": body}


def estimate(provider: str, model: str, usage: Usage) -> float:
    """A dollar a token."""
    assert usage.prompt_tokens is not None
    assert usage.completion_tokens is not None
    return float(usage.prompt_tokens + usage.completion_tokens)


@dataclass
class Stage:
    database: Database
    standin: StandIn
    provider: LLMProvider
    interaction_id: str = ""
    call_timeout: timedelta = timedelta(seconds=20)
    remaining: timedelta | None = None
    resets: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store, self.ledger = InteractionStore(self.database), AttemptLedger(self.database)
        self.cooldowns = Cooldowns(self.database, 1, timedelta(minutes=1))
        self.providers: Registry[LLMProvider] = Registry("provider", LLMProvider)  # type: ignore[type-abstract]
        self.providers.register("openrouter", lambda: self.provider)
        self.bus = EventBus()
        self.bus.subscribe("text.reset", self._note_reset)

    def _note_reset(self, event: Any) -> None:
        assert isinstance(event, TextReset)
        self.resets.append(event.attempt)

    @property
    def asked(self) -> list[str]:
        return [call.model for call in self.standin.ledger.calls]

    async def open(self, policy: AfterOutput, models: Sequence[str], **parameters: Any) -> PromptPlan:
        """Open a turn whose prompt is built."""
        self.interaction_id = await opened(self.store)
        prompt = replace(PROMPT, parameters=parameters)
        await self.store.save_prompt(self.interaction_id, prompt, {"plan": {"after_output": policy}})
        calls = [PlannedCall(place=place, provider="openrouter", model=model) for place, model in enumerate(models)]
        return PromptPlan(calls=calls, after_output=policy)

    async def ask(self, plan: PromptPlan) -> InteractionView:
        """Ask the models of a plan as the workflow does, and end the interaction."""
        order = Order(plan)
        failure: CallFailure | None = None
        while order:
            call, skipped = order.next()
            answer = await self._try(plan, call, is_last=not order, skipped=skipped)
            if isinstance(answer, ModelAnswer):
                return await self.end(StoreResults(interaction_id=self.interaction_id, answered_place=answer.place))
            failure = answer
            order.narrow(call, failure)
        error = InteractionError(type=failure.error_type, detail=failure.detail) if failure else _WRONG
        return await self.end(StoreResults(interaction_id=self.interaction_id, error=error))

    async def _try(self, plan: PromptPlan, call: PlannedCall, **fields: Any) -> ModelAnswer | CallFailure:
        request = CallModel(interaction_id=self.interaction_id, call=call, after_output=plan.after_output, **fields)
        while True:
            outcome = await self.caller().call(request, Progress(), lambda: ErrorType.WORKER_LOST, self.remaining)
            if isinstance(outcome, ModelAnswer):
                return outcome
            if outcome.retry_in is None:
                return outcome.failure

    async def lose_worker(self, plan: PromptPlan) -> None:
        """Begin the first call and let its worker vanish: the row stays open."""
        await self.ledger.begin(self.interaction_id, plan.calls[0], NOON)

    async def interrupt(self, plan: PromptPlan, why: ErrorType) -> None:
        """Make the first call, and cancel its task while the stand-in holds it."""
        request = CallModel(
            interaction_id=self.interaction_id, call=plan.calls[0], after_output=plan.after_output, is_last=False
        )
        progress = Progress()
        task = asyncio.create_task(self.caller().call(request, progress, lambda: why))
        await self.standin.ledger.until(lambda ledger: any(call.held for call in ledger.calls))
        said = len(said_by(self.standin.ledger.calls[-1], HELD_AFTER))
        while progress.characters < said:  # noqa: ASYNC110 - what was sent has arrived when it is counted
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def caller(self) -> ModelCaller:
        return ModelCaller(
            ledger=self.ledger,
            providers=self.providers,
            events=self.bus,
            cooldowns=self.cooldowns,
            cancellations=Cancellations(self.database),
            estimate=estimate,
            call_timeout=self.call_timeout,
            max_wait=timedelta(seconds=20),
        )

    async def end(self, results: StoreResults) -> InteractionView:
        keeper = Results(
            store=self.store,
            ledger=self.ledger,
            personas=PersonaLibrary([persona()]),
            agents=Registry("agent", Agent),  # type: ignore[type-abstract]
            events=self.bus,
            runs=FakeRuns(),
            reconciliation=Reconciliation(self.database, Registry("provider", LLMProvider), FakeRuns()),  # type: ignore[type-abstract]
        )
        return await keeper.keep(results)

    async def attempts(self) -> list[Attempt]:
        return await self.ledger.attempts(self.interaction_id)


HELD_AFTER = 3
HELD = {"hold": True, "after": HELD_AFTER}
