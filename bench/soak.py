"""So many people talk at a time, for minutes: what the service carries, what gives out first, and whether it is right.

    python -m bench.soak --minutes 10 --concurrent 200
    python -m bench.soak --minutes 10 --concurrent 200 --postgres --apis 2 --workers 2

Everything runs on 127.0.0.1, and stops by itself, or by Ctrl-C. The exit code is 1 if a reply was wrong, lost or
doubled, or if the memory of a process of ours went on growing.
"""

import argparse
import asyncio
import json
import os
import signal
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import psutil
from rich.console import Console

from bench.load import Tally, load
from bench.machine import Machine, Plan, running
from bench.report import show, summary
from bench.sampling import Sampler
from bench.upstream import seconds_between

RESULTS = Path(__file__).with_name("results") / "soak.json"
_OURS = ("api", "worker")

Result = TypeVar("Result")


async def soak(plan: Plan, *, seconds: float, talkers: int, every: float, out: Console) -> dict[str, Any]:
    """Run a load and return what came of it."""
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder:
        out.print(f"databases and logs: {folder}", soft_wrap=True)
        async with running(plan, Path(folder)) as machine:
            sampler = Sampler({**machine.pids, "load": os.getpid()})
            tally, over = Tally(), asyncio.Event()
            watching = asyncio.create_task(sampler.watch(every))
            telling = asyncio.create_task(_tell(tally, seconds, out))
            asyncio.get_running_loop().call_later(seconds, over.set)
            began = time.monotonic()
            try:
                model_range = seconds_between(plan.model_seconds)
                await load(machine.urls, tally, talkers=talkers, over=over, model_range=model_range)
            finally:
                watching.cancel()
                telling.cancel()
            took = time.monotonic() - began
            await _hold_against_totals(machine, tally)
    return summary(plan, tally, sampler, seconds=took, talkers=talkers, ours=_OURS)


async def _tell(tally: Tally, seconds: float, out: Console) -> None:
    began = time.monotonic()
    while True:
        await asyncio.sleep(max(5.0, seconds / 20))
        took = time.monotonic() - began
        refused, errors = tally.refused.total(), tally.errors.total()
        out.print(
            f"{took:6.0f} s  {tally.replies} replies, {tally.replies / took:.1f}/s; "
            f"{refused} refused, {errors} errors, {tally.wrong} wrong"
        )


async def _hold_against_totals(machine: Machine, tally: Tally) -> None:
    """What was heard, what is stored and what was asked of models are as many."""
    interactions, calls = await machine.stored()
    asked = await machine.upstream_calls()
    if not tally.replies == interactions == calls == asked:
        tally.finds(f"{tally.replies} replies, {interactions} interactions, {calls} calls stored, {asked} calls made")


async def or_until_stopped(run: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of a run; SIGINT and SIGTERM cancel it, and it cleans up."""
    task = asyncio.ensure_future(run)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1, help="how long the load lasts [1]")
    parser.add_argument("--concurrent", type=int, default=200, help="how many talk at a time [200]")
    parser.add_argument("--model-seconds", default="1-3", metavar="1-3", help="how long models take [1-3]")
    parser.add_argument("--postgres", action="store_true", help="PostgreSQL rather than SQLite")
    parser.add_argument("--apis", type=int, default=1, help="how many there are [1]")
    parser.add_argument("--workers", type=int, default=1, help="how many there are [1]")
    parser.add_argument("--every", type=float, default=2, metavar="SECONDS", help="between samples [2]")
    parser.add_argument("--set", type=_setting, action="append", default=[], metavar="NAME=VALUE", help="a setting")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the numbers go, as JSON")
    return parser


def main() -> int:
    """Run a soak as the command line says; the result is the exit code."""
    chosen, out = _parser().parse_args(), Console()
    plan = Plan(chosen.apis, chosen.workers, chosen.postgres, chosen.model_seconds, dict(chosen.set))
    seconds = 60 * chosen.minutes
    run = soak(plan, seconds=seconds, talkers=chosen.concurrent, every=chosen.every, out=out)
    try:
        result = asyncio.run(or_until_stopped(run))
    except asyncio.CancelledError:
        out.print("stopped")
        return 130
    result["machine"] = {"cores": psutil.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1)}
    show(result, out)
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(result, indent=2) + "\n")
    out.print(f"written to {chosen.output}", soft_wrap=True)
    return 0 if result["right"] and result["flat"] is not False else 1


if __name__ == "__main__":
    raise SystemExit(main())
