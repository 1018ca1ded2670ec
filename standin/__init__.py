"""A local stand-in for OpenRouter: a real HTTP server for tests, and for running the system without a key.

It speaks OpenRouter's wire format, good days and bad ones alike, so that everything above the socket is exercised as
it is in production: framing, time-outs, aborts, resets, errors inside a 200. What it answers shows what it was sent.

    async with StandIn() as standin:
        standin.script("openai/gpt-4", "down", "ok")    # the next two calls of that model
        ...                                             # talk to standin.base_url
        assert standin.ledger.calls[-1].outcome == "completed"

or, in a terminal, `python -m standin --port 8765`. The faults are models too (`standin/down`): see `standin.faults`.
"""

from standin.ledger import Call, Ledger, Outcome
from standin.pace import Pace
from standin.server import StandIn

__all__ = ["Call", "Ledger", "Outcome", "Pace", "StandIn"]
