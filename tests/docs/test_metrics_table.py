"""The table of metrics names every metric of the code, with its labels, and no other."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.orchestrator.telemetry.metrics import Metrics
from core.orchestrator.telemetry.names import EVERY_INSTRUMENT, Instrument, InstrumentKind

TABLE = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text()
ROWS = {
    name: set(re.findall(r"`([^`]+)`", labels))
    for name, labels in re.findall(r"^\| `(\w+)` \| \w+ \| [^|]+ \| ([^|]+) \|", TABLE, re.MULTILINE)
}


def _shown(instrument: Instrument) -> tuple[str, set[str]]:
    metrics, labels = Metrics(), dict.fromkeys(instrument.labels, "x")
    match instrument.kind:
        case InstrumentKind.COUNTER:
            metrics.add(instrument, 1, labels)
        case InstrumentKind.HISTOGRAM:
            metrics.record(instrument, 1, labels)
        case InstrumentKind.GAUGE:
            metrics.observe(instrument, lambda: [(1, labels)])
    [family] = text_string_to_metric_families(metrics.text().decode())
    name = f"{family.name}_total" if instrument.kind is InstrumentKind.COUNTER else family.name
    return name, set(family.samples[-1].labels) - {"le"}


@pytest.mark.parametrize("instrument", EVERY_INSTRUMENT, ids=lambda one: one.name)
def test_a_metric_stands_in_the_table_with_its_labels(instrument: Instrument) -> None:
    name, labels = _shown(instrument)
    assert ROWS[name] == labels


def test_the_table_names_no_other_metric() -> None:
    assert len(ROWS) == len(EVERY_INSTRUMENT)
