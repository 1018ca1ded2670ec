"""From what happens to interactions to metrics.

What is counted at an interaction's end is read from the attempts as the ledger has them then, in the one process whose
transaction ended it. So each call is counted once, a lost worker's too, and the sums are those of `/api/usage`: save
for a process that dies between its last commit and the counting, whose counters are gone with it anyway.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from core.orchestrator.clock import Clock, utc_now
from core.orchestrator.contracts import Attempt, AttemptStatus, InteractionView, Usage
from core.orchestrator.events import (
    EVERY_EVENT,
    EventBus,
    InteractionCreated,
    InteractionEnded,
    InteractionEvent,
    InteractionInProgress,
)
from core.orchestrator.telemetry import names
from core.orchestrator.telemetry.labels import ModelLabel, PersonaLabel
from core.orchestrator.telemetry.metrics import Metrics

_UUID_VERSION_OF_TIME = 7
_KINDS = {
    "prompt": "prompt_tokens",
    "completion": "completion_tokens",
    "cached": "cached_tokens",
    "reasoning": "reasoning_tokens",
}


class InteractionCounter:
    """Counts interactions, and what they used."""

    def __init__(self, metrics: Metrics, models: ModelLabel, personas: PersonaLabel, clock: Clock = utc_now) -> None:
        """Count into `metrics`, under the names that `models` and `personas` let through."""
        self._metrics = metrics
        self._models = models
        self._personas = personas
        self._clock = clock

    def listen(self, bus: EventBus) -> Callable[[], None]:
        """Count what a bus tells from now on; the function returned ends it."""
        return bus.subscribe(EVERY_EVENT, self._take_in)

    def _take_in(self, event: InteractionEvent) -> None:
        if isinstance(event, InteractionCreated):
            self._metrics.add(names.BEGUN, 1, {names.PERSONA: self._personas.of(event.persona_id)})
        elif isinstance(event, InteractionInProgress):
            self.waited(event.interaction_id, "place")
        elif isinstance(event, InteractionEnded):
            self._ended(event.response)

    def waited(self, interaction_id: str, until: str) -> None:
        """Count how long an interaction has waited by now: its id, a UUIDv7, says since when."""
        accepted = _moment_of(interaction_id)
        if accepted is not None:
            seconds = max(0.0, (self._clock() - accepted).total_seconds())  # clocks of two machines may differ a little
            self._metrics.record(names.QUEUE_WAIT, seconds, {names.UNTIL: until})

    def _ended(self, view: InteractionView) -> None:
        labels = {
            names.PERSONA: self._personas.of(view.persona_id),
            names.STATUS: view.status.value,
            names.DEGRADED: str(view.degraded).lower(),
        }
        self._metrics.add(names.ENDED, 1, labels)
        if view.response_time_ms is not None:
            self._metrics.record(
                names.INTERACTION_DURATION, view.response_time_ms / 1000, {names.STATUS: view.status.value}
            )
        for attempt in view.attempts:
            if attempt.status is not AttemptStatus.SKIPPED:
                self._called(attempt)

    def _called(self, attempt: Attempt) -> None:
        model = self._model(attempt.provider, attempt.model)
        outcome = {names.STATUS: attempt.status.value, names.ERROR_TYPE: attempt.error_type or names.NONE}
        self._metrics.add(names.ATTEMPTS, 1, model | outcome)
        if attempt.usage is None:  # it cannot have cost anything
            return
        self._used(model, attempt.usage)
        if attempt.usage.cost_usd is None:
            self._metrics.add(names.COST_UNKNOWN, 1, model)

    def _used(self, model: dict[str, str], usage: Usage) -> None:
        for kind, field in _KINDS.items():
            if tokens := getattr(usage, field):
                self._metrics.add(names.TOKENS, tokens, model | {names.KIND: kind})
        if usage.cost_usd is not None:
            self._metrics.add(names.COST, usage.cost_usd, model)

    def settled(self, provider: str, model: str, before: Usage, found: Usage) -> None:
        """Count what was found out about a call after its interaction had ended, beyond what was known before."""
        labels = self._model(provider, model)
        more = {
            field: value - (getattr(before, field) or 0)
            for field in (*_KINDS.values(), "cost_usd")
            if (value := getattr(found, field)) is not None
        }
        self._used(labels, Usage(**{field: amount for field, amount in more.items() if amount >= 0}))
        if found.cost_usd is not None:
            self._metrics.add(names.COST_SETTLED, 1, labels)

    def _model(self, provider: str, model: str) -> dict[str, str]:
        return {names.PROVIDER: provider, names.REQUEST_MODEL: self._models.of(provider, model)}


def _moment_of(interaction_id: str) -> datetime | None:
    try:
        known = UUID(interaction_id)
    except ValueError:
        return None
    if known.version != _UUID_VERSION_OF_TIME:
        return None
    return datetime.fromtimestamp((known.int >> 80) / 1000, UTC)
