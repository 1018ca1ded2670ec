"""Whether memory finds its level: many interactions, with API and worker apart so that each can be judged."""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import Plan, running
from bench.sampling import Sampler, Samples
from bench.speed.asking import OURS, Findings, Loop, asking
from bench.speed.field import Field
from bench.speed.targets import Target

_JUDGED = ("api 1", "worker 1")
_CLIENTS = 16
_EVERY_SECONDS = 2
_TOLD_EVERY = 1000


@dataclass(frozen=True)
class Flatness:
    """What was found."""

    interactions: int
    samples: dict[str, Samples]

    def targets(self) -> list[Target]:
        """Return what is to hold of it."""
        return [
            Target(f"MiB that {name} grew in the second half of {self.interactions:,}", one.growth, round(one.bound, 1))
            for name, one in self.samples.items()
        ]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        rounded = {
            name: {"seconds": [round(at) for at in one.at], "mebibytes": [round(memory, 1) for memory in one.memory]}
            for name, one in self.samples.items()
        }
        return {"interactions": self.interactions, "processes": rounded}


async def flatness(parent: Path, interactions: int, findings: Findings, tell: Callable[[str], None]) -> Flatness:
    """Have so many interactions, with a model that takes no time."""
    with tempfile.TemporaryDirectory(dir=parent, prefix="flat-") as folder:
        async with Field(Path(folder), model_ms=0) as field:
            plan = Plan(settings={"OPENROUTER_BASE_URL": field.base_url})
            async with running(plan, Path(folder)) as machine:
                sampler = Sampler({name: machine.pids[name] for name in _JUDGED})
                watching = asyncio.create_task(sampler.watch(_EVERY_SECONDS))
                try:
                    async with (
                        asking(machine.urls[0], OURS, findings) as asker,
                        Loop(asker, _CLIENTS).running() as loop,
                    ):
                        told = 0
                        while (count := len(loop.answered)) < interactions and not findings.count:
                            await asyncio.sleep(_EVERY_SECONDS)
                            if count - told >= _TOLD_EVERY:
                                told = count
                                tell(f"memory: {count:,} of {interactions:,}")
                finally:
                    watching.cancel()
                sampler.look()
    return Flatness(len(loop.answered), sampler.samples)
