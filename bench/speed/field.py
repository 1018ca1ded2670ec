"""The field: the upstream and all contenders, started once, each as processes of its own with a folder of its own."""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp

from bench.speed.asking import MINIMAL, OPENAI, OURS, UPSTREAM, Asker, Findings, Shape, asking, one_by_one
from bench.speed.trees import Tree
from tests.forks import ROOT
from tests.harness import ORCHESTRATOR, Process, free_port

KEY = "sk-or-bench"
_ALONE = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOG": "ERROR",
    "NO_DOCS": "True",
}
"""LiteLLM looks nothing up elsewhere, and tells nobody."""
_START_SECONDS = 60
_STOP_SECONDS = 10
_TOLD_CHARACTERS = 2000
_PAUSE_SECONDS = 0.05
_LONG_REST_SECONDS = 30
_COMES_ROUND_SECONDS = 1
"""After a long rest: a worker's polls have run out by then, and a task given to one of them would be lost for long."""
_WARM_UP = 3
_MOST_WARM_UPS = 20


@dataclass
class Contender:
    """Somebody who answers messages."""

    name: str
    url: str
    shape: Shape
    process: Process
    tree: Tree
    directory: Path
    rests: bool = True
    """Whether it is stopped while others have their turn. The upstream is not: they ask it."""
    temporal_port: int = 0
    key: str | None = None
    """Sent with every request."""
    findings: Findings = field(default_factory=Findings)
    _stopped_at: float = field(default_factory=time.monotonic)

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[Asker]:
        """Yield who asks it, once it answers as it should."""
        if self.rests and time.monotonic() - self._stopped_at > _LONG_REST_SECONDS:
            await asyncio.sleep(_COMES_ROUND_SECONDS)
        async with asking(self.url, self.shape, Findings(), self.key) as first:
            for _ in range(_MOST_WARM_UPS):  # the first ones after a rest may fail: its connections are old
                if len(await one_by_one(first.ask, _WARM_UP)) == _WARM_UP:
                    break
                await asyncio.sleep(_PAUSE_SECONDS)
        async with asking(self.url, self.shape, self.findings, self.key) as asker:
            yield asker

    async def begun(self) -> Self:
        """Return when it has answered for the first time, and rests: before that it may not be whole."""
        async with self.asked():
            pass
        self.rest()
        return self

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run during the block alone; one that has no rest runs all the time."""
        if self.rests:
            self.tree.resume()
        try:
            yield
        finally:
            self.rest()

    def rest(self) -> None:
        """Let it wait for its turn."""
        if self.rests:
            self.tree.look()
            self.tree.pause()
            self._stopped_at = time.monotonic()


class Field:
    """Starts contenders, and stops them."""

    def __init__(self, directory: Path, model_ms: float) -> None:
        """Keep databases and logs in `directory`."""
        self._directory = directory
        self._model_ms = model_ms
        self._processes: list[Process] = []
        self.upstream: Contender
        self.contenders: Sequence[Contender] = ()
        """Everybody whose work is no other's."""

    async def __aenter__(self) -> Self:
        port = free_port()
        command = [sys.executable, "-m", "bench.speed.upstream", "--port", str(port), "--model-ms", str(self._model_ms)]
        try:
            self.upstream = await self._start("upstream", command, port, shape=UPSTREAM, health="/api/v1/models")
            self.upstream.rests = False
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await asyncio.gather(*map(_end, self._processes))

    @property
    def base_url(self) -> str:
        """Of the upstream."""
        return f"{self.upstream.url}/api/v1"

    @property
    def trees(self) -> Sequence[Tree]:
        """Of everybody who was started."""
        return [self.upstream.tree, *(contender.tree for contender in self.contenders)]

    async def minimal(self, name: str, program: str, *more: str) -> Contender:
        """Start one of `bench.contenders`, with more options where it has them."""
        port, temporal_port = free_port(), free_port()
        folder = self._folder(name)
        options = {
            "--port": port,
            "--temporal-port": temporal_port,
            "--ui-port": free_port(),
            "--upstream": self.base_url,
            "--directory": folder,
        }
        command = [sys.executable, "-m", f"bench.contenders.{program}"]
        command += [*(str(part) for option in options.items() for part in option), *more]
        contender = await self._start(name, command, port, shape=MINIMAL, health="/healthz")
        contender.temporal_port = temporal_port
        return await contender.begun()

    async def ours(self, name: str = "ours") -> Contender:
        """Start the service as anybody does, with its own settings."""
        port, temporal_port = free_port(), free_port()
        options = {"--port": port, "--temporal-port": temporal_port, "--ui-port": free_port()}
        command = [ORCHESTRATOR, "up", *(str(part) for option in options.items() for part in option)]
        settings = {
            "OPENROUTER_API_KEY": KEY,
            "OPENROUTER_BASE_URL": self.base_url,
            "DATA_DIR": str(self._folder(name) / "data"),
        }
        # Its folder has no `.env` that would be read.
        contender = await self._start(
            name, command, port, shape=OURS, health="/readyz", environment=settings, cwd=self._folder(name)
        )
        contender.temporal_port = temporal_port
        return await contender.begun()

    async def litellm(self) -> Contender:
        """Start the LiteLLM proxy of `.venv-peers`, with nothing but this upstream."""
        folder, port = self._folder("litellm"), free_port()
        asked = {"model": "openai/gpt-3.5-turbo", "api_base": self.base_url, "api_key": KEY}
        config = {
            "model_list": [{"model_name": "openai/gpt-3.5-turbo", "litellm_params": asked}],
            "litellm_settings": {"telemetry": False, "num_retries": 0},
        }
        (folder / "config.yaml").write_text(json.dumps(config))  # which is YAML, too
        options = {"--config": folder / "config.yaml", "--host": "127.0.0.1", "--port": port, "--num_workers": 1}
        command = [str(ROOT / ".venv-peers/bin/litellm"), *(str(part) for option in options.items() for part in option)]
        key = f"sk-{secrets.token_hex(32)}"  # it does not start without one
        environment = {**_ALONE, "LITELLM_MASTER_KEY": key}
        contender = await self._start(
            "litellm", command, port, shape=OPENAI, health="/health/liveliness", environment=environment, cwd=folder
        )
        contender.key = key
        return await contender.begun()

    def _folder(self, name: str) -> Path:
        folder = self._directory / name.replace(" ", "-").replace(",", "")
        folder.mkdir(exist_ok=True)
        return folder

    async def _start(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        *,
        shape: Shape,
        health: str,
        environment: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> Contender:
        folder = self._folder(name)
        process = await Process.start(command, folder / "log", environment or {}, cwd)
        self._processes.append(process)
        url = f"http://127.0.0.1:{port}"
        await _until_it_answers(f"{url}{health}", process)
        return Contender(name, url, shape, process, Tree(process.pid), folder)


async def _until_it_answers(url: str, process: Process) -> None:
    deadline = time.monotonic() + _START_SECONDS
    async with aiohttp.ClientSession() as http:
        while True:
            if not process.running or time.monotonic() > deadline:
                raise RuntimeError(f"{url} does not answer:\n{process.output[-_TOLD_CHARACTERS:]}")
            with suppress(aiohttp.ClientError):
                async with http.get(url) as response:
                    if response.ok:
                        return
            await asyncio.sleep(_PAUSE_SECONDS)


async def _end(process: Process) -> None:
    """Stop a process that may be at rest, and all that it has started; at once, when even this is cancelled."""
    if not process.running:
        return
    tree = Tree(process.pid)
    tree.resume()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await process.stop()
    finally:
        if process.running:
            tree.kill()
