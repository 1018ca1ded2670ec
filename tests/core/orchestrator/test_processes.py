import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio
from core.orchestrator.processes import run_process, stop_requested

async def main():
    stop = stop_requested()
    print("ready", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    await asyncio.Event().wait()

run_process(main())
"""

POOLS = """
import ctypes, threading
from core.orchestrator.processes import run_process

libc, together = ctypes.CDLL(None), threading.Barrier(9)

def take() -> None:
    libc.malloc(64)
    together.wait()

async def main() -> None:
    for thread in [threading.Thread(target=take, daemon=True) for _ in range(8)]:
        thread.start()
    together.wait()
    libc.malloc_stats()

run_process(main())
"""

CHILD = """
import asyncio, logging, sys
from core.orchestrator.logs import configure_logging
from core.orchestrator.processes import leave, run_process

async def main():
    configure_logging("info")
    logging.info("to nobody")
    command = [sys.executable, "-c", "print('a child')"]
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    told, _ = await child.communicate()
    with open(sys.argv[1], "wb") as file:
        file.write(told)
    print("to nobody")

run_process(main())
leave(3)
"""

READY = """
import gc, weakref
from core.orchestrator.processes import spare_what_stays

class Ring:
    def __init__(self) -> None:
        self.itself = self

gc.disable()
stays, lost = Ring(), weakref.ref(Ring())
spare_what_stays()
print(any(one is stays for one in gc.get_objects()), lost() is None)
"""


def test_what_stays_is_not_looked_through_again_and_garbage_does_not_stay() -> None:
    told = subprocess.run([sys.executable, "-c", READY], capture_output=True, text=True, check=True).stdout
    assert told == "False True\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_process_that_is_started_without_standard_files_does_its_work(tmp_path: Path, closed: str) -> None:
    told = tmp_path / "told"
    command = ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-c", CHILD, str(told)]
    assert subprocess.run(command, timeout=30, check=False).returncode == 3
    assert told.read_text() == "a child\n"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have one pool")
def test_threads_share_few_pools_of_memory() -> None:
    told = subprocess.run([sys.executable, "-c", POOLS], capture_output=True, text=True, check=True).stderr
    assert 1 <= told.count("Arena ") <= 2, told


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
