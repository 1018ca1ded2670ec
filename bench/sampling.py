"""What each process of a run takes of the machine, looked at every few seconds."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

MEBIBYTE = 1024 * 1024
_FLAT_PART = 0.05
_FLAT_MEBIBYTES = 10


@dataclass
class Samples:
    """One process, its children counted in."""

    at: list[float] = field(default_factory=list)
    """Seconds since the beginning."""
    memory: list[float] = field(default_factory=list)
    """MiB; of memory that processes share, each has its part."""
    processor: list[float] = field(default_factory=list)
    """Per cent of one core since the sample before."""
    spent: float = 0
    """Seconds of a core, in all."""

    def memory_at(self, seconds: float) -> float:
        """Return the memory at a time, or at the sample closest to it."""
        return min(zip(self.at, self.memory, strict=True), key=lambda one: abs(one[0] - seconds))[1]

    @property
    def growth(self) -> float:
        """MiB that a straight line through the second half rises from its begin to its end."""
        half = len(self.at) // 2
        times, memory = self.at[half:], self.memory[half:]
        middle, mean = sum(times) / len(times), sum(memory) / len(memory)
        spread = sum((at - middle) ** 2 for at in times)
        if not spread:
            return 0
        slope = sum((at - middle) * (of - mean) for at, of in zip(times, memory, strict=True)) / spread
        return slope * (times[-1] - times[0])

    @property
    def bound(self) -> float:
        """MiB that it may have grown by in the second half and still be called flat."""
        half = self.memory[len(self.memory) // 2 :]
        return max(_FLAT_MEBIBYTES, _FLAT_PART * sum(half) / len(half))

    @property
    def mean_processor(self) -> float:
        """Per cent of one core over the second half."""
        half = self.processor[len(self.processor) // 2 :]
        return sum(half) / len(half)


class Sampler:
    """Looks at processes by their names here and their pids."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self.samples = {name: Samples() for name in pids}
        self.machine: list[float] = []
        """Per cent of one core that the whole machine was busy with, whoever's work it was."""
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._spent = {name: processor_seconds(process) for name, process in self._processes.items()}
        psutil.cpu_percent()  # counts from here
        self._began = self._last = time.monotonic()

    async def watch(self, seconds: float) -> None:
        """Take a sample every so many seconds, without end."""
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Take one sample of each."""
        now = time.monotonic()
        self.machine.append(psutil.cpu_percent() * (psutil.cpu_count() or 1))
        for name, process in self._processes.items():
            spent, memory = processor_seconds(process), memory_of(process)
            if not memory:  # it has ended
                continue
            samples = self.samples[name]
            samples.at.append(now - self._began)
            samples.memory.append(memory / MEBIBYTE)
            samples.processor.append(100 * max(0.0, spent - self._spent[name]) / (now - self._last))
            samples.spent += max(0.0, spent - self._spent[name])
            self._spent[name] = spent
        self._last = now


def family(process: psutil.Process) -> Sequence[psutil.Process]:
    """Return a process and all that it has started; of ourselves, nobody else."""
    if process.pid == os.getpid():  # all that runs is our child
        return [process]
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def processor_seconds(process: psutil.Process) -> float:
    """Return how long a core has worked for a process and its children."""
    total = 0.0
    for one in family(process):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def memory_of(process: psutil.Process) -> int:
    """Return the bytes that a process and its children hold; of what processes share, each has its part."""
    total = 0
    for one in family(process):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            info = one.memory_full_info()
            total += getattr(info, "pss", info.rss)  # only Linux tells the former
    return total
