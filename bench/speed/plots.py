"""The plots: latency over how many ask at a time, and cost over how long a conversation is. Needs matplotlib."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.speed.rounds import Phase

_SIZE = (7, 4.5)


def plot_concurrency(sweep: Sequence[Phase], path: Path) -> None:
    """Draw the added latency of each contender over the number of clients."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(phase.contender for phase in sweep):
        phases = [phase for phase in sweep if phase.contender == name]
        clients = [phase.clients for phase in phases]
        (line,) = axes.plot(clients, [phase.added_p50_ms for phase in phases], marker="o", label=name)
        p99 = [phase.added_p99_ms for phase in phases]
        axes.plot(clients, p99, linestyle=":", color=line.get_color())
    axes.set_title("Added latency: p50, and p99 dotted")
    _finish(axes, "clients at a time", sorted({phase.clients for phase in sweep}))
    axes.set_yscale("log")
    figure.savefig(path, dpi=130)


def plot_lengths(phases: Sequence[Phase], path: Path) -> None:
    """Draw what one interaction costs over its turn in the session."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    _draw_lengths(axes, phases, "p50 of added latency", lambda phase: phase.added_p50_ms)
    _draw_lengths(axes, phases, "processor time", lambda phase: phase.processor_ms)
    axes.set_ylim(bottom=0)
    axes.set_title("An interaction at this turn of its session")
    _finish(axes, "turn", sorted({_turn(phase) for phase in phases}))
    figure.savefig(path, dpi=130)


def _draw_lengths(axes: Axes, phases: Sequence[Phase], label: str, value: Callable[[Phase], float]) -> None:
    by_turn: dict[int, list[float]] = defaultdict(list)
    for phase in phases:
        by_turn[_turn(phase)].append(value(phase))
    turns = sorted(by_turn)
    axes.plot(turns, [statistics.median(by_turn[turn]) for turn in turns], marker="o", label=label)


def _turn(phase: Phase) -> int:
    return int(phase.kind.removeprefix("turn "))


def _finish(axes: Axes, label: str, ticks: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.set_ylabel("ms")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
