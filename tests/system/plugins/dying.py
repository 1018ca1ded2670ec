"""A worker that dies by SIGKILL at a named moment, as if the machine had failed there.

A moment is armed by a file of its name in DEATHS_DIR; the first process to take the file dies. The moments:

    load_memory, build_prompt, store_results   at the step's first use of the database; of the last, when it begins
    end_kept                                   the answer and the end are in the store, Temporal has not heard of it
"""

import os
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from temporalio import activity

from core.orchestrator.events import InteractionEvent
from core.orchestrator.extensions import subscribe
from core.orchestrator.interactions.results import Results
from core.orchestrator.storage.database import Database

P = ParamSpec("P")
R = TypeVar("R")

_ARMED = Path(os.environ["DEATHS_DIR"])


def _die(moment: str) -> None:
    try:
        (_ARMED / moment).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _deadly(function: Callable[P, R]) -> Callable[P, R]:
    @wraps(function)
    def die_first(*args: P.args, **named: P.kwargs) -> R:
        if activity.in_activity():
            _die(activity.info().activity_type)
        return function(*args, **named)

    return die_first


for kind, name in ((Database, "read"), (Database, "write"), (Results, "keep")):
    setattr(kind, name, _deadly(getattr(kind, name)))


def _at_the_end(told: InteractionEvent) -> None:
    _die("end_kept")


subscribe("interaction.completed", _at_the_end)
