"""One interaction with its prompt built, a scripted provider, and the caller between them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from core.orchestrator.calls.answers import Progress
from core.orchestrator.calls.calling import FailedCall, ModelCaller
from core.orchestrator.calls.cancelling import Cancellations
from core.orchestrator.calls.costs import Estimate
from core.orchestrator.calls.ending import Endings
from core.orchestrator.contracts import AttemptStatus, CallModel, ModelAnswer, PlannedCall
from core.orchestrator.errors import ErrorType, Posture
from core.orchestrator.events import EVERY_EVENT, EventBus, InteractionEvent
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.models.cooldowns import Cooldowns
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry
from tests.core.orchestrator.domain import CALL, FlakyLedger, ScriptedProvider, Step

SECOND = PlannedCall(place=1, provider="openrouter", model="b/model")
THRICE = Posture(tries=3)


def is_cancelled() -> ErrorType:
    return ErrorType.CANCELLED


def is_shut_down() -> ErrorType:
    return ErrorType.WORKER_LOST


@dataclass
class Line:
    store: InteractionStore
    ledger: FlakyLedger
    interaction_id: str
    events: list[InteractionEvent] = field(default_factory=list)
    provider: ScriptedProvider = field(default_factory=ScriptedProvider)
    providers: Registry[LLMProvider] = field(default_factory=lambda: Registry("provider", LLMProvider))
    call_timeout: timedelta = timedelta(seconds=30)
    max_wait: timedelta = timedelta(seconds=20)
    remaining: timedelta | None = None
    identify_after: timedelta = timedelta(seconds=30)
    estimate: Estimate = lambda *_: None
    secrets: tuple[str, ...] = ()
    endings: Endings | None = None

    def __post_init__(self) -> None:
        self.providers.register("openrouter", lambda: self.provider)
        self.bus = EventBus()
        self.bus.subscribe(EVERY_EVENT, self.events.append)
        self.cooldowns = Cooldowns(self.ledger._database, 1, timedelta(minutes=1))

    def script(self, *scripts: list[Step]) -> None:
        self.provider.scripts = list(scripts)

    async def call(
        self,
        call: PlannedCall = CALL,
        interruption: Callable[[], ErrorType] = is_shut_down,
        progress: Progress | None = None,
        **fields: Any,
    ) -> ModelAnswer | FailedCall:
        caller = ModelCaller(
            ledger=self.ledger,
            providers=self.providers,
            events=self.bus,
            cooldowns=self.cooldowns,
            cancellations=Cancellations(self.ledger._database),
            estimate=self.estimate,
            call_timeout=self.call_timeout,
            max_wait=self.max_wait,
            secrets=self.secrets,
            endings=self.endings,
            identify_after=self.identify_after,
        )
        request = CallModel(interaction_id=self.interaction_id, call=call, **{"is_last": False, **fields})
        return await caller.call(request, progress or Progress(), interruption, self.remaining)

    async def answer(self, call: PlannedCall = CALL, **fields: Any) -> ModelAnswer:
        outcome = await self.call(call, **fields)
        assert isinstance(outcome, ModelAnswer), outcome
        return outcome

    async def failure(self, call: PlannedCall = CALL, **fields: Any) -> FailedCall:
        outcome = await self.call(call, **fields)
        assert isinstance(outcome, FailedCall), outcome
        return outcome

    async def outcomes(self) -> list[tuple[AttemptStatus, ErrorType | None]]:
        return [(attempt.status, attempt.error_type) for attempt in await self.ledger.attempts(self.interaction_id)]
