"""What follows a failed call: the posture of its error, what was shown by then, and the time that is left."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from core.orchestrator.contracts import AfterOutput, CallModel
from core.orchestrator.errors import NextStep, Posture

_FIRST_BACKOFF = timedelta(milliseconds=500)


@dataclass(frozen=True, slots=True)
class Following:
    """What follows."""

    wait: timedelta | None
    """How long to wait before the same model is asked again; None when it is not to be."""
    then: NextStep
    """Who is asked when it is not."""
    next: Literal["retry", "next_model", "give_up"]
    resets: bool
    """The text that was shown is to be forgotten: somebody begins afresh."""

    @property
    def wait_ms(self) -> int | None:
        """The wait, in milliseconds."""
        return None if self.wait is None else round(self.wait.total_seconds() * 1000)


def what_follows(
    posture: Posture, tries: int, request: CallModel, *, shown: bool, max_wait: timedelta, time_left: timedelta | None
) -> Following:
    """Decide what follows a failed call.

    Args:
        posture: what its error suggests.
        tries: calls to the same model that failed so, this one included.
        request: the call.
        shown: it had said something by then.
        max_wait: a longer wait means the next model at once.
        time_left: so does a wait that is longer than this.
    """
    wait = _wait(posture, tries, max_wait if time_left is None else min(max_wait, time_left))
    then = posture.then
    if shown and request.after_output is AfterOutput.INCOMPLETE:
        wait, then = None, NextStep.FAIL
    elif shown and request.after_output is AfterOutput.CONTINUE and not request.is_last and then is not NextStep.FAIL:
        wait = None  # it is known to break in the middle, and another can go on from there
    gives_up = wait is None and (then is NextStep.FAIL or request.is_last)
    return Following(
        wait=wait,
        then=then,
        next="give_up" if gives_up else "next_model" if wait is None else "retry",
        resets=shown and not gives_up and request.after_output is AfterOutput.RESTART,
    )


def _wait(posture: Posture, tries: int, longest: timedelta) -> timedelta | None:
    if tries >= posture.tries:
        return None
    wait = posture.retry_after if posture.retry_after is not None else _FIRST_BACKOFF * 2 ** (tries - 1)
    return wait if wait <= longest else None
