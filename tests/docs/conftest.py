"""One real `orchestrator up` for all examples of the README: its own ports, its own data, no key."""

import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
import pytest

from tests.docs.documents import Example
from tests.harness import ROOT, Process, free_port

BIN = Path(sys.executable).parent
CLIENT = "core/orchestrator/examples/llm_client.py"


@dataclass
class Newcomer:
    """Somebody who has run `make run` and types the README's commands in a second terminal."""

    service: Process
    directory: Path
    port: int
    temporal_port: int
    ui_port: int
    first_screen: str = ""
    """What `make run` showed until it was ready."""
    interaction_id: str = ""
    """Of an interaction with a fallback."""
    _terminals: Iterator[int] = field(default_factory=count)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "DATA_DIR": str(self.directory / "data"),
            "API_PORT": str(self.port),
            "TEMPORAL_ADDRESS": f"127.0.0.1:{self.temporal_port}",
        }

    async def types(self, command: str) -> tuple[int, str]:
        """Run a command as the documents have it, with our ports in the place of the default ones.

        Returns:
            The exit code, and what was printed with the default ports again.
        """
        command = command.replace("http://127.0.0.1:8000", self.url)
        command = command.replace(CLIENT, f"{CLIENT} --url {self.url}")
        command = command.replace("WORKFLOW_ID", f"interaction-{self.interaction_id}")
        command = command.replace("INTERACTION_ID", self.interaction_id)
        command = re.sub(r"(?<![\w/])\.venv/bin/", lambda _: f"{shlex.quote(str(BIN))}/", command)
        command = re.sub(r"(?<![\w/])core/", lambda _: f"{shlex.quote(str(ROOT))}/core/", command)
        log = self.directory / f"terminal-{next(self._terminals)}.log"
        if _is_ours_alone(command):
            process = await Process.fork(shlex.split(command), log, self.environment, cwd=self.directory)
        else:
            process = await Process.start(["bash", "-c", command], log, self.environment, cwd=self.directory)
        code = await process.wait()
        return code, self.with_default_ports(process.output)

    def with_default_ports(self, text: str) -> str:
        for ours, default in ((self.port, 8000), (self.temporal_port, 7233), (self.ui_port, 8233)):
            text = text.replace(f"127.0.0.1:{ours}", f"127.0.0.1:{default}")
        return text

    async def sees(self, example: Example) -> None:
        """Run an example and compare what it prints."""
        code, printed = await self.types(example.command)
        assert code == 0, printed
        assert example.shows(printed), f"line {example.line}: {example.command}\n{printed}"


def _is_ours_alone(command: str) -> bool:
    """Whether a command needs no shell and is one that the tests have imported already: see `tests.forks`."""
    return Path(shlex.split(command)[0]).name == "orchestrator" and not re.search(r"[|<>&;$`]", command)


@pytest.fixture(scope="session")
async def newcomer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Newcomer]:
    # The folder is not the project's: a developer's `.env` there may hold a real key.
    directory = tmp_path_factory.mktemp("newcomer")
    ports = {"--port": free_port(), "--temporal-port": free_port(), "--ui-port": free_port()}
    flags = [part for flag, port in ports.items() for part in (flag, str(port))]
    service = await Process.start(
        [str(BIN / "orchestrator"), "up", "--hello", *flags],
        directory / "up.log",
        {"DATA_DIR": str(directory / "data")},
        cwd=directory,
    )
    someone = Newcomer(service, directory, *ports.values())
    try:
        await service.until_output("conversations are kept.\n", 60)
        someone.first_screen = service.output
        body = {
            "message": "Hello",
            "user_id": "user123",
            "model": "standin/down",
            "fallback_models": ["openai/gpt-4o"],
        }
        async with httpx.AsyncClient(base_url=someone.url, timeout=60) as client:
            answer = await client.post("/api/llm/interact", json=body)
        someone.interaction_id = answer.json()["interaction_id"]
        yield someone
    finally:
        await service.stop()
