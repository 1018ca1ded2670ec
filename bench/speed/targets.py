"""What the service is to hold, as ratios within one run: machines differ, and so do days."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bench.speed.rounds import Phase

FLOOR, NAIVE, DEFAULTS, LITELLM, OURS = "floor", "naive", "naive, default flags", "litellm", "ours"
EMPTY_STEPS = "floor, empty steps"


class Side(StrEnum):
    """On which side of its limit a value has to be."""

    MOST = "most"
    LEAST = "least"


@dataclass(frozen=True)
class Target:
    """A limit, and what was measured."""

    name: str
    value: float
    limit: float
    side: Side = Side.MOST

    @property
    def holds(self) -> bool:
        """Whether the value is within the limit; one that is not a number is not."""
        return self.value <= self.limit if self.side is Side.MOST else self.value >= self.limit

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        value = round(self.value, 3) if math.isfinite(self.value) else None
        return {"name": self.name, "value": value, "limit": self.limit, "at": self.side, "holds": self.holds}


@dataclass(frozen=True)
class _Ratio:
    name: str
    of: str
    kind: str
    limit: float
    value: Callable[[Phase], float]
    side: Side = Side.MOST


def _added(phase: Phase) -> float:
    return phase.added_p50_ms


def _speed(phase: Phase) -> float:
    return phase.per_second


_RATIOS = (
    _Ratio("added latency, one by one", FLOOR, "sequential", 1.15, _added),
    _Ratio("added latency, one by one", NAIVE, "sequential", 0.4, _added),
    _Ratio("added latency, one by one", LITELLM, "sequential", 1.0, _added),
    _Ratio("throughput", FLOOR, "concurrent", 0.9, _speed, Side.LEAST),
    _Ratio("throughput", NAIVE, "concurrent", 1.8, _speed, Side.LEAST),
    _Ratio("throughput", DEFAULTS, "concurrent", 4.5, _speed, Side.LEAST),
    _Ratio("throughput", LITELLM, "concurrent", 1.0, _speed, Side.LEAST),
    _Ratio("processor time of one interaction", FLOOR, "concurrent", 1.15, lambda phase: phase.processor_ms),
)
_MOST_SPREAD = 2.0
_FIRST_TEXT = 0.6
"""Of LiteLLM's added time to the first text, or of all the time that the floor adds."""

Rounds = Sequence[Sequence[Phase]]


def of_rounds(rounds: Rounds) -> list[Target]:
    """Return the targets that the rounds can tell of: the median of each round's own ratio."""
    found = []
    for ratio in _RATIOS:
        value = _median_ratio(rounds, (OURS, ratio.kind), (ratio.of, ratio.kind), ratio.value)
        if value is not None:
            found.append(Target(f"{ratio.name}, as a part of {ratio.of}", value, ratio.limit, ratio.side))
    spreads = [
        phase.added_p99_ms / phase.added_p50_ms for phase in _phases(rounds, OURS, "concurrent") if phase.added_p50_ms
    ]
    if spreads:
        found.append(Target("p99 of added latency at 32, in p50s", statistics.median(spreads), _MOST_SPREAD))
    ours = (OURS, "first text")
    value, of = _median_ratio(rounds, ours, (LITELLM, "first text"), _added), LITELLM
    if value is None:
        value, of = _median_ratio(rounds, ours, (FLOOR, "sequential"), _added), "all that floor adds"
    if value is not None:
        found.append(Target(f"added time to the first text, as a part of {of}", value, _FIRST_TEXT))
    return found


def _median_ratio(
    rounds: Rounds, one: tuple[str, str], other: tuple[str, str], value: Callable[[Phase], float]
) -> float | None:
    """Return the median of the rounds' ratios; None where no round has both."""
    ratios = []
    for phases in rounds:
        of = {(phase.contender, phase.kind): value(phase) for phase in phases}
        if of.get(other) and one in of:
            ratios.append(of[one] / of[other])
    return statistics.median(ratios) if ratios else None


def _phases(rounds: Rounds, contender: str, kind: str) -> list[Phase]:
    return [phase for phases in rounds for phase in phases if (phase.contender, phase.kind) == (contender, kind)]


def medians(rounds: Rounds) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    """Return the median of each number over the rounds, by contender and kind."""
    grouped: dict[tuple[str, str], list[Phase]] = defaultdict(list)
    for phase in (phase for phases in rounds for phase in phases):
        grouped[phase.contender, phase.kind].append(phase)
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for (contender, kind), phases in grouped.items():
        found[contender][kind] = {
            name: round(statistics.median(getattr(phase, name) for phase in phases), 2) for name in _NUMBERS
        }
        found[contender][kind]["peak_mebibytes"] = round(max(phase.mebibytes for phase in phases), 1)
        found[contender][kind]["disturbed"] = sum(phase.is_disturbed for phase in phases)
    return found


_NUMBERS = (
    "replies",
    "per_second",
    "p50_ms",
    "p99_ms",
    "added_p50_ms",
    "added_p99_ms",
    "processor_ms",
    "settled_seconds",
    "others",
)
