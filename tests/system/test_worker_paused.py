"""A worker that was only asleep, and wakes beside its replacement."""

import signal
import sqlite3
from contextlib import closing

from tests.harness import System
from tests.system.stories import (
    HELD,
    SHORT_HEARTBEAT,
    Json,
    eventually,
    explain,
    held,
    outcomes,
    read,
    roles,
    transcript,
    worker_calling,
)
from tests.system.streams import everything, kinds, reduced

MODEL = "test/model"
HELD_AFTER_A_WORD = {"hold": True, "after": 1}
WHAT_A_CALL_WRITES = ("attempts", "completions", "partials", "reply_events", "interactions", "messages")


def written(system: System) -> dict[str, list[tuple[object, ...]]]:
    """Everything that a call, or the end of an interaction, might write."""
    with closing(sqlite3.connect(system.directory / "data" / "orchestrator.db")) as database:
        return {table: database.execute(f"SELECT * FROM {table}").fetchall() for table in WHAT_A_CALL_WRITES}


async def test_a_worker_that_wakes_beside_its_replacement_writes_nothing(own_system: System) -> None:
    own_system.standin.script(MODEL, HELD, HELD_AFTER_A_WORD)
    workers = [await own_system.start_worker(**SHORT_HEARTBEAT) for _ in range(2)]
    await own_system.start_api()
    asked = await own_system.interact(session_id="paused", model=MODEL, background=True)
    interaction_id: str = asked.json()["interaction_id"]
    await held(own_system)
    sleeper = worker_calling(workers, interaction_id)
    # Stopping, it takes no more tasks: those handed to it asleep would each have to time out first.
    sleeper.send(signal.SIGTERM)
    await sleeper.until_output("Beginning worker shutdown")
    sleeper.send(signal.SIGSTOP)
    own_system.standin.release()  # the whole answer to its call waits for it
    await held(own_system)

    async def the_replacement_has_shown_its_word() -> bool:
        events = written(own_system)["reply_events"]
        return [event for event in events if "text.delta" in event] != []

    await eventually(the_replacement_has_shown_its_word)
    before: Json = await explain(own_system, interaction_id)
    kept = written(own_system)
    sleeper.send(signal.SIGCONT)
    assert await sleeper.wait() == 0
    assert "Traceback" not in sleeper.output
    assert written(own_system) == kept
    assert (await explain(own_system, interaction_id)) == before

    own_system.standin.release()
    reply = await read(own_system, interaction_id, wait=30)
    assert (reply["status"], outcomes(reply)) == ("completed", ["worker_lost", "succeeded"])
    assert len(own_system.standin.ledger.calls) == 2
    stored = await transcript(own_system, "paused")
    assert roles(stored) == ["user", "assistant"]
    assert stored[-1]["content"] == reply["message"]
    events = await everything(own_system, interaction_id)
    assert reduced(events).text == reply["message"]
    assert kinds(events).count("attempt.started") == 2
