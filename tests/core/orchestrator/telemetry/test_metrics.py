"""What is counted, under which names, and how many of them there can be."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prometheus_client.parser import text_string_to_metric_families
from uuid6 import uuid7

from core.orchestrator.calls.ledger import BegunCall, Timing
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.contracts import (
    Attempt,
    AttemptStatus,
    CallModel,
    InteractionStatus,
    InteractionView,
    PlannedCall,
    SkippedCall,
    Usage,
)
from core.orchestrator.errors import ErrorType
from core.orchestrator.events import EventBus, InteractionCreated, InteractionInProgress, terminal_event_of
from core.orchestrator.telemetry import names
from core.orchestrator.telemetry.calls import CallTelemetry
from core.orchestrator.telemetry.counting import InteractionCounter
from core.orchestrator.telemetry.labels import VALUES_AT_MOST, ModelLabel, PersonaLabel
from core.orchestrator.telemetry.metrics import Metrics
from core.orchestrator.telemetry.names import EVERY_INSTRUMENT, InstrumentKind

MADE_UP = [f"nobody/model-{number}" for number in range(1000)]
LISTED = {f"vendor/model-{number}" for number in range(1000)}
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def _models() -> ModelLabel:
    return ModelLabel(lambda _provider, model: model if model in LISTED else None, ["our/model"])


class Counted:
    """Metrics, and what counts into them."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.bus = EventBus()
        models = _models()
        counter = InteractionCounter(self.metrics, models, PersonaLabel(["cherry"]), clock=lambda: NOW)
        counter.listen(self.bus)
        self.counter = counter
        self.calls = CallTelemetry(self.metrics, models, counter, None)

    def ends(self, status: InteractionStatus = InteractionStatus.COMPLETED, **fields: Any) -> None:
        view = InteractionView(interaction_id="1", workflow_id="w", status=status, **fields)
        self.bus.publish(terminal_event_of(view))

    def value(self, name: str, **labels: str) -> float | None:
        found = [
            sample.value
            for family in text_string_to_metric_families(self.metrics.text().decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    def models(self) -> set[str]:
        return {
            sample.labels["gen_ai_request_model"]
            for family in text_string_to_metric_families(self.metrics.text().decode())
            for sample in family.samples
            if "gen_ai_request_model" in sample.labels
        }


@pytest.fixture
def counted() -> Counted:
    return Counted()


def _attempt(model: str, **fields: Any) -> Attempt:
    return Attempt(ordinal=1, model=model, provider="openrouter", **{"status": AttemptStatus.SUCCEEDED, **fields})


def test_a_thousand_made_up_models_are_one_series(counted: Counted) -> None:
    counted.ends(attempts=[_attempt(model, usage=Usage(prompt_tokens=1)) for model in [*MADE_UP, "our/model"]])
    assert counted.models() == {"other", "our/model"}
    assert counted.value("orchestrator_attempts_total", gen_ai_request_model="other") == 1000
    assert counted.value("orchestrator_tokens_total", gen_ai_request_model="other") == 1000


def test_of_a_thousand_models_that_exist_so_many_are_named_and_those_of_the_settings_always(counted: Counted) -> None:
    counted.ends(attempts=[_attempt(model) for model in [*sorted(LISTED), "our/model"]])
    assert len(counted.models()) == VALUES_AT_MOST + 2
    assert {"other", "our/model"} < counted.models()
    assert counted.value("orchestrator_attempts_total") == 1001


def test_personas_that_are_gone_are_counted_together(counted: Counted) -> None:
    for persona_id in ("cherry", *(f"gone-{number}" for number in range(1000)), None):
        counted.bus.publish(InteractionCreated(interaction_id="1", workflow_id="w", persona_id=persona_id))
    by_persona = [
        counted.value("orchestrator_interactions_begun_total", persona=one) for one in ("cherry", "other", "none")
    ]
    assert by_persona == [1, 1000, 1]


def test_an_unknown_cost_is_counted_as_a_call_and_a_refused_call_costs_nothing(counted: Counted) -> None:
    refused = _attempt("our/model", status=AttemptStatus.FAILED, error_type=ErrorType.AUTHENTICATION)
    skipped = _attempt("our/model", status=AttemptStatus.SKIPPED, error_type=ErrorType.UPSTREAM)
    unknown, known = _attempt("our/model", usage=Usage()), _attempt("our/model", usage=Usage(cost_usd=0.25))
    counted.ends(attempts=[refused, skipped, unknown, known])
    assert counted.value("orchestrator_attempts_total") == 3
    assert counted.value("orchestrator_cost_usd_total") == 0.25
    assert counted.value("orchestrator_cost_unknown_total") == 1


def test_what_is_found_out_later_is_counted_as_far_as_it_is_new(counted: Counted) -> None:
    before = Usage(prompt_tokens=10)
    counted.ends(attempts=[_attempt("our/model", usage=before)])
    counted.counter.settled("openrouter", "our/model", before, Usage(prompt_tokens=12, completion_tokens=5, cost_usd=1))
    counted.counter.settled("openrouter", "our/model", before, Usage(prompt_tokens=4))
    assert counted.value("orchestrator_tokens_total", kind="prompt") == 12
    assert counted.value("orchestrator_tokens_total", kind="completion") == 5
    assert counted.value("orchestrator_cost_usd_total") == 1
    assert counted.value("orchestrator_cost_settled_total") == 1


def _id_of(moment: datetime) -> str:
    milliseconds = round(moment.timestamp() * 1000)
    return str(UUID(int=milliseconds << 80 | uuid7().int & (1 << 80) - 1))


@pytest.mark.parametrize(
    ("interaction_id", "waited"),
    [(_id_of(NOW - timedelta(seconds=7)), 7), (_id_of(NOW + timedelta(seconds=1)), 0), ("theirs", None)],
    ids=["past", "future", "unknown"],
)
def test_a_wait_is_read_from_the_id(counted: Counted, interaction_id: str, waited: float | None) -> None:
    counted.bus.publish(InteractionInProgress(interaction_id=interaction_id, models=[]))
    assert counted.value("orchestrator_queue_wait_seconds_sum", until="place") == waited


def _begun(ordinal: int) -> BegunCall:
    nobodys: Any = None
    return BegunCall(ordinal, Prompt([], 0.7, None), nobodys)


@pytest.mark.parametrize(("ordinal", "skipped", "counts"), [(1, 0, 1), (3, 2, 1), (2, 0, None), (4, 2, None)])
def test_the_wait_for_the_first_call_is_counted_once(
    counted: Counted, ordinal: int, skipped: int, counts: int | None
) -> None:
    call = PlannedCall(place=0, provider="openrouter", model="our/model")
    over = [SkippedCall(call=call, error_type=ErrorType.UPSTREAM, reason="")] * skipped
    request = CallModel(interaction_id=_id_of(NOW), call=call, skipped=over)
    with counted.calls.observe(request, _begun(ordinal)) as observed:
        assert counted.value("orchestrator_calls_running") == 1
        observed.failed(ErrorType.STALLED, Timing(1500, 20), None)
    assert counted.value("orchestrator_queue_wait_seconds_count", until="call") == counts
    assert counted.value("gen_ai_client_operation_duration_seconds_sum", error_type="stalled") == 1.5
    assert counted.value("gen_ai_client_operation_time_to_first_chunk_seconds_sum") == 0.02
    assert counted.value("orchestrator_calls_running") == 0


def test_every_metric_shows_with_its_labels_and_no_other() -> None:
    metrics = Metrics()
    for instrument in EVERY_INSTRUMENT:
        labels = dict.fromkeys(instrument.labels, "x")
        match instrument.kind:
            case InstrumentKind.COUNTER:
                metrics.add(instrument, 1, labels)
            case InstrumentKind.HISTOGRAM:
                metrics.record(instrument, 1, labels)
            case InstrumentKind.GAUGE:
                metrics.observe(instrument, lambda labels=labels: [(1, labels)])
    families = list(text_string_to_metric_families(metrics.text().decode()))
    assert len(families) == len(EVERY_INSTRUMENT)
    expected = sorted(sorted(label.replace(".", "_") for label in one.labels) for one in EVERY_INSTRUMENT)
    assert sorted(sorted(set(family.samples[-1].labels) - {"le"}) for family in families) == expected
    nobodys = {"user", "session", "interaction", "conversation"}
    assert not [one for one in EVERY_INSTRUMENT for label in one.labels if nobodys & set(label.split("."))]


async def test_counting_an_interaction_takes_less_than_a_millisecond() -> None:
    counted = Counted()
    call = PlannedCall(place=0, provider="openrouter", model="our/model")
    usage = Usage(prompt_tokens=10, completion_tokens=20, cached_tokens=1, reasoning_tokens=1, cost_usd=0.01)
    view = InteractionView(
        interaction_id="1",
        workflow_id="w",
        status=InteractionStatus.COMPLETED,
        response_time_ms=5,
        attempts=[_attempt("our/model", usage=usage)],
    )
    request = CallModel(interaction_id=_id_of(NOW), call=call)

    def interaction() -> None:
        counted.bus.publish(InteractionCreated(interaction_id="1", workflow_id="w", persona_id="cherry"))
        counted.bus.publish(InteractionInProgress(interaction_id=_id_of(NOW), models=[]))
        with counted.calls.observe(request, _begun(1)) as observed:
            observed.failed(ErrorType.STALLED, Timing(1500, 20), None)
        counted.bus.publish(terminal_event_of(view))

    loop = asyncio.get_running_loop()
    quickest = 1.0
    for _ in range(20):
        began = loop.time()
        for _ in range(10):
            interaction()
        quickest = min(quickest, (loop.time() - began) / 10)
    assert quickest < 0.001
    assert names.OTHER not in counted.models()


def test_a_process_that_counts_can_start_children_that_prepare_themselves() -> None:
    code = (
        "from core.orchestrator.telemetry.metrics import Metrics; metrics = Metrics();"
        "import concurrent.futures.thread, subprocess;"
        "subprocess.run(['true'], preexec_fn=lambda: None, timeout=10)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
