"""Step 3: one model, asked as often as its kind of failure allows.

The waits between tries are Temporal's, so that each try is one visible attempt and no worker is held by a pause.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.failures import only_storage_is_retried
from core.orchestrator.calls.answers import Progress
from core.orchestrator.calls.calling import FailedCall, ModelCaller
from core.orchestrator.contracts import CallModel, ModelAnswer
from core.orchestrator.errors import ErrorType

_HEARTBEATS_PER_TIMEOUT = 5
_FAREWELL = timedelta(seconds=1)
"""Before Temporal ends it at the deadline a call ends itself, so that the ledger knows what came of it."""


class CallModelActivity:
    """Calls models."""

    def __init__(self, caller: ModelCaller) -> None:
        """Call with `caller`."""
        self._caller = caller

    @activity.defn(name="call_model")
    async def call_model(self, request: CallModel) -> ModelAnswer:
        """Return the model's answer.

        Raises:
            ApplicationError: the call failed, with a `CallFailure` as its detail; retryable while the same model is
                to be tried again.
        """
        progress = Progress()
        heartbeats = asyncio.create_task(_heartbeat(progress))
        try:
            with only_storage_is_retried():
                outcome = await self._caller.call(request, progress, _interruption, _remaining())
        except asyncio.CancelledError:
            if activity.cancellation_details() and _interruption() is ErrorType.CANCELLED:
                raise
            # Handed over at once rather than when its heartbeats are missed.
            raise ApplicationError(
                "the worker stopped", type=ErrorType.WORKER_LOST, category=ApplicationErrorCategory.BENIGN
            ) from None
        finally:
            heartbeats.cancel()
            with suppress(asyncio.CancelledError):
                await heartbeats
        if isinstance(outcome, FailedCall):
            raise _error_of(outcome)
        return outcome


def _error_of(failed: FailedCall) -> ApplicationError:
    failure = failed.failure
    return ApplicationError(
        failure.detail,
        failure,
        type=failure.error_type,
        non_retryable=failed.retry_in is None,
        next_retry_delay=failed.retry_in,
        category=ApplicationErrorCategory.BENIGN,  # it is in the ledger, in the events and in the run
    )


def _interruption() -> ErrorType:
    details = activity.cancellation_details()
    return ErrorType.CANCELLED if details is not None and details.cancel_requested else ErrorType.WORKER_LOST


def _remaining() -> timedelta | None:
    """Return how long the call may take before the interaction's deadline; None where nobody set one."""
    info = activity.info()
    if info.schedule_to_close_timeout is None:
        return None
    remaining = info.schedule_to_close_timeout - (info.started_time - info.scheduled_time)
    return remaining - min(_FAREWELL, remaining / 10)


async def _heartbeat(progress: Progress) -> None:
    """Show signs of life and how far the call has come. A stalled stream has its own timer in the provider."""
    timeout = activity.info().heartbeat_timeout or timedelta(seconds=15)
    while True:
        # First a pause: the beginning is a sign of life of its own, and most calls end before there is need of another.
        await asyncio.sleep(timeout.total_seconds() / _HEARTBEATS_PER_TIMEOUT)
        activity.heartbeat({"attempt": progress.ordinal, "characters": progress.characters})
