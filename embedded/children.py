"""Child processes that never outlive us: ended on a clean stop, with a parent that was killed, or at the next start.

The kernel ends them with their parent where it can (Linux). Elsewhere, and for good measure, a file in the data folder
remembers them by pid and start time, so that a leftover is found and nobody else's process is ever touched.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from pydantic import BaseModel, ValidationError

from core.orchestrator.errors import ConfigurationError, OrchestratorError

_STOP_SECONDS = 10
_LAST_LINES = 15
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class _Entry(BaseModel):
    """A process as it is remembered."""

    name: str
    pid: int
    started: float
    """Seconds since the epoch."""


class _Record(BaseModel):
    """What stands in the file."""

    parent: _Entry | None = None
    children: list[_Entry] = []


class ChildFailedError(OrchestratorError):
    """A child process ended although it should run."""


class Child:
    """One running child."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        """Watch `process`, whose output goes to `log`."""
        self.name = name
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Return if it runs.

        Raises:
            ChildFailedError: it has ended; the message holds the last lines of its output.
        """
        if self._process.returncode is not None:
            raise ChildFailedError(f"{self.name} ended with exit code {self._process.returncode}:\n{self.tail()}")

    def tail(self) -> str:
        """Return the last lines of its output."""
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_LAST_LINES:])

    async def wait(self) -> int:
        """Return its exit code when it has ended."""
        return await self._process.wait()

    async def stop(self) -> None:
        """Ask it to stop, and end it if it does not."""
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class Children:
    """The children of one run, remembered in the data folder."""

    def __init__(self, data_dir: Path) -> None:
        """Remember them in `data_dir`, and keep their output there."""
        self._record = data_dir / "up.json"
        self._logs = data_dir / "logs"
        self._running: list[Child] = []

    def take_over(self) -> list[str]:
        """Claim the data folder and end what an earlier run left behind.

        Returns:
            The names of the leftovers.

        Raises:
            ConfigurationError: another run is using the folder, or it cannot be written to.
        """
        earlier = self._earlier()
        if (parent := _same_process(earlier.parent)) is not None and parent.pid != os.getpid():
            raise ConfigurationError(
                f"already running with this data folder as process {parent.pid}; stop it, or choose another --data-dir"
            )
        leftovers = [(child.name, process) for child in earlier.children if (process := _same_process(child))]
        for _, process in leftovers:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, stubborn = psutil.wait_procs([process for _, process in leftovers], timeout=_STOP_SECONDS)
        for process in stubborn:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        try:
            self._remember()
        except OSError as error:
            raise ConfigurationError(
                f"the data folder {self._record.parent} cannot be written: {error.strerror}"
            ) from error
        return [name for name, _ in leftovers]

    async def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
        """Start a child in a process group of its own, so that Ctrl-C reaches it only through us."""
        self._logs.mkdir(parents=True, exist_ok=True)
        path = self._logs / f"{name}.log"
        with path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )
        child = Child(name, process, path)
        self._running.append(child)
        self._remember()
        return child

    async def one_ended(self) -> None:
        """Return when one of them has ended, and never while all of them run."""
        waits = [asyncio.create_task(child.wait()) for child in self._running]
        waits.append(asyncio.create_task(asyncio.Event().wait()))  # there may be no children
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def check(self) -> None:
        """Return if all of them run.

        Raises:
            ChildFailedError: one has ended.
        """
        for child in self._running:
            child.check()

    async def stop(self) -> bool:
        """Stop all, the youngest first, and tell whether there were any."""
        any_running = bool(self._running)
        while self._running:
            await self._running[-1].stop()
            self._running.pop()
        self._record.unlink(missing_ok=True)
        return any_running

    def _earlier(self) -> _Record:
        """Return what an earlier run wrote down; one that cannot be read says nothing."""
        try:
            return _Record.model_validate_json(self._record.read_bytes())
        except (OSError, ValidationError):
            return _Record()

    def _remember(self) -> None:
        record = _Record(
            parent=_entry("up", os.getpid()), children=[_entry(child.name, child.pid) for child in self._running]
        )
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self._record.write_text(record.model_dump_json())


def _entry(name: str, pid: int) -> _Entry:
    try:
        return _Entry(name=name, pid=pid, started=psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return _Entry(name=name, pid=pid, started=0)


def _same_process(entry: _Entry | None) -> psutil.Process | None:
    """Return the process if it still runs: pids are used again, pids with their start times are not."""
    if entry is None:
        return None
    try:
        process = psutil.Process(entry.pid)
        same = abs(process.create_time() - entry.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):  # a negative pid is a ValueError
        return None
    return process if same else None


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork, where little is allowed
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
