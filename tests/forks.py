"""Processes that are there at once: forks of one that has imported everything.

To start a worker or an API costs a second and a half of processor time, nearly all of it imports, and a test run does
it a hundred times. A fork is a process like any other, with a pid, sockets, threads and a database connection of its
own, and dies of `kill -9` like any other; only the imports are behind it. That the commands themselves work is shown
by the tests of `orchestrator up`, of the containers' commands, and whatever else goes through `Process.start`.

This module is both sides: `Forks` in the tests, and `python -m tests.forks`, which has imported everything. They
exchange lines of JSON. When the tests are gone, so are the forks.
"""

import asyncio
import gc
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
LOADED_LATE = ("uvicorn.lifespan.off", "uvicorn.protocols.http.h11_impl", "uvicorn.protocols.utils")
"""What libraries import only when they are used."""


class Fork:
    """One forked process, with the surface of `asyncio.subprocess.Process` that the tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    def end(self, code: int) -> None:
        """Take note that it has ended."""
        self.returncode = code
        self._ended.set()

    def send_signal(self, number: int) -> None:
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode


class Forks:
    """The tests' side: asks for forks, and is told of their ends."""

    def __init__(self) -> None:
        self._parent: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()
        self._begun: asyncio.Queue[Fork] = asyncio.Queue()
        self._running: dict[int, Fork] = {}
        self._listening: asyncio.Task[None] | None = None

    async def start(self, command: Sequence[str], log: Path, environment: Mapping[str, str], cwd: Path) -> Fork:
        """Start a command, `python worker.py` or `orchestrator` with arguments; output goes to the end of the log."""
        request = {"command": command, "log": str(log), "environment": environment, "cwd": str(cwd)}
        async with self._asking:
            if self._parent is None:
                self._parent = await self._begin(environment["PATH"])
            assert self._parent.stdin is not None
            self._parent.stdin.write(json.dumps(request).encode() + b"\n")
            await self._parent.stdin.drain()
            return await self._begun.get()

    async def end(self) -> None:
        """End the parent, if it was ever needed, and with it every fork that is left."""
        if self._parent is None or self._listening is None:
            return
        assert self._parent.stdin is not None
        self._parent.stdin.close()
        await self._parent.wait()
        await self._listening

    async def _begin(self, path: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.forks", stdin=pipe, stdout=pipe, cwd=ROOT, env={"PATH": path}
        )
        assert parent.stdout is not None
        self._listening = asyncio.create_task(self._listen(parent.stdout))
        return parent

    async def _listen(self, parent: asyncio.StreamReader) -> None:
        async for line in parent:
            told = json.loads(line)
            if "code" in told:
                self._running.pop(told["pid"]).end(told["code"])
            else:
                self._running[told["pid"]] = fork = Fork(told["pid"])
                self._begun.put_nowait(fork)


def _serve() -> None:
    """Fork whatever is asked for until the tests are gone."""
    tasks = len(list(Path("/proc/self/task").iterdir()))
    assert tasks == 1, "a process with threads cannot be forked safely"
    gc.freeze()
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    requests = sys.stdin.buffer.raw  # type: ignore[attr-defined]
    unread, children = b"", set[int]()
    while True:
        readable, _, _ = select.select([requests, told], [], [])
        if told in readable:
            os.read(told, 4096)
            _bury(children)
        if requests in readable:
            data = requests.read(65536)
            if not data:
                break
            *lines, unread = (unread + data).split(b"\n")
            for line in lines:
                children.add(pid := _fork(json.loads(line)))
                _tell({"pid": pid})
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _tell(what: Mapping[str, int]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _bury(children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        children.discard(pid)
        _tell({"pid": pid, "code": os.waitstatus_to_exitcode(status)})


def _fork(request: Mapping[str, Any]) -> int:
    Path(request["log"]).touch()  # whoever asks reads it at once
    pid = os.fork()
    if pid == 0:
        _become(request)
    return pid


def _become(request: Mapping[str, Any]) -> NoReturn:
    """Be the command that was asked for."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    output = os.open(request["log"], os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, standard in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(ours, standard)
    os.closerange(3, max(nothing, output) + 1)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    interpreter, *script = request["command"]
    is_worker = Path(script[0]).name == "worker.py"
    sys.argv = script if is_worker else [interpreter, *script]
    try:
        (worker if is_worker else cli).main()
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    leave(1)


if __name__ == "__main__":
    from importlib import import_module

    from temporalio.worker._worker import load_default_build_id

    import cli
    import worker
    from core.orchestrator.processes import leave

    for module in (*cli.COMMANDS.values(), *LOADED_LATE):
        import_module(module)
    load_default_build_id()  # a digest of all code, which the SDK remembers
    _serve()
