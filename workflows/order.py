"""Who is asked next: the order of the plan, what a failure leaves of it, and who is passed over for which reason.

Models that keep failing come last, in their order; so when all of them do, they are asked as if none did.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from core.orchestrator.contracts import CallFailure, PlannedCall, PromptPlan, SkippedCall
    from core.orchestrator.errors import ErrorType, NextStep

_FREE = ":free"


class Order:
    """The models still to be asked."""

    def __init__(self, plan: PromptPlan) -> None:
        """Begin with all of a plan."""
        self._waiting = list(plan.calls)
        self._passed_over: list[SkippedCall] = []
        self._known: set[int] = set()
        """The places whose being passed over is noted; nobody is told of one twice."""
        self._refusals = 0

    def __bool__(self) -> bool:
        """Whether somebody is left."""
        return bool(self._waiting)

    def next(self) -> tuple[PlannedCall, list[SkippedCall]]:
        """Take who is next, and who was passed over since the last one."""
        call = next((call for call in self._waiting if call.cooling is None), self._waiting[0])
        self._waiting.remove(call)
        for one in self._waiting:
            if call.cooling is None and one.cooling is not None and one.place < call.place:
                self._pass_over(one, one.cooling_error or ErrorType.UNAVAILABLE, one.cooling)
        # One of a later place has not been reached yet; a cooling model, though, comes after all others.
        told = [one for one in self._passed_over if one.call.place < call.place or call.cooling is not None]
        self._passed_over = [one for one in self._passed_over if one not in told]
        return call, sorted(told, key=lambda one: one.call.place)

    def narrow(self, failed: PlannedCall, failure: CallFailure) -> None:
        """Leave only those whom a failure leaves worth asking."""
        match failure.then:
            case NextStep.NEXT_MODEL:
                return
            case NextStep.NEXT_MODEL_ONCE:
                self._refusals += 1
                if self._refusals > 1:  # then it is not the model
                    self._waiting.clear()
            case NextStep.NEXT_PAID_MODEL:
                free = [one for one in self._waiting if one.provider == failed.provider and one.model.endswith(_FREE)]
                self._drop(free, failure, f"the free allowance at {failed.provider} is used up")
            case NextStep.NEXT_PROVIDER:
                same = [one for one in self._waiting if one.provider == failed.provider]
                self._drop(same, failure, f"{failed.provider} refuses the account, whichever model is asked")
            case NextStep.LARGER_CONTEXT:
                others = [one for one in self._waiting if not _is_larger(one, failed)]
                self._drop(others, failure, f"its context is not known to be larger than that of {failed.model}")
            case NextStep.FAIL:
                self._waiting.clear()

    def _drop(self, calls: list[PlannedCall], failure: CallFailure, reason: str) -> None:
        for call in calls:
            self._waiting.remove(call)
            self._pass_over(call, failure.error_type, reason)

    def _pass_over(self, call: PlannedCall, error_type: ErrorType, reason: str) -> None:
        if call.place not in self._known:
            self._known.add(call.place)
            self._passed_over.append(SkippedCall(call=call, error_type=error_type, reason=reason))


def _is_larger(call: PlannedCall, than: PlannedCall) -> bool:
    if call.context_length is None or than.context_length is None:
        return False
    return call.context_length > than.context_length
