"""Who looks on while calls are made, such as metrics and traces: told of each, asked for nothing."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from core.orchestrator.calls.ledger import BegunCall, Timing
from core.orchestrator.contracts import CallModel
from core.orchestrator.errors import ErrorType
from core.orchestrator.providers.base import ChatCompletion


class ObservedCall(Protocol):
    """One call, looked on at."""

    def answered(self, completion: ChatCompletion, timing: Timing) -> None:
        """Be told that an answer came."""

    def failed(self, error_type: ErrorType, timing: Timing, generation_id: str | None) -> None:
        """Be told that it broke, or was ended."""


class CallObserver(Protocol):
    """Looks on at calls."""

    def observe(self, request: CallModel, begun: BegunCall) -> AbstractContextManager[ObservedCall]:
        """Return what is around a call, from its beginning to its end."""


class NobodyLooks:
    """Nobody looks on."""

    @contextmanager
    def observe(self, _request: CallModel, _begun: BegunCall) -> Iterator[ObservedCall]:
        """Do nothing."""
        yield self

    def answered(self, completion: ChatCompletion, timing: Timing) -> None:
        """Do nothing."""

    def failed(self, error_type: ErrorType, timing: Timing, generation_id: str | None) -> None:
        """Do nothing."""
