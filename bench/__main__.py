"""How fast the service is, beside the same thing built in other ways, in one run on one machine.

    python -m bench --quick
    python -m bench
    python -m bench --only rounds,idle --rounds 7

Contenders: the upstream itself; `plain`, FastAPI and SQLite without durability; `floor`, a workflow with one activity,
and the same with three local ones that do nothing; `naive`, a workflow with four, on the service's Temporal flags and
on the default ones; the service; with --peers the LiteLLM proxy.

Everything runs on 127.0.0.1, and stops by itself, or by Ctrl-C. The exit code is 1 if a reply was wrong.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.soak import or_until_stopped
from bench.speed.results import Run, show
from bench.speed.running import CONTENDERS, FULL, PARTS, QUICK, QUICK_CONTENDERS, QUICK_PARTS, Course
from bench.speed.targets import LITELLM

RESULTS = Path(__file__).with_name("results") / "latest.json"
PEERS = Path(__file__).parents[1] / ".venv-peers"


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return parts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the main ratios, in two minutes")
    parser.add_argument("--peers", action="store_true", help="the LiteLLM proxy too, from .venv-peers")
    parser.add_argument("--rounds", type=int, help="how many [5; with --quick 3]")
    parser.add_argument("--only", type=_parts, metavar="PART,…", help=f"parts of it: {', '.join(PARTS)}")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the numbers go, as JSON; plots beside it")
    return parser


async def _run(course: Course) -> Run:
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        course.tell(f"databases and logs: {folder}")
        return await course.run(Path(folder))


def main() -> int:
    """Run the bench as the command line says; the result is the exit code."""
    parser = _parser()
    chosen, out, began = parser.parse_args(), Console(), time.monotonic()
    if chosen.peers and not PEERS.exists():
        parser.error(f"{PEERS} is missing; `make bench-peers` makes it")

    def tell(line: str) -> None:
        out.print(f"{time.monotonic() - began:5.0f} s  {line}", soft_wrap=True, highlight=False, markup=False)

    parts = chosen.only or (QUICK_PARTS if chosen.quick else PARTS)
    scale = QUICK if chosen.quick else FULL
    scale = replace(scale, rounds=chosen.rounds or scale.rounds)
    names = QUICK_CONTENDERS if chosen.quick else CONTENDERS
    names = (*names, LITELLM) if chosen.peers else names
    course = Course(parts, scale, tell, quick=chosen.quick, names=names)
    try:
        run = asyncio.run(or_until_stopped(_run(course)))
    except asyncio.CancelledError:
        out.print("stopped")
        return 130
    show(run, out)
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(run.as_json(), indent=2) + "\n")
    tell(f"written to {chosen.output}")
    _plot(run, chosen.output.parent, tell)
    return 1 if run.findings.count else 0


def _plot(run: Run, folder: Path, tell: Callable[[str], None]) -> None:
    try:
        from bench.speed.plots import plot_concurrency, plot_lengths  # noqa: PLC0415 - may not be there
    except ImportError:
        tell("no plots: matplotlib is not installed; `make bench` brings it")
        return
    if run.sweep:
        plot_concurrency(run.sweep, folder / "concurrency.png")
        tell(f"plotted {folder / 'concurrency.png'}")
    if run.lengths:
        plot_lengths(run.lengths, folder / "lengths.png")
        tell(f"plotted {folder / 'lengths.png'}")


if __name__ == "__main__":
    raise SystemExit(main())
