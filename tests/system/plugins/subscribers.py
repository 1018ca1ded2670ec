"""Subscribers of other people: one writes down what it is told (to TOLD_FILE), the others are a nuisance."""

import asyncio
import json
import os
from pathlib import Path

from core.orchestrator.events import InteractionEvent
from core.orchestrator.extensions import subscribe

_TOLD = Path(os.environ["TOLD_FILE"])


def _raises(event: InteractionEvent) -> None:
    raise RuntimeError("a subscriber that raises")


async def _raises_later(event: InteractionEvent) -> None:
    raise RuntimeError("a subscriber that raises later")


async def _hangs(event: InteractionEvent) -> None:
    await asyncio.Event().wait()


def _writes_down(event: InteractionEvent) -> None:
    with _TOLD.open("a") as told:
        told.write(json.dumps({"type": event.type, **event.model_dump(mode="json")}) + "\n")


for nuisance in (_raises, _raises_later, _hangs):
    subscribe("*", nuisance)
subscribe("*", _writes_down)
