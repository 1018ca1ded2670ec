"""`orchestrator up`: a process on free ports, with a data folder of its own."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest
from temporalio.client import Client

from tests.harness import Process, free_port

ORCHESTRATOR = str(Path(sys.executable).with_name("orchestrator"))


class Ups:
    """Runs of `orchestrator up` on one data folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.port, self.temporal_port, self.ui_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.forked = True
        """See `tests.forks`; False: the command itself."""
        self._runs: list[Process] = []
        self._workflow_id = ""

    async def begin(self, *arguments: str, **settings: str) -> Process:
        """Start one and do not wait for it."""
        ports = ("--port", self.port, "--temporal-port", self.temporal_port, "--ui-port", self.ui_port)
        command = [ORCHESTRATOR, "up", *(str(part) for part in ports), "--data-dir", str(self.data), *arguments]
        log = self.directory / f"up-{len(self._runs)}.log"
        # A folder of its own: no `.env` of a developer's shall be read.
        start = Process.fork if self.forked else Process.start
        run = await start(command, log, {"COLUMNS": "200", **settings}, cwd=self.directory)
        self._runs.append(run)
        return run

    async def start(self, *arguments: str, **settings: str) -> Process:
        """Start one and return when it is ready."""
        run = await self.begin(*arguments, **settings)
        await run.until_output("Ctrl-C stops everything")
        return run

    async def interact(self, message: str, session_id: str) -> str:
        """Return the reply to a message."""
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as client:
            body = {"message": message, "user_id": "ada", "session_id": session_id}
            response = await client.post("/api/llm/interact", json=body)
        assert response.status_code == 200, response.text
        self._workflow_id = response.json()["workflow_id"]
        return str(response.json()["message"])

    async def until_closed(self) -> None:
        """Return when Temporal has heard of the last reply, which its caller had before that."""
        client = await Client.connect(f"127.0.0.1:{self.temporal_port}")
        await client.get_workflow_handle(self._workflow_id).result()

    async def end(self) -> None:
        """End what a test left running."""
        for run in self._runs:
            left = family(run) if run.running else []
            await run.kill()
            for process in left:
                process.kill() if process.is_running() else None


def family(run: Process) -> list[psutil.Process]:
    """Return the processes that a run has started."""
    return psutil.Process(run.pid).children(recursive=True)


def alive(processes: list[psutil.Process]) -> list[str]:
    """Return the command lines of those that still run."""
    left = []
    for process in processes:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                left.append(" ".join(process.cmdline()))
        except psutil.NoSuchProcess:
            continue
    return left


@pytest.fixture
async def ups(tmp_path: Path) -> AsyncIterator[Ups]:
    ups = Ups(tmp_path)
    try:
        yield ups
    finally:
        await ups.end()
