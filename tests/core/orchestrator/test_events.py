import asyncio
import logging

import pytest

from core.orchestrator.contracts import InteractionStatus, InteractionView
from core.orchestrator.errors import ErrorType
from core.orchestrator.events import (
    AttemptFailed,
    AttemptStarted,
    EventBus,
    InteractionCancelled,
    InteractionCompleted,
    InteractionCreated,
    InteractionEvent,
    InteractionFailed,
    InteractionIncomplete,
    InteractionInProgress,
    TextReset,
)

STARTED = AttemptStarted(interaction_id="i", attempt=1, model="m")
VIEW = InteractionView(interaction_id="i", workflow_id="w", status=InteractionStatus.COMPLETED)
ALL: list[InteractionEvent] = [
    InteractionCreated(interaction_id="i", workflow_id="w"),
    InteractionInProgress(interaction_id="i", models=[]),
    STARTED,
    AttemptFailed(interaction_id="i", attempt=1, model="m", error_type=ErrorType.TIMEOUT, next="retry"),
    TextReset(interaction_id="i", attempt=1),
    InteractionCompleted(interaction_id="i", response=VIEW),
    InteractionIncomplete(interaction_id="i", response=VIEW),
    InteractionFailed(interaction_id="i", response=VIEW),
    InteractionCancelled(interaction_id="i", response=VIEW),
]


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


def test_a_subscriber_hears_its_type_and_no_other(bus: EventBus) -> None:
    heard: list[InteractionEvent] = []
    bus.subscribe("attempt.started", heard.append)
    for event in ALL:
        bus.publish(event)
    assert heard == [STARTED]


def test_a_subscriber_of_everything_hears_everything_in_order(bus: EventBus) -> None:
    heard: list[InteractionEvent] = []
    bus.subscribe("*", heard.append)
    for event in ALL:
        bus.publish(event)
    assert heard == ALL


@pytest.mark.parametrize("event_type", [event.type for event in ALL])
def test_every_event_can_be_subscribed_to(bus: EventBus, event_type: str) -> None:
    bus.subscribe(event_type, print)


@pytest.mark.parametrize("event_type", ["", "attempt", "attempt.finished", "ATTEMPT.STARTED"])
def test_an_unknown_type_is_refused_with_those_that_exist(bus: EventBus, event_type: str) -> None:
    with pytest.raises(ValueError, match=r"attempt\.started"):
        bus.subscribe(event_type, print)


def test_who_unsubscribes_hears_no_more_and_may_do_so_twice(bus: EventBus) -> None:
    heard: list[str] = []
    unsubscribe = bus.subscribe("*", lambda _: heard.append("first"))
    bus.subscribe("*", lambda _: heard.append("second"))
    bus.publish(STARTED)
    unsubscribe()
    unsubscribe()
    bus.publish(STARTED)
    assert heard == ["first", "second", "second"]


def test_of_two_subscriptions_of_one_callback_one_can_end(bus: EventBus) -> None:
    heard: list[InteractionEvent] = []
    first = bus.subscribe("*", heard.append)
    bus.subscribe("*", heard.append)
    first()
    first()
    bus.publish(STARTED)
    assert heard == [STARTED]


def test_a_subscriber_that_raises_is_logged_and_harms_nobody(bus: EventBus, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_event: InteractionEvent) -> None:
        raise KeyError("mine")

    heard: list[InteractionEvent] = []
    bus.subscribe("*", fail)
    bus.subscribe("*", heard.append)
    bus.publish(STARTED)
    assert heard == [STARTED]
    [record] = caplog.records
    assert "attempt.started" in record.getMessage()
    assert record.exc_info is not None


def test_a_subscriber_may_unsubscribe_while_it_is_told(bus: EventBus) -> None:
    heard: list[str] = []

    def once(_event: InteractionEvent) -> None:
        heard.append("once")
        unsubscribe()

    unsubscribe = bus.subscribe("*", once)
    bus.subscribe("*", lambda _: heard.append("always"))
    bus.publish(STARTED)
    bus.publish(STARTED)
    assert heard == ["once", "always", "always"]


async def test_an_async_subscriber_runs_on_its_own(bus: EventBus) -> None:
    heard = asyncio.Event()

    async def hear(_event: InteractionEvent) -> None:
        heard.set()

    bus.subscribe("*", hear)
    bus.publish(STARTED)
    assert not heard.is_set()
    await asyncio.wait_for(heard.wait(), 5)


async def test_an_async_subscriber_that_hangs_keeps_nobody_waiting(bus: EventBus) -> None:
    hanging, heard, freed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hang(_event: InteractionEvent) -> None:
        hanging.set()
        await freed.wait()

    async def hear(_event: InteractionEvent) -> None:
        heard.set()

    bus.subscribe("*", hang)
    bus.subscribe("*", hear)
    bus.publish(STARTED)
    await asyncio.wait_for(asyncio.gather(hanging.wait(), heard.wait()), 5)
    freed.set()


async def test_an_async_subscriber_that_raises_is_logged(bus: EventBus, caplog: pytest.LogCaptureFixture) -> None:
    logged = asyncio.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.set()

    async def fail(_event: InteractionEvent) -> None:
        raise KeyError("mine")

    watch = Watch()
    logging.getLogger("core.orchestrator.events").addHandler(watch)
    bus.subscribe("*", fail)
    bus.publish(STARTED)
    await asyncio.wait_for(logged.wait(), 5)
    logging.getLogger("core.orchestrator.events").removeHandler(watch)
    assert "attempt.started" in caplog.text
