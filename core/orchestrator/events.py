"""What happens to interactions, told to whoever listens in the same process.

A subscriber is a guest: it is told, never asked. One that raises is logged and otherwise ignored; an async one runs on
its own. So a broken subscriber cannot harm an interaction (a plain function should still be quick: it runs in line).
"""

import asyncio
import inspect
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import ClassVar, Literal

from core.orchestrator.contracts import Contract, InteractionStatus, InteractionView
from core.orchestrator.errors import ErrorType

logger = logging.getLogger(__name__)


class InteractionEvent(Contract):
    """Base of all events."""

    type: ClassVar[str]
    interaction_id: str


class InteractionCreated(InteractionEvent):
    """An interaction was accepted."""

    type = "interaction.created"
    session_id: str | None = None
    persona_id: str | None = None
    workflow_id: str


class InteractionQueued(InteractionEvent):
    """An interaction waits for an earlier turn of its session."""

    type = "interaction.queued"
    waiting_on: str
    """The earlier turn's interaction."""


class InteractionInProgress(InteractionEvent):
    """The prompt is built; `models` will be tried in order."""

    type = "interaction.in_progress"
    agent: str | None = None
    models: list[str]


class AttemptStarted(InteractionEvent):
    """A call to a model began."""

    type = "attempt.started"
    attempt: int
    model: str


class AttemptFailed(InteractionEvent):
    """A call to a model failed."""

    type = "attempt.failed"
    attempt: int
    model: str
    error_type: ErrorType
    next: Literal["retry", "next_model", "give_up"]
    wait_ms: int | None = None


class TextDelta(InteractionEvent):
    """Some more text came. Published only for interactions that somebody may watch, several pieces at a time."""

    type = "text.delta"
    attempt: int
    delta: str


class TextReset(InteractionEvent):
    """Forget the text so far: a call broke after some was shown, a worker was lost, or the reply reads otherwise."""

    type = "text.reset"
    attempt: int


class InteractionEnded(InteractionEvent):
    """Base of the events that tell how an interaction has ended."""

    response: InteractionView


class InteractionCompleted(InteractionEnded):
    """A model's answer is stored."""

    type = "interaction.completed"


class InteractionFailed(InteractionEnded):
    """The interaction ended without a model's answer."""

    type = "interaction.failed"


class InteractionIncomplete(InteractionEnded):
    """Only a part of an answer came, and it was kept as the reply."""

    type = "interaction.incomplete"


class InteractionCancelled(InteractionEnded):
    """The interaction was cancelled."""

    type = "interaction.cancelled"


def terminal_event_of(view: InteractionView) -> InteractionEnded:
    """Return the event that tells how an interaction has ended."""
    match view.status:
        case InteractionStatus.COMPLETED:
            return InteractionCompleted(interaction_id=view.interaction_id, response=view)
        case InteractionStatus.INCOMPLETE:
            return InteractionIncomplete(interaction_id=view.interaction_id, response=view)
        case InteractionStatus.CANCELLED:
            return InteractionCancelled(interaction_id=view.interaction_id, response=view)
        case _:
            return InteractionFailed(interaction_id=view.interaction_id, response=view)


TERMINAL_TYPES = frozenset(event.type for event in InteractionEnded.__subclasses__())
EVENT_TYPES = TERMINAL_TYPES | {
    event.type for event in InteractionEvent.__subclasses__() if event is not InteractionEnded
}

Subscriber = Callable[[InteractionEvent], Awaitable[None] | None]
EVERY_EVENT = "*"


class EventBus:
    """Delivers events to the subscribers of their type."""

    def __init__(self) -> None:
        """Start with no subscribers."""
        self._subscribers: dict[str, dict[object, Subscriber]] = defaultdict(dict)
        self._running: set[asyncio.Future[None]] = set()

    def subscribe(self, event_type: str, callback: Subscriber) -> Callable[[], None]:
        """Call `callback` with every event of a type, such as `attempt.failed`, or of all with `*`.

        Returns:
            A function that ends the subscription; called again, it does nothing.

        Raises:
            ValueError: no event has that type.
        """
        known = EVENT_TYPES | {EVERY_EVENT}
        if event_type not in known:
            raise ValueError(f"no event has the type '{event_type}'; known are {', '.join(sorted(known))}")
        subscription = object()  # a callback may be subscribed more than once

        def unsubscribe() -> None:
            self._subscribers[event_type].pop(subscription, None)

        self._subscribers[event_type][subscription] = callback
        return unsubscribe

    def publish(self, event: InteractionEvent) -> None:
        """Tell every subscriber; never raises."""
        for callback in (*self._subscribers[event.type].values(), *self._subscribers[EVERY_EVENT].values()):
            try:
                outcome = callback(event)
                if inspect.isawaitable(outcome):
                    task = asyncio.ensure_future(_guarded(outcome, event))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
            except Exception:
                logger.exception("a subscriber of %s failed", event.type)


async def _guarded(outcome: Awaitable[None], event: InteractionEvent) -> None:
    try:
        await outcome
    except Exception:
        logger.exception("a subscriber of %s failed", event.type)


events = EventBus()
"""The process's bus; plugins subscribe to it while they are imported."""


def subscribe(event_type: str, callback: Subscriber) -> Callable[[], None]:
    """Subscribe to the process's bus: see `EventBus.subscribe`."""
    return events.subscribe(event_type, callback)
