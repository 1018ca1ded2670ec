"""What was called and what was billed: the stand-in's side of every story a test wants to check.

Calls are kept for the last `keep` only, so that a long run does not grow; the totals count them all.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import uuid4

from standin.catalogue import Price

Json = dict[str, Any]


class Outcome(StrEnum):
    """How a call ended, seen from the server."""

    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"
    """The client left before the end."""


@dataclass(slots=True, eq=False)
class Call:
    """One chat call that was let in: requests refused for their shape or key are not calls."""

    ordinal: int
    """1 for the first call since the start or the last reset."""
    model: str
    messages: list[Json]
    stream: bool
    parameters: Json
    """Everything else in the request body."""
    headers: dict[str, str]
    """Names in lower case; the key is left out."""
    price: Price
    prompt_tokens: int
    generation_id: str = field(default_factory=lambda: f"gen-{uuid4().hex}")
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    """None while the call runs."""
    held: bool = False
    """True while a scripted hold keeps it open."""
    finish_reason: str | None = None
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    """How many of the completion tokens were reasoning."""
    own_key: bool = False
    """Paid with the account's own key at the provider: the price is the provider's alone."""
    labels: Json = field(default_factory=dict)
    """What the answer calls itself instead of the truth: `id`, `model`, `provider`, `finish_reason`."""

    @property
    def cost(self) -> Decimal:
        """USD so far. A call that generates nothing is free, as it is at OpenRouter."""
        if not self.completion_tokens:
            return Decimal(0)
        return self.prompt_tokens * self.price.prompt + self.completion_tokens * self.price.completion

    def to_json(self) -> Json:
        """The call as `GET /standin/calls` shows it."""
        return {
            "ordinal": self.ordinal,
            "generation_id": self.generation_id,
            "model": self.model,
            "messages": self.messages,
            "stream": self.stream,
            "parameters": self.parameters,
            "headers": self.headers,
            "started_at": self.started_at.isoformat(),
            "finished_at": self.finished_at and self.finished_at.isoformat(),
            "outcome": self.outcome,
            "held": self.held,
            "finish_reason": self.finish_reason,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost": float(self.cost),
        }


class Ledger:
    """The calls, newest last, and the running bill."""

    def __init__(self, keep: int = 10_000) -> None:
        self._keep = keep
        self._changed = asyncio.Event()
        self.clear()

    def clear(self) -> None:
        """Forget everything. A call that is still running is forgotten too and will not be billed."""
        self._calls: OrderedDict[str, Call] = OrderedDict()
        self._running: set[Call] = set()
        self._ordinal = 0
        self.total_cost = Decimal(0)
        """USD, over every settled call."""
        self.billed_calls = 0
        """How many settled calls cost anything."""
        self.changed()

    @property
    def calls(self) -> list[Call]:
        """The calls that are still kept, oldest first."""
        return list(self._calls.values())

    @property
    def total_calls(self) -> int:
        """How many calls there were, those no longer kept included."""
        return self._ordinal

    def find(self, generation_id: str) -> Call | None:
        """The call that was given this generation id, if it is still kept."""
        return self._calls.get(generation_id)

    def earlier_like(self, call: Call) -> int:
        """How many earlier calls asked the same model the very same thing."""
        return sum(
            other.model == call.model and other.messages == call.messages
            for other in self._calls.values()
            if other is not call
        )

    def open(
        self,
        *,
        model: str,
        messages: list[Json],
        stream: bool,
        parameters: Json,
        headers: dict[str, str],
        price: Price,
        prompt_tokens: int,
    ) -> Call:
        """Enter a call that begins."""
        self._ordinal += 1
        call = Call(self._ordinal, model, messages, stream, parameters, headers, price, prompt_tokens)
        self._calls[call.generation_id] = call
        self._running.add(call)
        if len(self._calls) > self._keep:
            self._calls.popitem(last=False)
        self.changed()
        return call

    def settle(self, call: Call, outcome: Outcome) -> None:
        """Enter the end of a call and bill it."""
        call.outcome = outcome
        call.finished_at = datetime.now(UTC)
        if call in self._running:
            self._running.discard(call)
            self.total_cost += call.cost
            self.billed_calls += call.cost > 0
        self.changed()

    def changed(self) -> None:
        """Wake everybody who waits in `until`."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[["Ledger"], bool]) -> None:
        """Wait until the condition holds: `await ledger.until(lambda it: it.calls[-1].held)`."""
        while not condition(self):
            await self._changed.wait()

    async def until_held(self, count: int = 1) -> None:
        """Wait until that many calls are held open."""
        await self.until(lambda _: sum(call.held for call in self._running) >= count)
