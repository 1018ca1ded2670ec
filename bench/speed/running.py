"""The course of a run: who starts, and what is measured in which order."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.speed.field import Field
from bench.speed.flatness import flatness
from bench.speed.idle import idle_streams
from bench.speed.lengths import EARLY, LATE, by_length, history_at
from bench.speed.results import Run
from bench.speed.rounds import Phase, Referee, Scale
from bench.speed.targets import DEFAULTS, EMPTY_STEPS, FLOOR, LITELLM, NAIVE, OURS
from bench.speed.upstream import ModelTime

PARTS = ("rounds", "sweep", "lengths", "history", "idle", "memory")
QUICK_PARTS = ("rounds", "history")
FULL = Scale(rounds=5, one_by_one=20, seconds=6)
QUICK = Scale(rounds=3, one_by_one=6, seconds=3)
QUICK_CONTENDERS = ("plain", FLOOR, NAIVE, DEFAULTS, OURS)
CONTENDERS = (*QUICK_CONTENDERS, EMPTY_STEPS)
_MODEL_MS = 200
_SWEEP = (1, 2, 4, 8, 16, 32, 64)
_SWEPT = (OURS, FLOOR, NAIVE, "plain")
_LENGTHS = (EARLY, 100, 1000, LATE)
_BLOCKS = 5
_INTERACTIONS = 20_000
"""After which memory is judged."""
_ONCE_IF_QUICK = ("upstream", "plain", DEFAULTS)


class Course:
    """One run."""

    def __init__(
        self,
        parts: Sequence[str],
        scale: Scale,
        tell: Callable[[str], None],
        *,
        quick: bool = False,
        names: Sequence[str] = CONTENDERS,
        model_ms: float = _MODEL_MS,
    ) -> None:
        """Measure `parts`, and tell how it goes on.

        Args:
            parts: of `PARTS`.
            scale: how much of each.
            tell: takes a line.
            quick: whether those who are there for comparison alone have one turn only.
            names: who takes part in the rounds.
            model_ms: how long the model takes.
        """
        self._parts, self._scale, self._quick, self._names, self._model_ms = parts, scale, quick, names, model_ms
        self.tell = tell

    async def run(self, folder: Path) -> Run:
        """Return what was found; `folder` gets databases and logs."""
        run = Run(self._quick, self._model_ms)
        async with Field(folder, self._model_ms) as field:
            referee = Referee(field, ModelTime.of(self._model_ms), self._scale)
            if {"rounds", "sweep"} & set(self._parts):
                await self._start(field)
            if "rounds" in self._parts:
                await self._rounds(run, referee, field)
            if "sweep" in self._parts:
                await self._sweep(run, referee, field)
            if {"lengths", "history", "idle"} & set(self._parts):
                await self._alone(run, referee, field)
            for contender in (field.upstream, *field.contenders):
                run.findings.take(contender.findings)
        if "memory" in self._parts:
            run.flatness = await flatness(folder, _INTERACTIONS, run.findings, self.tell)
        return run

    async def _start(self, field: Field) -> None:
        start = {
            "plain": lambda: field.minimal("plain", "plain"),
            FLOOR: lambda: field.minimal(FLOOR, "floor"),
            EMPTY_STEPS: lambda: field.minimal(EMPTY_STEPS, "floor", "--local-steps", "3"),
            NAIVE: lambda: field.minimal(NAIVE, "naive"),
            DEFAULTS: lambda: field.minimal(DEFAULTS, "naive", "--default-flags"),
            OURS: field.ours,
            LITELLM: field.litellm,
        }
        field.contenders = await asyncio.gather(*(start[name]() for name in self._names))
        self.tell(f"started: {', '.join(contender.name for contender in field.contenders)}")

    async def _rounds(self, run: Run, referee: Referee, field: Field) -> None:
        for number in range(self._scale.rounds):
            contenders = [field.upstream, *field.contenders]
            if self._quick and number:
                contenders = [one for one in contenders if one.name not in _ONCE_IF_QUICK]
            # Nobody is always the first, or always after the same other one.
            turn = number % len(contenders)
            phases: list[Phase] = []
            for contender in [*contenders[turn:], *contenders[:turn]]:
                found = await referee.turn(contender)
                self.tell(f"round {number + 1} of {self._scale.rounds}: {_line(found)}")
                phases += found
            run.rounds.append(phases)

    async def _sweep(self, run: Run, referee: Referee, field: Field) -> None:
        for contender in field.contenders:
            if contender.name in _SWEPT:
                with contender.awake():
                    async with contender.asked() as asker:
                        run.sweep += [await referee.concurrent(contender, asker, clients) for clients in _SWEEP]
                self.tell(f"sweep: {contender.name}")

    async def _alone(self, run: Run, referee: Referee, field: Field) -> None:
        """Measure a service that has just started, so that what it had to do before shows in nothing."""
        ours = await field.ours(f"{OURS}, alone")
        field.contenders = [*field.contenders, ours]
        with ours.awake():
            async with ours.asked() as asker:
                if "idle" in self._parts:
                    run.idle = await idle_streams(referee, field, ours, asker)
                    self.tell(f"idle streams: {run.idle.mebibytes:.1f} MiB")
                if "history" in self._parts:
                    for turn in (EARLY, LATE):
                        if history := await history_at(ours, asker, turn):
                            run.histories[turn] = history
                    self.tell(f"histories: {run.histories}")
                if "lengths" in self._parts:
                    run.lengths = await by_length(referee, ours, asker, lengths=_LENGTHS, blocks=_BLOCKS)
                    self.tell("lengths of conversations")


def _line(phases: Sequence[Phase]) -> str:
    parts = [f"{phase.kind} +{phase.added_p50_ms:.0f} ms, {phase.per_second:.1f}/s" for phase in phases]
    return f"{phases[0].contender}: {'; '.join(parts)}"
