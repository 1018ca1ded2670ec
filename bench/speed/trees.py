"""Process trees: what they take of the machine, what others take of it, and how they are put to rest.

A contender is all of its processes, its Temporal server included. Those whose turn it is not are stopped by a signal:
an idle Temporal server uses some per cent of a core.
"""

import asyncio
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from bench.sampling import MEBIBYTE, family, memory_of

OTHERS_MATTER = 0.1
"""Of a core: a measurement beside so much of others' work is marked."""

_QUIET = 0.1
"""Of a core: a tree that uses no more for a moment has nothing left to do."""
_QUIET_SECONDS = 0.3
_LONGEST_SETTLING = 10


class Tree:
    """A process and all that it has started."""

    def __init__(self, pid: int) -> None:
        """Take in what runs now."""
        self._root = psutil.Process(pid)
        self._all = family(self._root)

    def look(self) -> None:
        """Take in what was started since."""
        self._all = family(self._root)

    @property
    def processor_seconds(self) -> float:
        """How long a core has worked for it."""
        total = 0.0
        for process in self._all:
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    @property
    def mebibytes(self) -> float:
        """What it holds in memory."""
        return memory_of(self._root) / MEBIBYTE

    async def settle(self) -> float:
        """Return once it has finished what it had begun, and how many seconds that took; at most ten."""
        began, before = time.monotonic(), self.processor_seconds
        while (waited := time.monotonic() - began) < _LONGEST_SETTLING:
            await asyncio.sleep(_QUIET_SECONDS)
            now = self.processor_seconds
            if now - before <= _QUIET * _QUIET_SECONDS:
                return waited
            before = now
        return waited

    def pause(self) -> None:
        """Let it rest, whoever is waiting for others first."""
        self._send(self._all, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on, whoever is waited for first."""
        self._send(self._all[::-1], signal.SIGCONT)

    def kill(self) -> None:
        """End all of it at once."""
        self.look()
        self._send(self._all, signal.SIGKILL)

    def _send(self, processes: Sequence[psutil.Process], name: signal.Signals) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(name)


@dataclass(frozen=True)
class Spent:
    """What a while has cost."""

    seconds: float
    processor_seconds: float
    """Of the one that was measured."""
    others: float
    """Cores that were busy with the work of nobody we know."""


class Meter:
    """Reads what one tree spends, and whether anybody else works on the machine."""

    def __init__(self, measured: Tree, known: Sequence[Tree]) -> None:
        """Begin now. `known` are all whose work is no other's, the measured one included."""
        self._measured, self._known = measured, known
        self._began = time.monotonic()
        self._before = measured.processor_seconds
        self._known_before = sum(tree.processor_seconds for tree in known)
        self._busy_before = _busy_seconds()

    def read(self) -> Spent:
        """Return what was spent since the beginning."""
        seconds = time.monotonic() - self._began
        ours = sum(tree.processor_seconds for tree in self._known) - self._known_before
        others = max(0.0, _busy_seconds() - self._busy_before - ours) / seconds
        return Spent(seconds, self._measured.processor_seconds - self._before, others)


def _busy_seconds() -> float:
    """Return how long cores have worked for processes, those of other machines on the same hardware included.

    Interrupts are left out: most of them are the network's, on behalf of whoever is measured.
    """
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0) + getattr(times, "steal", 0.0))
