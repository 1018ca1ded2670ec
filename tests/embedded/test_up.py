"""`orchestrator up`: everything on one machine, by one command, and nothing left behind however it ends."""

import asyncio
import signal
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import httpx

from tests.embedded.conftest import Ups, alive, family
from tests.harness import Process, free_port, until
from tests.temporal.keys import setting

READY_SECONDS = 10
STOP_SECONDS = 10


async def test_it_shows_its_progress_ends_on_a_signal_and_remembers(ups: Ups) -> None:
    ups.forked = False
    run = await ups.start("--hello")
    for text in (
        "stand-in for OpenRouter at http://127.0.0.1:",
        "OPENROUTER_API_KEY is not set: replies come from the stand-in, not a model.",
        f"Temporal dev server at 127.0.0.1:{ups.temporal_port}, its UI at http://127.0.0.1:{ups.ui_port}",
        "worker on task queue 'interactions'",
        f"API at {ups.url} and its docs at {ups.url}/docs",
        "Cherry here",
        "What to try next",
        f"--url {ups.url}",
    ):
        assert text in run.output
    async with httpx.AsyncClient(base_url=ups.url) as client:
        assert (await client.get("/readyz")).is_success
        assert (await client.get(f"http://127.0.0.1:{ups.ui_port}")).is_success
        metrics = (await client.get("/metrics")).text  # of API and worker in one
        for counted in ("interactions_begun_total", "interactions_ended_total", "attempts_total"):
            assert f"orchestrator_{counted}{{" in metrics
        assert "temporal_worker_task_slots_available{" in metrics
    await ups.interact("My name is Ada", "ours")
    await _ends(ups, run, signal.SIGINT)

    begun = time.monotonic()
    run = await ups.start(PAYLOAD_ENCRYPTION_KEYS=setting("a"), WORKER_DEPLOYMENT_NAME="ours", WORKER_BUILD_ID="1")
    assert time.monotonic() - begun < READY_SECONDS
    assert "My name is Ada" in await ups.interact("What is my name?", "ours")
    await _shows_in_its_ui_what_it_encrypts(ups)
    await _ends(ups, run, signal.SIGTERM)


async def _shows_in_its_ui_what_it_encrypts(ups: Ups) -> None:
    """Do as the page of the UI does, from wherever it was opened."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ups.ui_port}/api/v1") as ui:
        codec = (await ui.get("/settings")).json()["Codec"]["Endpoint"]
        listed: list[dict[str, Any]] = []
        async with asyncio.timeout(READY_SECONDS):  # Temporal's list of workflows lags behind
            while not listed:
                listed = (await ui.get("/namespaces/default/workflows")).json().get("executions", [])
        run = max(listed, key=lambda one: str(one["startTime"]))["execution"]
        history = (await ui.get(f"/namespaces/default/workflows/{run['workflowId']}/history")).json()["history"]
        started = history["events"][0]["workflowExecutionStartedEventAttributes"]["input"]
        assert "encryption-key-id" in started["payloads"][0]["metadata"]
        for host in ("127.0.0.1", "localhost"):
            headers = {"Origin": f"http://{host}:{ups.ui_port}", "X-Namespace": "default"}
            decoded = await ui.post(f"{codec}/decode?preserveStorageRefs=true", json=started, headers=headers)
            assert decoded.headers["access-control-allow-origin"] == headers["Origin"]
            assert "What is my name?" in b64decode(decoded.json()["payloads"][0]["data"]).decode()


async def _ends(ups: Ups, run: Process, by: signal.Signals) -> None:
    children = family(run)
    assert len(children) == 2  # Temporal and the stand-in
    run.send(by)
    assert await run.wait(STOP_SECONDS) == 0
    assert alive(children) == []
    assert run.output.endswith("stopped\n")
    assert not (ups.data / "up.json").exists()
    assert "Traceback" not in run.output


async def test_after_a_kill_no_child_lives_and_the_next_one_remembers(ups: Ups) -> None:
    run = await ups.start()
    await ups.interact("My name is Ada", "ours")
    children = family(run)
    await run.kill()
    await until(lambda: not alive(children), STOP_SECONDS)

    run = await ups.start()
    assert "My name is Ada" in await ups.interact("What is my name?", "ours")
    await _refuses_a_second_one(ups, run)
    await ups.until_closed()  # what is reported to a Temporal that is gone is reported for ten seconds
    await _ends_with_temporal(run)


async def _refuses_a_second_one(ups: Ups, first: Process) -> None:
    ports = ("--port", "--temporal-port", "--ui-port")
    second = await ups.begin(*(part for flag in ports for part in (flag, str(free_port()))))
    assert await second.wait() == 2
    assert second.output == (
        f"error: already running with this data folder as process {first.pid}; stop it, or choose another --data-dir\n"
    )
    async with httpx.AsyncClient(base_url=ups.url) as client:
        assert (await client.get("/readyz")).is_success


async def _ends_with_temporal(run: Process) -> None:
    children = family(run)
    (server,) = [process for process in children if "start-dev" in process.cmdline()]
    server.kill()
    assert await run.wait(STOP_SECONDS) == 1
    assert "error: temporal ended with exit code -9" in run.output
    assert alive(children) == []
    assert "Traceback" not in run.output


async def test_it_may_be_ended_before_it_is_ready(ups: Ups) -> None:
    run = await ups.begin()
    await run.until_output("stand-in for OpenRouter at")
    children = family(run)
    run.send(signal.SIGINT)
    assert await run.wait(STOP_SECONDS) == 0
    assert alive(children) == []
    assert "Traceback" not in run.output


async def test_with_a_temporal_address_that_server_is_used(ups: Ups, temporal_address: str) -> None:
    run = await ups.start("--hello", TEMPORAL_ADDRESS=temporal_address, TASK_QUEUE=f"up-{ups.port}")
    assert f"Temporal at {temporal_address}" in run.output
    assert "Cherry here" in run.output
    assert [Path(process.cmdline()[0]).name for process in family(run)] != ["temporal"]
    assert not any("start-dev" in process.cmdline() for process in family(run))
    assert await run.stop() == 0


async def test_with_a_temporal_address_that_does_not_answer_it_ends_with_one_line(ups: Ups) -> None:
    run = await ups.begin(TEMPORAL_ADDRESS="127.0.0.1:1")
    assert await run.wait() == 1
    errors = [line for line in run.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Temporal at 127.0.0.1:1 did not answer" in errors[0]
    assert "Traceback" not in run.output
