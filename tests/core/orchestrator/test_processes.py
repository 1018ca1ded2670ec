import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio
from core.orchestrator.processes import stop_requested

async def main():
    stop = stop_requested()
    print("ready", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_to_stop_and_the_second_ends_the_process(name: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(name)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(name)
        assert process.wait(10) != 0
