"""Asking the planned models in order until one answers: the heart of both workflows.

Nothing here waits on a clock: a try, a wait and a deadline all live inside the one activity per model, so a fallback
costs the history its activity and nothing else.
"""

from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, is_cancelled_exception
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

with workflow.unsafe.imports_passed_through():
    from core.orchestrator.contracts import (
        Attempt,
        CallFailure,
        CallModel,
        InteractionError,
        ModelAnswer,
        PromptPlan,
        SkippedCall,
        model_name,
    )
    from core.orchestrator.errors import ErrorType, NextStep
    from workflows import steps
    from workflows.order import Order

_GAP = "\N{NO-BREAK SPACE}" * 2
"""Between columns: the Temporal UI draws them without any space."""


async def ask_models(interaction_id: str, plan: PromptPlan) -> ModelAnswer | InteractionError:
    """Ask the models of a plan in order and return the first answer, or why there is none.

    Raises:
        ActivityError: (of a cancellation) the workflow was cancelled during a call.
    """
    deadline = workflow.now() + timedelta(seconds=plan.limits.deadline_seconds)
    order = Order(plan)
    failures: list[CallFailure] = []
    seen: list[Attempt | SkippedCall] = []
    while order:
        remaining = deadline - workflow.now()
        if remaining <= timedelta(0):
            return _given_up("the deadline has passed", seen, _too_late(plan))
        call, skipped = order.next()
        seen += skipped
        request = CallModel(
            interaction_id=interaction_id,
            call=call,
            after_output=plan.after_output,
            is_last=not order,
            skipped=skipped,
        )
        _show(f"asking {model_name(call.provider, call.model)}", seen)
        try:
            label = _label(len(failures), len(plan.calls), len(skipped))
            answer = await steps.call_model(request, label, plan.limits, remaining)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            if isinstance(error.cause, TemporalTimeoutError):
                return _given_up("the deadline has passed", seen, _too_late(plan))
            failure = _read_failure(error)
            failures.append(failure)
            seen += failure.attempts
            order.narrow(call, failure)
        else:
            _show(f"{model_name(answer.provider, answer.model)} answered", [*seen, *answer.attempts])
            return answer
    cancelled = bool(failures) and failures[-1].error_type is ErrorType.CANCELLED
    return _given_up("cancelled" if cancelled else "no whole answer", seen, _summary(failures))


def _given_up(why: str, seen: Sequence[Attempt | SkippedCall], error: InteractionError) -> InteractionError:
    _show(why, seen)
    return error


def _label(asked: int, planned: int, skipped: int) -> str:
    """Say how many models were asked before, and how many were passed over for this one."""
    place = f"fallback {asked} of {planned - 1}" if asked else f"first of {planned}" if planned > 1 else "only model"
    return f"{place} · {skipped} passed over" if skipped else place


def _show(state: str, seen: Sequence[Attempt | SkippedCall]) -> None:
    """Draw the attempts so far for whoever looks at the run in the Temporal UI."""
    lines = [f"**{state}**"]
    if seen:
        lines += ["", "| try | model | outcome | took |", "|--:|---|---|--:|"]
    lines += [_row(one) for one in seen]
    workflow.set_current_details("\n".join(lines))


def _row(one: Attempt | SkippedCall) -> str:
    if isinstance(one, SkippedCall):
        reason = one.reason.replace("|", "/")
        return f"|{_GAP}| {model_name(one.call.provider, one.call.model)}{_GAP}| passed over: {reason} | |"
    status = f" (HTTP {one.http_status})" if one.http_status else ""
    outcome = f"{one.error_type or one.status}{status}"
    model = model_name(one.provider, one.model)
    return f"| {one.ordinal}{_GAP}| {model}{_GAP}| {outcome}{_GAP}| {one.duration_ms or 0} ms |"


def _read_failure(error: ActivityError) -> CallFailure:
    """Return what `call_model` said of its failure, or the best that can be said when it could not speak."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.details:
        return CallFailure.model_validate(cause.details[0])
    detail = cause.message if isinstance(cause, FailureError) else "the call failed"
    return CallFailure(error_type=ErrorType.UNAVAILABLE, detail=detail, then=NextStep.NEXT_MODEL)


def _too_late(plan: PromptPlan) -> InteractionError:
    limit = plan.limits.deadline_seconds
    return InteractionError(
        type=ErrorType.TIMEOUT, detail=f"no model answered within the deadline of {limit:g} seconds"
    )


def _summary(failures: list[CallFailure]) -> InteractionError:
    if not failures:
        return InteractionError(type=ErrorType.UNAVAILABLE, detail="no model is planned")
    last = failures[-1]
    if len(failures) == 1:
        return InteractionError(type=last.error_type, detail=last.detail)
    return InteractionError(
        type=last.error_type, detail=f"none of {len(failures)} models answered; the last one: {last.detail}"
    )
