"""Real processes for tests: a Temporal dev server, our API and our workers, all on free ports of 127.0.0.1.

One dev server serves the whole run; every `System` has a task queue, a data folder and processes of its own. Workers
and APIs are forks of a process that has imported everything: see `tests.forks`.
"""

import asyncio
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Self

import httpx
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle

from standin import StandIn
from tests.forks import ROOT, Fork, Forks

FORKS = Forks()
"""What workers and APIs are forks of; `tests/conftest.py` ends it."""
ORCHESTRATOR = str(Path(sys.executable).with_name("orchestrator"))
START_SECONDS = 30
STOP_SECONDS = 30

_PORTS = range(10_000, 32_000)
"""Below those that systems give to outgoing connections, one of which could have a port before its server does."""


def free_port() -> int:
    """Return a port that nothing listens on."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def clean_environment() -> dict[str, str]:
    """What a child gets of the environment of the tests."""
    return {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}


class Process:
    """One child process of a test; its output is kept in a file."""

    def __init__(self, process: asyncio.subprocess.Process | Fork, log: Path) -> None:
        self._process = process
        self.log = log

    @classmethod
    async def start(cls, command: Sequence[str], log: Path, environment: Mapping[str, str], cwd: Path = ROOT) -> Self:
        """Start a command with the test's environment on top of a clean one."""
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env={**clean_environment(), **environment},
                start_new_session=True,
            )
        return cls(process, log)

    @classmethod
    async def fork(cls, command: Sequence[str], log: Path, environment: Mapping[str, str], cwd: Path = ROOT) -> Self:
        """Start a command of ours likewise, without its imports."""
        return cls(await FORKS.start(command, log, {**clean_environment(), **environment}, cwd), log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def send(self, name: signal.Signals) -> None:
        self._process.send_signal(name)

    async def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Return the exit code."""
        return await asyncio.wait_for(self._process.wait(), seconds)

    async def kill(self) -> None:
        """End it the hard way: `kill -9`."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """Ask it to stop (SIGTERM) and return its exit code."""
        if self.running:
            self._process.terminate()
        return await self.wait()

    async def until_output(self, text: str, seconds: float = START_SECONDS) -> None:
        """Return when its output holds `text`."""
        await until(lambda: text in self.output or not self.running, seconds)
        assert text in self.output, self.output


async def until(condition: Any, seconds: float = START_SECONDS) -> None:
    """Return when a condition in another process holds: such a thing can only be looked for again and again."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        await asyncio.sleep(0.02)


async def closed_run(client: Client, workflow_id: str) -> WorkflowHandle[Any, Any]:
    """Return a run that has closed, however it did: a reply is there a moment before its run ends."""
    run = client.get_workflow_handle(workflow_id)
    with suppress(WorkflowFailureError):
        await run.result()
    return run


class System:
    """Our API and workers as separate processes on one data folder."""

    def __init__(
        self, temporal_address: str, standin: StandIn, directory: Path, *, forked: bool = True, **settings: str
    ) -> None:
        self.standin = standin
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "OPENROUTER_API_KEY": "sk-or-test-key",
            "OPENROUTER_BASE_URL": standin.base_url,
            "TEMPORAL_ADDRESS": temporal_address,
            "TASK_QUEUE": f"test-{self.port}",
            "DATA_DIR": str(directory / "data"),
            "API_PORT": str(self.port),
            "LOG_LEVEL": "info",
            **settings,
        }
        self.client = httpx.AsyncClient(base_url=self.url, timeout=90)
        self._forked = forked
        self._processes: list[Process] = []
        self._logs = count()

    async def start_worker(self, **settings: str) -> Process:
        """Start a worker and return when it polls."""
        process = await self._start([sys.executable, "worker.py"], settings)
        await process.until_output("worker ready")
        return process

    async def start_api(self, **settings: str) -> Process:
        """Start `orchestrator api` and return when it answers."""
        process = await self._start([ORCHESTRATOR, "api"], settings)
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert process.running, process.output
            assert time.monotonic() < deadline, process.output
            with suppress(httpx.TransportError):
                if (await self.client.get("/healthz")).is_success:
                    return process
            await asyncio.sleep(0.05)

    async def start(self, **settings: str) -> tuple[Process, Process]:
        """Start a worker and an API at once and return when both are ready."""
        worker, api = await asyncio.gather(self.start_worker(**settings), self.start_api(**settings))
        return worker, api

    async def command(self, *arguments: str, **settings: str) -> tuple[int, str]:
        """Run an `orchestrator` command and return its exit code and output."""
        process = await self._start([ORCHESTRATOR, *arguments], settings)
        return await process.wait(60), process.output

    async def interact(self, message: str = "Hello", **fields: Any) -> httpx.Response:
        """POST /api/llm/interact."""
        return await self.client.post("/api/llm/interact", json={"message": message, "user_id": "user123", **fields})

    async def stop(self) -> None:
        """End every process."""
        await self.client.aclose()
        for process in self._processes:
            await process.kill()

    async def _start(self, command: Sequence[str], settings: Mapping[str, str]) -> Process:
        log = self.directory / f"process-{next(self._logs)}.log"
        start = Process.fork if self._forked else Process.start
        process = await start(command, log, {**self.environment, **settings})
        self._processes.append(process)
        return process
