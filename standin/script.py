"""What the next calls of a model shall do, in order, whatever its name says.

A step is the name of a fault (`"down"`, or `"ok"` for none), a response spelt out (`{"status": 418, "body": …}`), or a
hold (`{"hold": true, "after": 3}`): the call stays open, after that many tokens, until `release`. Then it goes on, or
breaks with an error (`{"hold": true, "after": 3, "error": {"code": 403, …}}`).
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any

from standin.answer import Answer
from standin.faults import FAULTS
from standin.good_days import ok
from standin.ledger import Outcome
from standin.scenario import Behaviour

Step = str | Mapping[str, Any]

_HTTP_ERRORS = 400


class Script:
    """The steps still to come, per model, and the gate that held calls wait at."""

    def __init__(self) -> None:
        self._steps: defaultdict[str, deque[Behaviour]] = defaultdict(deque)
        self._gate = asyncio.Event()

    def add(self, model: str, *steps: Step) -> None:
        """Append steps for the next calls of a model.

        Raises:
            ValueError: a step is none; nothing was appended.
        """
        self._steps[model].extend([self._parse(step) for step in steps])

    def next_for(self, model: str) -> Behaviour:
        """Take the next step of a model; without one, its name decides."""
        if steps := self._steps.get(model):
            return steps.popleft()
        fault = FAULTS.get(model.removeprefix("standin/")) if model.startswith("standin/") else None
        return fault.behave if fault else ok

    def release(self) -> None:
        """Let every call go that is held now; later holds wait for the next release."""
        self._gate.set()
        self._gate = asyncio.Event()

    def clear(self) -> None:
        """Forget all steps and let every held call go."""
        self._steps.clear()
        self.release()

    def _parse(self, step: Step) -> Behaviour:
        if isinstance(step, str):
            if step not in FAULTS:
                raise ValueError(f"unknown fault '{step}'; the faults are: {', '.join(FAULTS)}")
            return FAULTS[step].behave
        match step:
            case {"hold": True, **rest} if not rest:
                return self._holding(after=0)
            case {"hold": True, "after": int(after), **rest} if not rest:
                return self._holding(after)
            case {"hold": True, "after": int(after), "error": Mapping() as error, **rest} if not rest:
                return self._holding(after, error)
            case {"status": int(status), **rest} if rest.keys() <= {"headers", "body"}:
                headers = {name: str(value) for name, value in dict(rest.get("headers", {})).items()}
                return _spelt_out(status, headers, rest.get("body", ""))
        raise ValueError(f"a step is a fault's name, a hold or a response, not {step!r}")

    def _holding(self, after: int, error: Mapping[str, Any] | None = None) -> Behaviour:
        async def hold(answer: Answer) -> None:
            await answer.speak(after)
            await answer.hold(self._gate)
            await (ok(answer) if error is None else answer.fail({"error": dict(error)}))

        return hold


def _spelt_out(status: int, headers: Mapping[str, str], body: dict[str, Any] | str) -> Behaviour:
    async def respond(answer: Answer) -> None:
        answer.respond(status, body, headers)
        answer.outcome = Outcome.COMPLETED if status < _HTTP_ERRORS else Outcome.FAILED

    return respond
