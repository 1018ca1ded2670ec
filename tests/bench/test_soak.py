"""The soak: that it runs, that it believes nobody, and what it calls flat."""

import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bench.load import Talker, Tally
from bench.sampling import Samples
from tests.harness import Process

Json = dict[str, Any]


async def test_a_soak_of_a_moment_finds_nothing_wrong(tmp_path: Path) -> None:
    output = tmp_path / "soak.json"
    options = ["--minutes", "0.02", "--concurrent", "4", "--model-seconds", "0.05-0.1", "--every", "0.2"]
    command = [sys.executable, "-m", "bench.soak", *options, "--output", str(output)]
    soak = await Process.start(command, tmp_path / "log", {"TMPDIR": str(tmp_path)})
    assert await soak.wait(90) == 0, soak.output
    result = json.loads(output.read_text())
    assert result["right"]
    assert result["replies"] > 0
    assert {"api 1", "worker 1", "temporal", "stand-in", "load"} == set(result["processes"])
    assert left_in(tmp_path) == {"soak.json", "log"}, "its databases are still there"


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class Service:
    """What a talker takes for the service; it may say anything."""

    def __init__(self, **lies: Any) -> None:
        self.lies = lies
        self.asked: list[Json] = []

    async def interact(self, request: web.Request) -> web.Response:
        text = (await request.json())["message"]
        self.asked.append({"role": "user", "content": text})
        reply = f'Cherry here. You said: "{text}". I remember 0 earlier messages.'
        view = {"interaction_id": "one", "status": "completed", "message": reply, **self.lies}
        self.asked.append({"role": "assistant", "content": view["message"]})
        if (await request.json()).get("stream"):
            events = [{"type": "text.delta", "delta": reply}, {"type": "interaction.completed", "response": view}]
            return web.Response(text="".join(f"data: {json.dumps(event)}\n\n" for event in events))
        return web.json_response(view)

    async def messages(self, _: web.Request) -> web.Response:
        items = [{"sequence": number, **message} for number, message in enumerate(self.asked[:2], start=1)]
        return web.json_response({"items": items[: self.lies.get("kept", 2)]})

    async def one(self, _: web.Request) -> web.Response:
        return web.json_response({"interaction_id": "one", "status": "completed", "message": self.asked[1]["content"]})

    async def interactions(self, _: web.Request) -> web.Response:
        attempts = [{"status": "succeeded"}] * self.lies.get("attempts_made", 1)
        view = {"interaction_id": "one", "attempts": attempts}
        return web.json_response({"items": [view] * self.lies.get("interactions", 1)})


async def found_in(service: Service) -> Tally:
    app = web.Application()
    app.add_routes(
        [
            web.post("/api/llm/interact", service.interact),
            web.get("/api/llm/interactions", service.interactions),
            web.get("/api/llm/interactions/one", service.one),
            web.get("/api/sessions/{session}/messages", service.messages),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    tally = Tally()
    try:
        async with aiohttp.ClientSession() as http:
            await Talker(http, [url], tally, "somebody", (0, 0)).talk_once(turns=1)
    finally:
        await runner.cleanup()
    return tally


async def test_what_is_right_is_called_right() -> None:
    assert (await found_in(Service())).findings == []


@pytest.mark.parametrize(
    "lies",
    [
        {"message": 'You said: "something else". I remember 0 earlier messages.'},
        {"message": None},
        {"status": "failed"},
        {"kept": 1},
        {"interactions": 2},
        {"attempts_made": 2},
    ],
    ids=lambda lies: next(iter(lies)),
)
async def test_what_is_wrong_is_found(lies: Json) -> None:
    assert (await found_in(Service(**lies))).wrong


def samples(memory: list[float]) -> Samples:
    return Samples([float(number) for number in range(len(memory))], memory, [0.0] * len(memory))


def test_memory_that_has_found_its_level_is_flat() -> None:
    level = samples([100.0 + 50 * min(1, number / 40) + number % 3 for number in range(100)])
    assert level.growth < level.bound


def test_memory_that_goes_on_growing_is_not_flat() -> None:
    leak = samples([100.0 + number for number in range(100)])
    assert leak.growth == pytest.approx(49)
    assert leak.growth > leak.bound
