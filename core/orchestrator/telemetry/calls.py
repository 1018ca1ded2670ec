"""Calls to models as the GenAI conventions describe them: in metrics, and in spans where traces are wanted."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC

from opentelemetry import baggage
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, use_span
from opentelemetry.util.types import AttributeValue

from core.orchestrator.calls.ledger import BegunCall, Timing
from core.orchestrator.calls.lost import LostCall
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.contracts import CallModel, Usage
from core.orchestrator.errors import ErrorType
from core.orchestrator.providers.base import ChatCompletion
from core.orchestrator.telemetry import names
from core.orchestrator.telemetry.counting import InteractionCounter
from core.orchestrator.telemetry.labels import ModelLabel
from core.orchestrator.telemetry.metrics import Metrics

_Attributes = dict[str, AttributeValue]


class CallTelemetry:
    """Looks on at calls."""

    def __init__(
        self, metrics: Metrics, models: ModelLabel, counter: InteractionCounter, tracer: Tracer | None
    ) -> None:
        """Count into `metrics`; without a `tracer` no span is made."""
        self._metrics = metrics
        self._models = models
        self._counter = counter
        self._tracer = tracer
        self._running = 0
        metrics.observe(names.CALLS_RUNNING, self._read)

    def _read(self) -> Iterable[tuple[float, dict[str, str]]]:
        return [(self._running, {})]

    @contextmanager
    def observe(self, request: CallModel, begun: BegunCall) -> Iterator["_Call"]:
        """Look on at one call during the block."""
        if begun.ordinal == 1 + len(request.skipped):
            self._counter.waited(request.interaction_id, "call")
        provider, model = request.call.provider, request.call.model
        labels = {
            names.OPERATION: names.CHAT,
            names.PROVIDER: provider,
            names.REQUEST_MODEL: self._models.of(provider, model),
        }
        self._running += 1
        try:
            with ExitStack() as stack:
                span = None
                if self._tracer is not None:
                    self._tell_lost(self._tracer, request, begun.lost)
                    attributes = _of_call(request.interaction_id, provider, model, begun.ordinal)
                    attributes |= _of_prompt(begun.prompt)
                    span = self._tracer.start_span(_name(model), kind=SpanKind.CLIENT, attributes=attributes)
                    stack.enter_context(
                        use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False)
                    )
                yield _Call(self._metrics, labels, span)
        finally:
            self._running -= 1

    def _tell_lost(self, tracer: Tracer, request: CallModel, lost: Sequence[LostCall]) -> None:
        """Make the spans of calls whose workers are gone, and with them the spans that were under way."""
        for one in lost:
            attributes = _of_call(request.interaction_id, one.provider, one.model, one.ordinal)
            began = round(one.started_at.replace(tzinfo=one.started_at.tzinfo or UTC).timestamp() * 1e9)
            span = tracer.start_span(_name(one.model), kind=SpanKind.CLIENT, attributes=attributes, start_time=began)
            _break(span, ErrorType.WORKER_LOST)
            span.end(max(began, time.time_ns()))


class _Call:
    """One call."""

    def __init__(self, metrics: Metrics, labels: dict[str, str], span: Span | None) -> None:
        self._metrics = metrics
        self._labels = labels
        self._span = span

    def answered(self, completion: ChatCompletion, timing: Timing) -> None:
        """Take in an answer."""
        self._time(timing, {})
        usage = completion.usage or Usage()
        tokens = {"input": usage.prompt_tokens, "output": usage.completion_tokens}
        for kind, count in tokens.items():
            if count is not None:
                self._metrics.record(names.TOKEN_USAGE, count, self._labels | {names.TOKEN_TYPE: kind})
        if self._span is not None:
            told: dict[str, AttributeValue | None] = {
                names.RESPONSE_ID: completion.generation_id,
                names.RESPONSE_MODEL: completion.model,
                names.RESPONSE_FINISH_REASONS: [completion.finish_reason] if completion.finish_reason else None,
                names.INPUT_TOKENS: tokens["input"],
                names.OUTPUT_TOKENS: tokens["output"],
            }
            self._span.set_attributes({name: value for name, value in told.items() if value is not None})

    def failed(self, error_type: ErrorType, timing: Timing, generation_id: str | None) -> None:
        """Take in a failure."""
        self._time(timing, {names.ERROR_TYPE: error_type.value})
        if self._span is not None:
            if generation_id is not None:
                self._span.set_attribute(names.RESPONSE_ID, generation_id)
            _break(self._span, error_type)

    def _time(self, timing: Timing, outcome: dict[str, str]) -> None:
        self._metrics.record(names.CALL_DURATION, timing.duration_ms / 1000, self._labels | outcome)
        if timing.first_token_ms is not None:
            seconds = timing.first_token_ms / 1000
            self._metrics.record(names.FIRST_CHUNK, seconds, self._labels)
            if self._span is not None:
                self._span.set_attribute(names.RESPONSE_FIRST_CHUNK, seconds)


def _name(model: str) -> str:
    return f"{names.CHAT} {model}"


def _of_call(interaction_id: str, provider: str, model: str, ordinal: int) -> _Attributes:
    conversation = baggage.get_baggage(names.CONVERSATION)  # it comes with the trace; a bare completion has none
    known: _Attributes = {} if conversation is None else {names.CONVERSATION: str(conversation)}
    return known | {
        names.OPERATION: names.CHAT,
        names.PROVIDER: provider,
        names.REQUEST_MODEL: model,
        names.REQUEST_STREAM: True,
        names.INTERACTION: interaction_id,
        names.ATTEMPT: ordinal,
    }


def _of_prompt(prompt: Prompt) -> _Attributes:
    limit: _Attributes = {} if prompt.max_tokens is None else {names.REQUEST_MAX_TOKENS: prompt.max_tokens}
    return {names.REQUEST_TEMPERATURE: prompt.temperature} | limit


def _break(span: Span, error_type: ErrorType) -> None:
    # Without a description: the provider's words may quote the prompt.
    span.set_attribute(names.ERROR_TYPE, error_type.value)
    span.set_status(Status(StatusCode.ERROR))
