"""The stand-in for OpenRouter as our child, for those who have no key yet."""

import asyncio
import re
import sys
import time

from pydantic import SecretStr

from core.orchestrator.config import Settings
from embedded.children import ChildFailedError, Children

_START_SECONDS = 30
_PAUSE_SECONDS = 0.05
_READY = re.compile(r"ready: (http://\S+)")


async def start_standin(settings: Settings, children: Children) -> Settings:
    """Start the stand-in on a free port and return settings that point to it.

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
    return settings.model_copy(update={"OPENROUTER_BASE_URL": ready[1], "OPENROUTER_API_KEY": SecretStr("stand-in")})
