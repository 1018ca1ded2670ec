"""A worker that dies by SIGKILL at a named moment, as if the machine had failed there.

A moment is armed by a file of its name in DEATHS_DIR; the first process to take the file dies. The moments:

    load_memory, build_prompt, store_results   at the step's first use of the database
    answer_kept                                the model's answer is in the store, Temporal has not heard of it
    end_kept                                   the end is in the store, Temporal has not heard of it
"""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine, event
from temporalio import activity

from core.orchestrator.events import InteractionEvent
from core.orchestrator.extensions import subscribe

_ARMED = Path(os.environ["DEATHS_DIR"])
_DATABASE = Path(os.environ["DATA_DIR"]) / "orchestrator.db"


def _die(moment: str) -> None:
    try:
        (_ARMED / moment).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _answer_is_kept(workflow_id: str) -> bool:
    with closing(sqlite3.connect(_DATABASE)) as database:
        query = "SELECT count(*) FROM completions WHERE 'interaction-' || interaction_id = ?"
        return bool(database.execute(query, (workflow_id,)).fetchone()[0])


@event.listens_for(Engine, "begin")
def _at_a_transaction(connection: Connection) -> None:
    if not activity.in_activity():
        return
    step = activity.info()
    _die(step.activity_type)
    if step.activity_type == "call_model" and (_ARMED / "answer_kept").exists():
        assert step.workflow_id is not None
        if _answer_is_kept(step.workflow_id):
            _die("answer_kept")


def _at_the_end(told: InteractionEvent) -> None:
    _die("end_kept")


subscribe("interaction.completed", _at_the_end)
