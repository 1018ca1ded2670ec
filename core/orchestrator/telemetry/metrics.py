"""The metrics of one process: counted in memory, read as a whole by whoever scrapes them.

One instance belongs to one application and to no other: nothing is global, so that two in one process do not mix.
"""

# Before a meter provider is made, which registers a hook for forked processes that takes a lock of this module: hooks
# run in the order of their registration, and the module's own has to free the lock before. Else a child that is started
# with a `preexec_fn` waits for ever.
import concurrent.futures.thread  # noqa: F401
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from core.orchestrator.telemetry.names import EVERY_INSTRUMENT, Instrument, InstrumentKind

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""Of what `Metrics.text` returns: the form that every scraper reads."""
Labels = Mapping[str, str]
Reading = Iterable[tuple[float, Labels]]
"""What a gauge shows: values, each with its labels."""


class Metrics:
    """Counts, and tells what it has counted."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._registry = CollectorRegistry()
        reader = PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=self._registry)
        # No exemplars, whatever the environment says: they would name traces, and cost more than the counting does.
        self._provider = MeterProvider(
            [reader], Resource.get_empty(), AlwaysOffExemplarFilter(), shutdown_on_exit=False
        )
        self._meter = self._provider.get_meter("orchestrator")
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._refreshers: list[Callable[[], None]] = []
        for instrument in EVERY_INSTRUMENT:
            self._create(instrument)

    def _create(self, instrument: Instrument) -> None:
        name, unit, meaning = instrument.name, instrument.unit, instrument.meaning
        match instrument.kind:
            case InstrumentKind.COUNTER:
                self._counters[name] = self._meter.create_counter(name, unit, meaning)
            case InstrumentKind.HISTOGRAM:
                self._histograms[name] = self._meter.create_histogram(
                    name, unit, meaning, explicit_bucket_boundaries_advisory=instrument.buckets
                )
            case InstrumentKind.GAUGE:
                pass  # it is there once something can be read: see `observe`

    def add(self, instrument: Instrument, amount: float, labels: Labels) -> None:
        """Let a counter grow."""
        self._counters[instrument.name].add(amount, labels)

    def record(self, instrument: Instrument, value: float, labels: Labels) -> None:
        """Put a value into a histogram."""
        self._histograms[instrument.name].record(value, labels)

    def observe(self, instrument: Instrument, read: Callable[[], Reading]) -> None:
        """Show in a gauge what `read` returns whenever the metrics are read."""

        def observed(_options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, labels) for value, labels in read()]

        self._meter.create_observable_gauge(instrument.name, [observed], instrument.unit, instrument.meaning)

    def before_reading(self, refresh: Callable[[], None]) -> None:
        """Call `refresh` before the metrics are read: it may add what has been collected elsewhere."""
        self._refreshers.append(refresh)

    def text(self) -> bytes:
        """Return everything, in Prometheus' text format."""
        for refresh in self._refreshers:
            refresh()
        return generate_latest(self._registry)
