"""A worker that dies by SIGKILL at a named moment, as if the machine had failed there.

A moment is armed by a file of its name in DEATHS_DIR; the first process to take the file dies. The moments:

    load_memory, build_prompt, store_results   at the step's first use of the database
    end_kept                                   the answer and the end are in the store, Temporal has not heard of it
"""

import os
import signal
from pathlib import Path

from sqlalchemy import Connection, Engine, event
from temporalio import activity

from core.orchestrator.events import InteractionEvent
from core.orchestrator.extensions import subscribe

_ARMED = Path(os.environ["DEATHS_DIR"])


def _die(moment: str) -> None:
    try:
        (_ARMED / moment).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


@event.listens_for(Engine, "begin")
def _at_a_transaction(connection: Connection) -> None:
    if activity.in_activity():
        _die(activity.info().activity_type)


def _at_the_end(told: InteractionEvent) -> None:
    _die("end_kept")


subscribe("interaction.completed", _at_the_end)
