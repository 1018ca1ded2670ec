"""A worker that was only asleep, and wakes beside its replacement."""

import signal

from tests.harness import System
from tests.system.stories import (
    HELD,
    SHORT_HEARTBEAT,
    Json,
    answered,
    eventually,
    explain,
    held,
    interaction_of,
    outcomes,
    read,
    roles,
    sending,
    transcript,
    worker_calling,
)

MODEL = "test/model"


async def test_a_worker_that_wakes_beside_its_replacement_writes_nothing(own_system: System) -> None:
    own_system.standin.script(MODEL, HELD, HELD)
    workers = [await own_system.start_worker(**SHORT_HEARTBEAT) for _ in range(2)]
    await own_system.start_api()

    async with sending(own_system, session_id="paused", model=MODEL) as request:
        await held(own_system)
        interaction_id = await interaction_of(own_system, "paused")
        sleeper = worker_calling(workers, interaction_id)
        # Stopping, it takes no more tasks: those handed to it asleep would each have to time out first.
        sleeper.send(signal.SIGTERM)
        await sleeper.until_output("Beginning worker shutdown")
        sleeper.send(signal.SIGSTOP)
        await held(own_system, 2)
        own_system.standin.release()

        async def the_replacement_has_its_answer() -> bool:
            return outcomes(await explain(own_system, interaction_id)) == ["worker_lost", "succeeded"]

        await eventually(the_replacement_has_its_answer)
        kept: Json = await explain(own_system, interaction_id)
        sleeper.send(signal.SIGCONT)  # the whole answer to its own call has long arrived
        reply = await answered(request)

    assert await sleeper.wait() == 0
    assert "Traceback" not in sleeper.output
    assert reply["attempts"] == kept["attempts"]
    assert (await read(own_system, interaction_id)) == reply
    assert roles(await transcript(own_system, "paused")) == ["user", "assistant"]
    assert len(own_system.standin.ledger.calls) == 2
