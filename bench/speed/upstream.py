"""The upstream of the bench: replies of a known length after a known time. `python -m bench.speed.upstream`.

It does so little for a request that it is never what is waited for. A reply repeats the nonce of the message that it
answers, so that whoever asked can tell the reply from everybody else's.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from core.orchestrator.processes import stop_requested

HELD_MODEL = "bench/held"
"""Says one piece, and then nothing until its caller leaves or `POST /release`."""
_PIECES = 8
_NONCE = re.compile(r"nonce:([0-9a-f]+)")
_WORDS = "Here is what I think of it, and why I think so: the tide comes in, the tide goes out, and the boats wait. "
_LARGEST_REQUEST = 64 * 1024 * 1024


@dataclass(frozen=True)
class ModelTime:
    """How long the model takes; both in seconds from the request."""

    whole: float
    first: float
    """To the first of the pieces, which come at even distances."""

    @classmethod
    def of(cls, milliseconds: float) -> "ModelTime":
        """Return the time of a reply that takes so long in all."""
        return cls(milliseconds / 1000, milliseconds / 2000)

    def at(self, piece: int) -> float:
        """Return when a piece comes, counted from 0."""
        return self.first + (self.whole - self.first) * piece / (_PIECES - 1)


def message_with(nonce: str) -> str:
    """Return a message that is answered with its nonce."""
    return f"What do you make of this? nonce:{nonce}"


def reply_to(nonce: str) -> str:
    """Return the one right answer to it."""
    return f"{_WORDS}You said nonce:{nonce}, did you not?"


def _pieces(text: str) -> list[str]:
    size = -(-len(text) // _PIECES)
    return [text[start : start + size] for start in range(0, len(text), size)]


def _nonce_in(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else json.dumps(content)
    found = _NONCE.findall(text)
    return str(found[-1]) if found else "none"


def _event(fields: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


class BenchUpstream:
    """Speaks OpenRouter's chat API, as far as anybody here asks for it."""

    def __init__(self, takes: ModelTime) -> None:
        """Answer after such a time."""
        self._takes = takes
        self._released = asyncio.Event()

    def app(self) -> web.Application:
        """Return the routes."""
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        app.add_routes(
            [
                web.post("/api/v1/chat/completions", self._chat),
                web.get("/api/v1/models", self._models),
                web.post("/release", self._release),
            ]
        )
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        began = time.monotonic()
        body = await request.json()
        text = reply_to(_nonce_in(body))
        envelope = {"id": f"gen-{id(request):x}-{began}", "provider": "Bench", "model": body["model"], "created": 1}
        words = len(text) // 4
        usage = {"prompt_tokens": words, "completion_tokens": words, "total_tokens": 2 * words, "cost": 0.0001}
        if body.get("stream"):
            return await self._streamed(request, began, text, envelope, usage)
        await _until(began + self._takes.whole)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return web.json_response({**envelope, "object": "chat.completion", "choices": [choice], "usage": usage})

    async def _streamed(
        self, request: web.Request, began: float, text: str, envelope: dict[str, Any], usage: dict[str, Any]
    ) -> web.StreamResponse:
        chunk = {**envelope, "object": "chat.completion.chunk"}
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, piece in enumerate(_pieces(text)):
            await _until(began + self._takes.at(number))
            choice = {"index": 0, "delta": {"role": "assistant", "content": piece}, "finish_reason": None}
            await response.write(_event({**chunk, "choices": [choice]}))
            if envelope["model"] == HELD_MODEL and number == 0:
                await self._released.wait()
        end = {"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}
        last = _event({**chunk, "choices": [end]}) + _event({**chunk, "choices": [], "usage": usage})
        await response.write(last + b"data: [DONE]\n\n")
        return response

    async def _models(self, _: web.Request) -> web.Response:
        names = ("openai/gpt-3.5-turbo", HELD_MODEL)
        prices = {"prompt": "0.0000005", "completion": "0.0000015"}
        models = [{"id": name, "name": name, "context_length": 16_385, "pricing": prices} for name in names]
        return web.json_response({"data": models})

    async def _release(self, _: web.Request) -> web.Response:
        self._released.set()
        self._released = asyncio.Event()
        return web.Response()


async def _until(moment: float) -> None:
    """Sleep until a moment rather than for a while: what was late before delays nothing that follows."""
    remaining = moment - time.monotonic()
    if remaining > 0:
        await asyncio.sleep(remaining)


async def serve(port: int, takes: ModelTime) -> None:
    """Answer until SIGTERM."""
    stop = stop_requested()
    runner = web.AppRunner(BenchUpstream(takes).app(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.speed.upstream", description="A model that costs nothing.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model-ms", type=float, default=200, help="how long a reply takes [200]")
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.port, ModelTime.of(chosen.model_ms)))
