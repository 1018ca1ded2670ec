"""How long one call may take: its own limit, or what remains of its interaction's deadline."""

import asyncio
from datetime import timedelta

from core.orchestrator.errors import LLMProviderError, LLMProviderTimeoutError, NextStep, Posture


class TimeLimit:
    """The limit of one call, counted from its making on a clock that nobody sets."""

    def __init__(self, call_timeout: timedelta, remaining: timedelta | None) -> None:
        """End after `call_timeout`, or after `remaining`, when the interaction ends; None: it does not."""
        self._call_timeout = call_timeout
        self._deadline = None if remaining is None else _now() + remaining
        self._deadline_comes_first = False

    def timer(self) -> asyncio.Timeout:
        """Return what ends the call."""
        left = self.left
        self._deadline_comes_first = left is not None and left <= self._call_timeout
        limit = left if left is not None and self._deadline_comes_first else self._call_timeout
        return asyncio.timeout(limit.total_seconds())

    @property
    def left(self) -> timedelta | None:
        """What remains until the interaction's deadline; None where there is none."""
        return None if self._deadline is None else self._deadline - _now()

    def error(self) -> LLMProviderError:
        """Return why the call was ended."""
        if self._deadline_comes_first:
            return LLMProviderTimeoutError(
                "no model answered before the deadline", posture=Posture(then=NextStep.FAIL), may_be_billed=True
            )
        seconds = self._call_timeout.total_seconds()
        return LLMProviderTimeoutError(
            f"the call took longer than {seconds:g} seconds", posture=Posture(tries=2), may_be_billed=True
        )


def _now() -> timedelta:
    return timedelta(seconds=asyncio.get_running_loop().time())
