"""Asking the planned models in order until one answers: the heart of both workflows.

Nothing here waits on a clock: a try, a wait and a deadline all live inside the one activity per model, so a fallback
costs the history its activity and nothing else.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, is_cancelled_exception
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

with workflow.unsafe.imports_passed_through():
    from core.orchestrator.contracts import (
        Attempt,
        CallFailure,
        InteractionError,
        ModelAnswer,
        PlannedCall,
        PromptPlan,
    )
    from core.orchestrator.errors import ErrorType, NextStep
    from workflows import steps


async def ask_models(interaction_id: str, plan: PromptPlan) -> ModelAnswer | InteractionError:
    """Ask the models of a plan in order and return the first answer, or why there is none.

    Raises:
        ActivityError: (of a cancellation) the workflow was cancelled during a call.
    """
    deadline = workflow.now() + timedelta(seconds=plan.limits.deadline_seconds)
    waiting = list(plan.calls)
    failures: list[CallFailure] = []
    attempts: list[Attempt] = []
    while waiting:
        call = waiting.pop(0)
        remaining = deadline - workflow.now()
        if remaining <= timedelta(0):
            return _too_late(plan)
        _show(f"asking {call.model}", attempts)
        try:
            answer = await steps.call_model(interaction_id, call, len(plan.calls), plan.limits, remaining)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            if isinstance(error.cause, TemporalTimeoutError):
                return _too_late(plan)
            failure = _read_failure(error)
            failures.append(failure)
            attempts += failure.attempts
            waiting = _still_worth_asking(waiting, failure.then)
        else:
            _show(f"{answer.model} answered", attempts + answer.attempts)
            return answer
    return _summary(failures)


def _show(state: str, attempts: list[Attempt]) -> None:
    """Draw the attempts so far for whoever looks at the run in the Temporal UI."""
    lines = [f"**{state}**"]
    if attempts:
        lines += ["", "| try | model | outcome | HTTP | took |", "|--:|---|---|--:|--:|"]
    lines += [
        f"| {attempt.ordinal} | {attempt.model} | {attempt.error_type or attempt.status} "
        f"| {attempt.http_status or ''} | {attempt.duration_ms or 0} ms |"
        for attempt in attempts
    ]
    workflow.set_current_details("\n".join(lines))


def _still_worth_asking(waiting: list[PlannedCall], then: NextStep) -> list[PlannedCall]:
    match then:
        case NextStep.NEXT_MODEL:
            return waiting
        case NextStep.NEXT_PAID_MODEL:
            return [call for call in waiting if not call.model.endswith(":free")]
        case NextStep.LARGER_CONTEXT | NextStep.FAIL:
            # No plan knows the context windows of its models, so none can be said to be larger.
            return []


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
