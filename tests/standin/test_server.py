import asyncio
import contextlib
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from standin import StandIn
from tests.standin.conftest import QUICK
from tests.standin.talk import ask, ask_streaming, connect, text


@contextlib.asynccontextmanager
async def terminal(*arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "standin", "--port", "0", *arguments, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ready_url(process: Process) -> str:
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    found = re.fullmatch(r"stand-in for OpenRouter ready: (http://127\.0\.0\.1:\d+/api/v1)\n", line)
    assert found, line
    return found[1]


async def test_the_first_token_takes_as_long_as_the_pace_says() -> None:
    unhurried = replace(QUICK, first_token=timedelta(milliseconds=40), token=timedelta(milliseconds=1))
    async with StandIn(pace=unhurried) as standin, connect(standin.base_url) as client:
        response = await ask_streaming(client)

    assert response.text.index("data:") > response.text.rindex(": OPENROUTER PROCESSING")
    assert response.text.count(": OPENROUTER PROCESSING") > 1


async def test_a_record_of_a_generation_is_not_there_at_once() -> None:
    async with (
        StandIn(pace=replace(QUICK, generation_record=timedelta(hours=1))) as standin,
        connect(standin.base_url) as client,
    ):
        generation_id = (await ask(client)).json()["id"]
        response = await client.get("/generation", params={"id": generation_id})

    assert response.status_code == 404
    assert response.json()["error"]["code"] == 404


async def test_stopping_drops_calls_that_never_end() -> None:
    standin = StandIn(pace=QUICK)
    await standin.start()
    async with connect(standin.base_url) as client:
        standin.script("openai/gpt-4", {"hold": True})
        endless = asyncio.create_task(ask_streaming(client))
        await standin.ledger.until_held()

        await standin.stop()
        with pytest.raises(httpx.TransportError):
            await endless
    assert standin.ledger.calls[-1].outcome == "aborted"


async def test_a_hundred_streams_run_at_once(client: httpx.AsyncClient, standin: StandIn) -> None:
    messages = [[{"role": "user", "content": f"number {number}"}] for number in range(100)]
    answers = await asyncio.gather(*(ask_streaming(client, messages=it) for it in messages))

    assert all(f'"number {number}"' in text(answer) for number, answer in enumerate(answers))
    assert standin.ledger.billed_calls == 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_in_a_terminal_it_answers_and_ends_on_a_signal(number: signal.Signals) -> None:
    async with terminal("--token-delay-ms", "1", "--first-token-delay-ms", "1") as process:
        async with connect(await ready_url(process)) as client:
            assert (await ask(client)).status_code == 200
        process.send_signal(number)

        assert await process.communicate() == (b"", b"")
        assert process.returncode == 0


async def test_a_delay_that_is_no_number_is_said_plainly() -> None:
    async with terminal("--token-delay-ms", "soon") as process:
        _, complaint = await process.communicate()

    assert process.returncode == 2
    assert complaint.endswith(b"'soon' is not a whole number of milliseconds\n")


async def test_a_port_in_use_is_said_in_one_line() -> None:
    async with StandIn() as standin, terminal("--port", str(standin.port)) as process:
        _, complaint = await process.communicate()

        assert process.returncode == 2
        assert complaint.startswith(f"standin: cannot listen on 127.0.0.1:{standin.port}: ".encode())
        assert b"in use" in complaint
        assert complaint.count(b"\n") == 1
