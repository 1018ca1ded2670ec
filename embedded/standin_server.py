"""The stand-in for OpenRouter as our child, for those who have no key yet."""

import asyncio
import re
import sys
import time

from embedded.children import ChildFailedError, Children

_START_SECONDS = 30
_PAUSE_SECONDS = 0.05
_READY = re.compile(r"ready: (http://\S+)")


async def start_standin(children: Children) -> str:
    """Start the stand-in on a free port and return its base URL.

    Raises:
        ChildFailedError: it ended, or was not ready in time.
    """
    child = await children.start("standin", [sys.executable, "-m", "standin", "--port", "0"])
    deadline = time.monotonic() + _START_SECONDS
    while (ready := _READY.search(child.tail())) is None:
        child.check()
        if time.monotonic() > deadline:
            raise ChildFailedError(f"{child.name} was not ready in time:\n{child.tail()}")
        await asyncio.sleep(_PAUSE_SECONDS)
    return ready[1]
