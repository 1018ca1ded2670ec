"""`kill -9` of the Temporal server during a call: it comes back on its database file, and nothing is lost."""

import time
from pathlib import Path

from standin import StandIn
from tests.harness import System
from tests.system.own_temporal import Temporal
from tests.system.stories import HELD, answered, eventually, held, interaction_of, read, roles, sending, transcript

MODEL = "test/model"


async def test_a_killed_temporal_server_costs_no_reply(tmp_path: Path) -> None:
    temporal = Temporal(tmp_path / "temporal")
    await temporal.start()
    async with StandIn() as standin:
        system = System(temporal.address, standin, tmp_path)
        try:
            standin.script(MODEL, HELD)
            worker = await system.start_worker()
            api = await system.start_api()
            async with sending(system, "My name is Ada", session_id="s", model=MODEL) as request:
                await held(system)
                interaction_id = await interaction_of(system, "s")
                await temporal.kill()
                standin.release()
                sent_at = time.monotonic()
                unheard = await system.interact("Nobody hears this", session_id="unheard")
                assert time.monotonic() - sent_at < 5
                await temporal.start()
                response = await request

            assert unheard.status_code == 503
            assert response.status_code in (200, 503), response.text
            if response.status_code == 503:  # it may not have had the patience
                assert response.json()["interaction_id"] == interaction_id
            reply = await read(system, interaction_id, wait=60)
            assert reply["status"] == "completed"
            assert roles(await transcript(system, "s")) == ["user", "assistant"]

            async with sending(system, "What is my name?", session_id="s") as request:
                assert "I remember 2 earlier messages" in (await answered(request))["message"]
            assert len(standin.ledger.calls) == 2

            async def is_given_up() -> bool:
                return (await read(system, unheard.json()["interaction_id"]))["status"] == "failed"

            await eventually(is_given_up)
            assert await transcript(system, "unheard") == []

            await temporal.kill()
            assert [await process.stop() for process in (worker, api)] == [0, 0]
            assert "Traceback" not in worker.output + api.output
        finally:
            await system.stop()
            await temporal.stop()
