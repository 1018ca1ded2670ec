"""What the Temporal SDK measures of itself, brought into the metrics of the process.

Its core collects some eighty updates for each interaction; they are fetched every second, and only what `TEMPORAL`
names is counted. The SDK's own `MetricsExporter` is not used: it remembers every set of attributes by its `id()`, of
which the core makes new ones for each workflow, so it grows without end.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial

from temporalio.runtime import BufferedMetricUpdate, MetricBuffer, MetricBufferDurationFormat, Runtime, TelemetryConfig

from core.orchestrator.telemetry.metrics import Labels, Metrics
from core.orchestrator.telemetry.names import TEMPORAL, InstrumentKind

_UPDATES_HELD = 20_000
"""Between two fetches; a process on one processor makes far fewer."""
_FETCH_SECONDS = 1.0
_INSTRUMENTS = {instrument.name: instrument for instrument in TEMPORAL}


class _SdkMetrics:
    """Moves what was collected into the metrics."""

    def __init__(self, buffer: MetricBuffer, metrics: Metrics) -> None:
        self._buffer = buffer
        self._metrics = metrics
        self._gauges: dict[str, dict[tuple[str, ...], float]] = {}

    def fetch(self) -> None:
        for update in self._buffer.retrieve_updates():
            instrument = _INSTRUMENTS.get(update.metric.name)
            if instrument is None:
                continue
            if instrument.kind is InstrumentKind.GAUGE:
                self._set(update)
            elif instrument.kind is InstrumentKind.COUNTER:
                self._metrics.add(instrument, update.value, _labels(update))
            else:
                self._metrics.record(instrument, update.value, _labels(update))

    def _set(self, update: BufferedMetricUpdate) -> None:
        name = update.metric.name
        if name not in self._gauges:
            self._gauges[name] = {}
            self._metrics.observe(_INSTRUMENTS[name], partial(self._read, name))
        self._gauges[name][tuple(_labels(update).values())] = update.value

    def _read(self, name: str) -> Iterable[tuple[float, Labels]]:
        labels = _INSTRUMENTS[name].labels
        return [(value, dict(zip(labels, found, strict=True))) for found, value in self._gauges[name].items()]


def _labels(update: BufferedMetricUpdate) -> Labels:
    """Return the labels that an instrument has: namespace and task queue are the same in the whole process."""
    return {name: str(update.attributes.get(name, "")) for name in _INSTRUMENTS[update.metric.name].labels}


@asynccontextmanager
async def sdk_measured(metrics: Metrics) -> AsyncIterator[None]:
    """Bring what the SDK measures into `metrics` during the block; clients must be made inside of it."""
    buffer = MetricBuffer(_UPDATES_HELD, MetricBufferDurationFormat.SECONDS)
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(metrics=buffer)), error_if_already_set=False)
    sdk = _SdkMetrics(buffer, metrics)
    metrics.before_reading(sdk.fetch)
    fetching = asyncio.create_task(_keep_fetching(sdk))
    try:
        yield
    finally:
        fetching.cancel()
        await asyncio.wait([fetching])


async def _keep_fetching(sdk: _SdkMetrics) -> None:
    while True:
        sdk.fetch()
        await asyncio.sleep(_FETCH_SECONDS)
