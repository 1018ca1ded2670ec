"""A person at a terminal, for tests: a real pseudo-terminal whose screen can be waited for."""

import asyncio
import os
import pty
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.harness import ROOT, STOP_SECONDS, clean_environment

_OWN_TERMINAL = "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])"
"""Makes the terminal one whose Ctrl-C is a signal to the process."""
CTRL_C = "\x03"
CTRL_D = "\x04"


class Terminal:
    """One process with a terminal of its own."""

    def __init__(self, command: Sequence[str], cwd: Path = ROOT, **environment: str) -> None:
        self._master, terminal = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-SEc", _OWN_TERMINAL, *command],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=cwd,
            # A terminal without colours, so that what is seen is what was written.
            env={**clean_environment(), "TERM": "dumb", "COLUMNS": "200", **environment},
        )
        os.close(terminal)
        self.seen = ""
        """All that has come to the screen, as it came."""
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._master, self._read)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)

    def types(self, text: str) -> None:
        """Press these keys."""
        os.write(self._master, text.encode())

    async def until(self, text: str, after: int = 0) -> int:
        """Return when `text` is on the screen, and where it ends there; only what came after `after` counts."""
        while (place := self.seen.find(text, after)) < 0:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), STOP_SECONDS)
            except TimeoutError:
                raise AssertionError(f"{text!r} did not come after {self.seen!r}") from None
        return place + len(text)

    async def ends(self) -> int:
        """Return the exit code once the process has ended."""
        return await asyncio.to_thread(self._process.wait, STOP_SECONDS)

    async def ends_on(self, keys: str) -> int:
        """Press keys until the process has ended, and return its exit code.

        Once may not be enough: Python's `input` hears of a signal with the next key only, if it comes after the prompt
        was written and before the wait for a key has begun.
        """
        deadline = time.monotonic() + STOP_SECONDS
        while self._process.poll() is None:
            assert time.monotonic() < deadline, self.seen
            self.types(keys)
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, 1)
        return await self.ends()

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # nobody has the terminal open any more
            asyncio.get_running_loop().remove_reader(self._master)
            return
        self.seen += data.decode(errors="replace")
        self._news.set()
