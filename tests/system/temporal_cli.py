"""The `temporal` program as an operator uses it, on the server of a system."""

import sys
from itertools import count
from pathlib import Path

from tests.harness import Process, System

_LOGS = count()


async def temporal_cli(system: System, *arguments: str) -> str:
    """Return what it prints."""
    log = system.directory / f"temporal-{next(_LOGS)}.log"
    command = [str(Path(sys.executable).with_name("temporal")), *arguments]
    process = await Process.start([*command, "--address", system.environment["TEMPORAL_ADDRESS"]], log, {})
    assert await process.wait() == 0, process.output
    return process.output
