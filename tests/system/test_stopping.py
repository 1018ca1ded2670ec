"""SIGTERM and Ctrl-C: what is under way is finished or handed over, and the process ends without a complaint."""

import asyncio
import signal
import time

from tests.harness import Process, System
from tests.system.beside import beside
from tests.system.stories import (
    HELD,
    PLUGINS,
    answered,
    eventually,
    held,
    interaction_of,
    outcomes,
    read,
    roles,
    sending,
    transcript,
)
from tests.system.streams import events_in, everything, followed, reduced, sent

MODEL = "test/model"


def assert_went_quietly(process: Process) -> None:
    for complaint in ("Traceback", "Task was destroyed", "never awaited", "Unclosed", "exception"):
        assert complaint not in process.output, process.output


async def no_longer_listens(system: System) -> None:
    async def refused() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", system.port)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    await eventually(refused)


@beside
async def test_a_stopped_worker_finishes_its_call_or_hands_it_over(own_system: System) -> None:
    own_system.standin.script(MODEL, HELD, HELD)
    patient = await own_system.start_worker()
    api = await own_system.start_api()

    async with sending(own_system, session_id="finished", model=MODEL) as request:
        await held(own_system)
        patient.send(signal.SIGTERM)
        await patient.until_output("worker stopping")
        hasty = await own_system.start_worker(SHUTDOWN_GRACE_SECONDS="1", HEARTBEAT_TIMEOUT_SECONDS="60")
        own_system.standin.release()
        reply = await answered(request)
    assert await patient.wait() == 0
    assert_went_quietly(patient)
    assert outcomes(reply) == ["succeeded"]

    async with sending(own_system, session_id="handed over", model=MODEL) as request:
        await held(own_system)
        heir = await own_system.start_worker()
        asked_at = time.monotonic()
        assert await hasty.stop() == 0
        reply = await answered(request)
        assert time.monotonic() - asked_at < 30, "as long as if missing heartbeats had told it"
    assert_went_quietly(hasty)
    assert outcomes(reply) == ["worker_lost", "succeeded"]
    assert roles(await transcript(own_system, "handed over")) == ["user", "assistant"]

    assert await heir.stop() == 0
    assert_went_quietly(heir)
    assert await api.stop() == 0
    assert_went_quietly(api)


@beside
async def test_a_stopped_api_answers_the_request_in_flight_or_leaves_it_to_the_next(own_system: System) -> None:
    own_system.standin.script(MODEL, HELD, HELD, HELD)
    worker = await own_system.start_worker()
    for name in (signal.SIGTERM, signal.SIGINT):
        api = await own_system.start_api()
        async with sending(own_system, session_id=name.name, model=MODEL) as request:
            await held(own_system)
            api.send(name)
            await no_longer_listens(own_system)
            own_system.standin.release()
            reply = await answered(request)
        assert reply["status"] == "completed"
        assert await api.wait() == 0
        assert_went_quietly(api)

    api = await own_system.start_api(SHUTDOWN_GRACE_SECONDS="1")
    async with sending(own_system, session_id="cut short", model=MODEL) as request:
        await held(own_system)
        interaction_id = await interaction_of(own_system, "cut short")
        assert await api.stop() == 0
        told = await request
    assert_went_quietly(api)
    assert (told.status_code, told.json()["interaction_id"]) == (503, interaction_id)
    own_system.standin.release()
    await own_system.start_api()
    assert (await read(own_system, interaction_id, wait=30))["status"] == "completed"

    worker.send(signal.SIGINT)
    assert await worker.wait() == 0
    assert_went_quietly(worker)


@beside
async def test_a_stopped_api_ends_its_streams_at_once_and_the_next_one_goes_on_with_them(own_system: System) -> None:
    api = await own_system.start_api()
    begun = asyncio.Barrier(21)

    async def watch(number: int) -> tuple[str, int]:
        async with sent(own_system, session_id=f"s{number}", on_disconnect="cancel") as response:
            stream = events_in(response)
            last = await anext(stream)
            await begun.wait()
            async for event in stream:  # would raise if the stream broke off
                last = event
        return last["interaction_id"], last["sequence_number"]

    watching = asyncio.gather(*[watch(number) for number in range(20)])
    await begun.wait()
    asked_at = time.monotonic()
    assert await api.stop() == 0
    assert time.monotonic() - asked_at < 5
    seen = await watching
    assert_went_quietly(api)

    await own_system.start()
    rests = await asyncio.gather(*[everything(own_system, *place) for place in seen])
    assert {rest[-1]["type"] for rest in rests} == {"interaction.completed"}


@beside
async def test_what_a_stopped_api_was_streaming_another_one_streams_on(own_system: System) -> None:
    own_system.standin.script(MODEL, {"hold": True, "after": 3})
    _, api = await own_system.start()
    shared = {name: own_system.environment[name] for name in ("DATA_DIR", "TASK_QUEUE")}
    (directory := own_system.directory / "other").mkdir()
    other = System(own_system.environment["TEMPORAL_ADDRESS"], own_system.standin, directory, **shared)
    await other.start_api()
    async with sent(own_system, session_id="s", model=MODEL, on_disconnect="cancel") as response:
        stream = events_in(response)
        seen = [await anext(stream)]
        while seen[-1]["type"] != "text.delta":
            seen.append(await anext(stream))
        stopping = asyncio.create_task(api.stop())
        seen += [event async for event in stream]  # would raise if the stream broke off
        assert await stopping == 0
    assert_went_quietly(api)
    begun = reduced(seen)
    assert begun.response is None
    assert begun.interaction_id is not None

    async with followed(other, begun.interaction_id, begun.last_number) as response:
        own_system.standin.release()
        seen += [event async for event in events_in(response)]
    reply = await read(other, begun.interaction_id)
    assert (reduced(seen).text, reduced(seen).response) == (reply["message"], reply)
    assert outcomes(reply) == ["succeeded"]
    await other.stop()


@beside
async def test_a_call_that_will_not_end_keeps_no_worker(own_system: System) -> None:
    plugins = {"PLUGINS": f"{PLUGINS}.providers"}
    worker = await own_system.start_worker(SHUTDOWN_GRACE_SECONDS="1", **plugins)
    await own_system.start_api(**plugins)
    async with sending(own_system, session_id="stubborn", model="stubborn:x"):
        await worker.until_output("attempt.started")
        assert await worker.stop() == 1
    assert "left to another worker" in worker.output
