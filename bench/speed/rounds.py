"""The rounds: in each of them every contender is asked one by one, then by many at a time. Others rest meanwhile."""

import asyncio
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.speed.asking import Asker, Loop, one_by_one
from bench.speed.field import Contender, Field
from bench.speed.trees import OTHERS_MATTER, Meter, Spent, Tree
from bench.speed.upstream import ModelTime


@dataclass(frozen=True)
class Scale:
    """How long a run takes."""

    rounds: int
    one_by_one: int
    """Requests."""
    seconds: float
    """Of many at a time."""
    ramp: float = 1.0
    """Seconds before these."""
    clients: int = 32


@dataclass(frozen=True)
class Phase:
    """One measurement of one contender."""

    contender: str
    kind: str
    """`sequential`, `first text`, `concurrent`, or which turn of a session."""
    clients: int
    replies: int
    per_second: float
    p50_ms: float
    p99_ms: float
    added_p50_ms: float
    """Without the model's time."""
    added_p99_ms: float
    processor_ms: float
    """Of one reply: every process of the contender's."""
    settled_seconds: float
    """How long it went on working after the last reply."""
    mebibytes: float
    """Held by all of these at the end, when nothing was given back yet."""
    others: float
    """Cores that were busy with others' work."""

    @property
    def is_disturbed(self) -> bool:
        """Whether others' work may show in it."""
        return self.others > OTHERS_MATTER


class Referee:
    """Measures contenders."""

    def __init__(self, field: Field, takes: ModelTime, scale: Scale) -> None:
        """Ask who is on the field."""
        self._field, self._takes, self._scale = field, takes, scale
        self._us = Tree(os.getpid())
        self.clients = scale.clients

    async def turn(self, contender: Contender) -> Sequence[Phase]:
        """Give one contender its turn, and return what was found."""
        with contender.awake():
            async with contender.asked() as asker:
                found = [await self.sequential(contender, asker)]
                if contender.shape.piece is not None:
                    found.append(await self.first_text(contender, asker))
                found.append(await self.concurrent(contender, asker, self.clients))
        return found

    async def sequential(self, contender: Contender, asker: Asker) -> Phase:
        """Ask one by one."""
        meter = self._meter(contender)
        times = await one_by_one(asker.ask, self._scale.one_by_one)
        settled = await contender.tree.settle()
        return self._phase(contender, "sequential", 1, times, self._takes.whole, meter.read(), settled=settled)

    async def in_session(
        self, contender: Contender, asker: Asker, session: tuple[str, str], *, count: int, kind: str
    ) -> Phase:
        """Ask one by one in somebody's session, so many times."""
        meter = self._meter(contender)
        times = await one_by_one(asker.ask, count, session)
        settled = await contender.tree.settle()
        return self._phase(contender, kind, 1, times, self._takes.whole, meter.read(), settled=settled)

    async def first_text(self, contender: Contender, asker: Asker) -> Phase:
        """Ask one by one, and watch for the first piece of text."""
        meter = self._meter(contender)
        times = await one_by_one(asker.first_piece, self._scale.one_by_one)
        settled = await contender.tree.settle()
        return self._phase(contender, "first text", 1, times, self._takes.first, meter.read(), settled=settled)

    async def concurrent(self, contender: Contender, asker: Asker, clients: int) -> Phase:
        """Ask with many at a time, and wait until all that belongs to it is done.

        Speed is that between two moments of a loop that goes on before and after. Processor time is that of all: what
        is put off until after the replies belongs to them as well.
        """
        meter = self._meter(contender)
        async with Loop(asker, clients).running() as loop:
            await asyncio.sleep(self._scale.ramp)
            began = time.monotonic()
            await asyncio.sleep(self._scale.seconds)
            ended = time.monotonic()
        settled = await contender.tree.settle()
        return self._phase(
            contender,
            "concurrent",
            clients,
            loop.times_between(began, ended) or loop.times_between(began, math.inf),
            self._takes.whole,
            meter.read(),
            settled=settled,
            replies=len(loop.answered),
            per_second=loop.answered_between(began, ended) / (ended - began),
        )

    def _meter(self, contender: Contender) -> Meter:
        return Meter(contender.tree, [*self._field.trees, self._us])

    def _phase(  # noqa: PLR0917 - the columns of one row
        self,
        contender: Contender,
        kind: str,
        clients: int,
        times: Sequence[float],
        model: float,
        spent: Spent,
        *,
        settled: float,
        replies: int | None = None,
        per_second: float | None = None,
    ) -> Phase:
        p50, p99 = (1000 * part for part in percentiles(times, 0.5, 0.99))
        count = len(times) if replies is None else replies
        return Phase(
            contender=contender.name,
            kind=kind,
            clients=clients,
            replies=count,
            per_second=count / spent.seconds if per_second is None else per_second,
            p50_ms=p50,
            p99_ms=p99,
            added_p50_ms=p50 - 1000 * model,
            added_p99_ms=p99 - 1000 * model,
            processor_ms=1000 * spent.processor_seconds / max(1, count),
            settled_seconds=settled,
            mebibytes=contender.tree.mebibytes,
            others=spent.others,
        )


def percentiles(values: Sequence[float], *parts: float) -> list[float]:
    """Return the values below which such parts of all lie; not a number where there are none."""
    ordered = sorted(values) or [math.nan]
    return [ordered[min(len(ordered) - 1, int(part * len(ordered)))] for part in parts]
