"""The numbers of a run: for programs, and as tables for people."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from bench.speed.asking import Findings
from bench.speed.flatness import Flatness
from bench.speed.idle import Idle
from bench.speed.lengths import History
from bench.speed.lengths import targets as targets_of_lengths
from bench.speed.rounds import Phase
from bench.speed.targets import Side, Target, medians, of_rounds

Json = dict[str, Any]


@dataclass
class Run:
    """What a run has found so far."""

    quick: bool
    model_ms: float
    rounds: list[list[Phase]] = field(default_factory=list)
    sweep: list[Phase] = field(default_factory=list)
    lengths: list[Phase] = field(default_factory=list)
    histories: dict[int, History] = field(default_factory=dict)
    idle: Idle | None = None
    flatness: Flatness | None = None
    findings: Findings = field(default_factory=Findings)

    @property
    def phases(self) -> list[Phase]:
        """Every measurement."""
        return [*(phase for phases in self.rounds for phase in phases), *self.sweep, *self.lengths]

    def targets(self) -> list[Target]:
        """Return every target of which something was measured."""
        found = [*of_rounds(self.rounds), *targets_of_lengths(self.lengths, self.histories)]
        for part in (self.idle, self.flatness):
            found += part.targets() if part else []
        return found

    def as_json(self) -> Json:
        """Return it for programs."""
        return {
            "quick": self.quick,
            "model_ms": self.model_ms,
            "machine": {
                "cores": psutil.cpu_count(),
                "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
                "disturbed": sum(phase.is_disturbed for phase in self.phases),
            },
            "targets": [target.as_json() for target in self.targets()],
            "medians": medians(self.rounds),
            "history": {str(turn): asdict(history) for turn, history in self.histories.items()},
            "idle": self.idle and asdict(self.idle),
            "memory": self.flatness and self.flatness.as_json(),
            "rounds": [[_row(phase) for phase in phases] for phases in self.rounds],
            "sweep": [_row(phase) for phase in self.sweep],
            "lengths": [_row(phase) for phase in self.lengths],
            "wrong": self.findings.count,
            "findings": self.findings.first,
        }


def _row(phase: Phase) -> Json:
    return {**{name: _rounded(value) for name, value in asdict(phase).items()}, "disturbed": phase.is_disturbed}


def _rounded(value: object) -> object:
    if not isinstance(value, float):
        return value
    return round(value, 3) if math.isfinite(value) else None  # JSON knows no other numbers


_KINDS = {
    "sequential": "One by one",
    "first text": "One by one, to the first text",
    "concurrent": "32 at a time",
}
_COLUMNS = {
    "per_second": ("/s", ".1f"),
    "added_p50_ms": ("p50 +ms", ".1f"),
    "added_p99_ms": ("p99 +ms", ".1f"),
    "processor_ms": ("core ms", ".1f"),
    "settled_seconds": ("after s", ".1f"),
    "peak_mebibytes": ("MiB", ".0f"),
}

_LEGEND = """\
+ms      beside the model's own time
core ms  of all its processes, for one reply
after s  for how long it worked on after the last one
MiB      the most that all its processes held
*        others worked on this machine meanwhile
"""


def show(run: Run, out: Console) -> None:
    """Print the medians, and what holds."""
    numbers = medians(run.rounds)
    if run.rounds:
        for kind, title in _KINDS.items():
            out.print(_table(numbers, kind, f"{title}: medians of {len(run.rounds)} rounds"))
        out.print(_LEGEND)
    targets = Table("target", title="Targets")
    for name in ("value", "limit", "holds"):
        targets.add_column(name, justify="right", no_wrap=True)
    for target in run.targets():
        limit = f"{'≥' if target.side is Side.LEAST else '≤'} {target.limit:g}"
        targets.add_row(target.name, f"{target.value:.2f}", limit, "yes" if target.holds else "[red]NO[/]")
    out.print(targets)
    if disturbed := sum(phase.is_disturbed for phase in run.phases):
        out.print(f"others worked on this machine during {disturbed} of {len(run.phases)} measurements")
    for finding in run.findings.first:
        out.print(f"WRONG: {finding}", soft_wrap=True, markup=False)


def _table(numbers: Mapping[str, Mapping[str, Mapping[str, float]]], kind: str, title: str) -> Table:
    table = Table(title=title)
    table.add_column("contender", no_wrap=True)
    for label, _ in _COLUMNS.values():
        table.add_column(label, justify="right", no_wrap=True)
    for contender, kinds in numbers.items():
        if kind in kinds:
            mark = " *" if kinds[kind]["disturbed"] else ""
            cells = [format(kinds[kind][name], form) for name, (_, form) in _COLUMNS.items()]
            table.add_row(f"{contender}{mark}", *cells)
    return table
