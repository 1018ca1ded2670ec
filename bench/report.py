"""The numbers of a run: for programs, and as tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.load import Tally
from bench.machine import Plan
from bench.sampling import Sampler, Samples

_EARLY_SECONDS = 120
"""When memory is read for the first time: by then every path has been taken, and caches are warm."""
_JUDGED_SECONDS = 2 * _EARLY_SECONDS
"""A shorter run says nothing about memory: its second half is still the beginning."""


def summary(
    plan: Plan, tally: Tally, sampler: Sampler, *, seconds: float, talkers: int, ours: Sequence[str]
) -> dict[str, Any]:
    """Return what there is to say of a run; the memory of `ours` is judged."""
    everything = [took for times in tally.seconds.values() for took in times]
    latencies = {way.value: times for way, times in tally.seconds.items()}
    latencies |= {"all": everything, "without the model": tally.own, "first text, without the model": tally.own_first}
    processes = {name: _process(one, tally.replies) for name, one in sampler.samples.items() if one.at}
    return {
        "plan": {
            "database": "PostgreSQL" if plan.postgres else "SQLite",
            "apis": plan.apis,
            "workers": plan.workers,
            "concurrent": talkers,
            "model_seconds": plan.model_seconds,
            "settings": dict(plan.settings or {}),
        },
        "seconds": round(seconds, 1),
        "replies": tally.replies,
        "per_second": round(tally.replies / seconds, 2),
        "sessions": tally.sessions,
        "repeated_requests": tally.repeats,
        "refused": dict(tally.refused),
        "errors": dict(tally.errors),
        "seconds_to_reply": {name: _percentiles(times) for name, times in latencies.items() if times},
        "processes": processes,
        "machine_processor_percent": round(sum(sampler.machine) / max(1, len(sampler.machine)), 1),
        "busiest": max(processes, key=lambda name: processes[name]["processor_percent"], default=None),
        "flat": all(one["flat"] for name, one in processes.items() if name.startswith(tuple(ours)))
        if seconds >= _JUDGED_SECONDS
        else None,
        "right": not tally.wrong,
        "wrong": tally.wrong,
        "findings": tally.findings,
    }


def show(result: Mapping[str, Any], out: Console) -> None:
    """Print a summary."""
    latencies = Table("seconds to the reply", title=f"{result['replies']} replies, {result['per_second']} a second")
    for name in ("p50", "p95", "p99", "longest"):
        latencies.add_column(name, justify="right")
    for name, times in result["seconds_to_reply"].items():
        latencies.add_row(name, *(f"{times[of]:.3f}" for of in ("p50", "p95", "p99", "longest")))
    out.print(latencies)
    processes = Table("process")
    for name in ("core", "at most", "ms a reply", "MiB early", "MiB at the end", "growth, 2nd half", "bound", "flat"):
        processes.add_column(name, justify="right")
    for name, one in result["processes"].items():
        processes.add_row(
            name,
            f"{one['processor_percent']:.0f} %",
            f"{one['processor_percent_most']:.0f} %",
            f"{one['processor_ms_per_reply']:.1f}",
            *(f"{one[of]:.1f}" for of in ("mib_early", "mib_end", "mib_growth", "mib_bound")),
            "yes" if one["flat"] else "no",
        )
    out.print(processes)
    for name in (
        "refused",
        "errors",
        "repeated_requests",
        "sessions",
        "busiest",
        "machine_processor_percent",
        "findings",
    ):
        out.print(f"{name.replace('_', ' ')}: {result[name] or 'none'}", soft_wrap=True, markup=False)
    if result["flat"] is not None:
        out.print("flat" if result["flat"] else "NOT FLAT: a process of ours went on growing")
    out.print("right" if result["right"] else f"WRONG: {result['wrong']} findings")


def _percentiles(times: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times)
    parts = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "longest": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 4) for name, part in parts.items()}


def _process(samples: Samples, replies: int) -> dict[str, Any]:
    return {
        "processor_ms_per_reply": round(1000 * samples.spent / max(1, replies), 1),
        "processor_percent": round(samples.mean_processor, 1),
        "processor_percent_most": round(max(samples.processor), 1),
        "mib_early": round(samples.memory_at(min(_EARLY_SECONDS, samples.at[-1] / 2)), 1),
        "mib_end": round(samples.memory[-1], 1),
        "mib_growth": round(samples.growth, 2),
        "mib_bound": round(samples.bound, 2),
        "flat": samples.growth <= samples.bound,
    }
