"""A long storm for people: `python -m tests.system.chaos --minutes 10`. It ends with 1 if anything is wrong."""

import argparse
import asyncio
import tempfile
from pathlib import Path

from standin import StandIn
from tests.harness import FORKS
from tests.system.chaos.storm import QUICK, at_its_own_postgres, at_its_own_temporal, crowds, storm


async def _run(minutes: float, workers: int, talkers: int, many: int, *, on_postgres: bool) -> bool:
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"logs and databases: {directory}")  # noqa: T201
    at_its_own = at_its_own_postgres if on_postgres else at_its_own_temporal
    async with StandIn(pace=QUICK, keep_calls=1_000_000) as standin, at_its_own(standin, directory, workers) as it:
        stormed = await storm(it, rounds=1, seconds=60 * minutes, talkers=talkers)
        print(f"storm: {stormed}")  # noqa: T201
        standin.reset()
        crowded = await crowds(it, many, losses=max(1, many // 30))
        print(f"crowds: {crowded}")  # noqa: T201
    await FORKS.end()
    return bool(stormed.findings or crowded.findings)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.system.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1, help="how long the storm lasts at least [1]")
    parser.add_argument("--workers", type=int, default=3, help="how many workers there are [3]")
    parser.add_argument("--talkers", type=int, default=12, help="how many sessions go on in the storm [12]")
    parser.add_argument("--crowd", type=int, default=100, help="how many send at once to one session afterwards [100]")
    parser.add_argument("--postgres", action="store_true", help="keep everything in PostgreSQL, and kill that too")
    chosen = parser.parse_args()
    running = _run(chosen.minutes, chosen.workers, chosen.talkers, chosen.crowd, on_postgres=chosen.postgres)
    raise SystemExit(asyncio.run(running))


if __name__ == "__main__":
    _main()
