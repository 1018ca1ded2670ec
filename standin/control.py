"""The endpoints below `/standin/`: what a test, or a person, uses to steer the stand-in and to look inside."""

import json
from typing import Any

from aiohttp import web

from standin.faults import FAULTS
from standin.ledger import Ledger
from standin.script import Script


class ControlApi:
    """Steering and looking inside, over HTTP; in the same process `StandIn` offers the same."""

    def __init__(self, ledger: Ledger, script: Script) -> None:
        self._ledger = ledger
        self._script = script

    def routes(self) -> list[web.RouteDef]:
        """The endpoints, below `/standin`."""
        return [
            web.get("/standin/faults", self.faults),
            web.post("/standin/faults", self.add_faults),
            web.post("/standin/release", self.release),
            web.get("/standin/calls", self.calls),
            web.get("/standin/bill", self.bill),
            web.post("/standin/reset", self.reset),
        ]

    async def faults(self, _: web.Request) -> web.Response:
        """Every fault with its description."""
        return web.json_response({name: fault.description for name, fault in FAULTS.items()})

    async def add_faults(self, request: web.Request) -> web.Response:
        """Script the next calls of a model: `{"model": "openai/gpt-4", "faults": ["down", "ok"]}`."""
        try:
            body: Any = json.loads(await request.read())
            match body:
                case {"model": str(model), "faults": [*steps]}:
                    self._script.add(model, *steps)
                case _:
                    return _complaint("expected a model and a list of faults")
        except ValueError as wrong:
            return _complaint(str(wrong))
        return web.json_response({"scripted": len(steps)})

    async def release(self, _: web.Request) -> web.Response:
        """Let every held call go."""
        self._script.release()
        return web.json_response({})

    async def calls(self, _: web.Request) -> web.Response:
        """The calls that are still kept, oldest first."""
        return web.json_response({"calls": [call.to_json() for call in self._ledger.calls]})

    async def bill(self, _: web.Request) -> web.Response:
        """What all settled calls cost, and how many cost anything."""
        ledger = self._ledger
        total = {"total_cost": float(ledger.total_cost), "billed_calls": ledger.billed_calls}
        return web.json_response({**total, "total_calls": ledger.total_calls})

    async def reset(self, _: web.Request) -> web.Response:
        """Start afresh: no calls, no bill, no script, nothing held."""
        self._script.clear()
        self._ledger.clear()
        return web.json_response({})


def _complaint(message: str) -> web.Response:
    return web.json_response({"error": message}, status=400)
