"""The upstream of a soak: the stand-in, with replies that take as long as models do. `python -m bench.upstream`.

How long a reply takes is decided by the message it answers. So whoever sent it knows that too, and can tell the model's
time from ours without asking anybody.
"""

import argparse
import asyncio
import sys
import zlib
from datetime import timedelta

from aiohttp import web

from core.orchestrator.processes import stop_requested
from standin import Call, Pace, StandIn
from standin.answer import Answer
from standin.api import OpenRouterApi
from standin.control import ControlApi
from standin.reply import text_of

_LARGEST_CHECKSUM = 2**32 - 1
_BEFORE_THE_FIRST_TOKEN = 0.3
"""The part of a reply's time in which the model says nothing."""
_KEPT_CALLS = 100


def model_seconds(text: str, shortest: float, longest: float) -> float:
    """Return how long the reply to a text takes, from the request to its last token."""
    return shortest + (longest - shortest) * zlib.crc32(text.encode()) / _LARGEST_CHECKSUM


def first_token_seconds(text: str, shortest: float, longest: float) -> float:
    """Return how long the first token of that reply takes."""
    return model_seconds(text, shortest, longest) * _BEFORE_THE_FIRST_TOKEN


def seconds_between(text: str) -> tuple[float, float]:
    """Read `1-3`, the shortest and the longest reply in seconds."""
    shortest, _, longest = text.partition("-")
    return float(shortest), float(longest or shortest)


class _SlowApi(OpenRouterApi):
    def __init__(self, *, shortest: float, longest: float, of: StandIn) -> None:
        super().__init__(of.ledger, of._script, Pace())  # noqa: SLF001 - a stand-in of a kind of its own
        self._range = (shortest, longest)

    def _answer(self, request: web.Request, call: Call) -> Answer:
        answer = super()._answer(request, call)
        text = text_of(call.messages[-1])
        first = first_token_seconds(text, *self._range)
        rest = (model_seconds(text, *self._range) - first) / max(1, len(answer.pieces) - 1)
        answer.pace = Pace(first_token=timedelta(seconds=first), token=timedelta(seconds=rest))
        return answer


class SlowStandIn(StandIn):
    """A stand-in whose replies take their time."""

    def __init__(self, shortest: float, longest: float) -> None:
        self._range = (shortest, longest)
        super().__init__(keep_calls=_KEPT_CALLS)

    def _app(self, pace: Pace) -> web.Application:  # noqa: ARG002 - each reply has a pace of its own
        app = web.Application()
        app.add_routes(_SlowApi(shortest=self._range[0], longest=self._range[1], of=self).routes())
        app.add_routes(ControlApi(self.ledger, self._script).routes())
        return app


async def _serve(shortest: float, longest: float) -> None:
    stop = stop_requested()
    async with SlowStandIn(shortest, longest) as standin:
        sys.stdout.write(f"ready: {standin.base_url}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.upstream", description="A stand-in that takes its time.")
    parser.add_argument("--seconds", type=seconds_between, default=(1.0, 3.0), metavar="1-3", help="of one reply")
    asyncio.run(_serve(*parser.parse_args().seconds))
