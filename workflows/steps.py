"""The steps of an interaction, as a workflow sees them: a name, a payload, and how failure is met.

Local activities keep an interaction at two workflow tasks; only the model call, which takes long and must survive its
worker, is a regular activity. Timeouts and retries of a step are decided here and nowhere else.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from core.orchestrator.contracts import (
        BuildPrompt,
        CallLimits,
        CallModel,
        CancelCall,
        Contract,
        InteractionRequest,
        InteractionView,
        MemoryWindow,
        ModelAnswer,
        PromptPlan,
        StoreResults,
        model_name,
    )

Result = TypeVar("Result", bound=Contract)

_LOCAL_TIMEOUT = timedelta(seconds=15)
# The store may be away for a while: an accepted message waits for it rather than getting lost. What no retry can
# mend is raised as non-retryable by the activities themselves.
_LOCAL_RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), backoff_coefficient=2, maximum_interval=timedelta(seconds=5)
)
# `call_model` counts its own tries per kind of error in the ledger, so that a lost worker is no try, and says how long
# to wait; this interval only serves failures it could not record. A lost worker is one: it is noticed after the
# heartbeat timeout, and a caller waits for both, so the interval stays short however many tries there were.
_CALL_RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), backoff_coefficient=1)
_WAKE_RETRIES = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=3)
CALLS_ARE_WOKEN = "cancelled calls are woken"
"""Patch: runs that began before it wait until a heartbeat tells their call."""
_CALL_MARGIN = timedelta(seconds=10)
"""The call ends itself at its limit; Temporal steps in only if it could not."""


async def load_memory(request: InteractionRequest) -> MemoryWindow:
    """Find the turn's place in its session and what it may remember."""
    return await _local("load_memory", request, MemoryWindow, "memory of the session")


async def build_prompt(request: BuildPrompt) -> PromptPlan:
    """Choose the agent, render persona and memory, plan the models; the prompt stays in the store."""
    return await _local("build_prompt", request, PromptPlan, "prompt and model plan")


async def call_model(request: CallModel, label: str, limits: CallLimits, remaining: timedelta) -> ModelAnswer:
    """Ask one model, with Temporal's retries inside what remains of the interaction's deadline.

    Cancelled, it stops the call and returns or raises what came of it: an answer that was there first is an answer.
    """
    call: workflow.ActivityHandle[ModelAnswer] = workflow.start_activity(
        "call_model",
        request,
        result_type=ModelAnswer,
        schedule_to_close_timeout=remaining,
        start_to_close_timeout=timedelta(seconds=limits.call_seconds) + _CALL_MARGIN,
        heartbeat_timeout=timedelta(seconds=limits.heartbeat_seconds),
        retry_policy=_CALL_RETRIES,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=f"{model_name(request.call.provider, request.call.model)} · {label}",
    )
    try:
        await workflow.wait([call])  # unlike an `await` of the call itself, leaves it alone when it is cancelled
    except asyncio.CancelledError:
        await asyncio.sleep(0)  # no timer; a call whose end came with the cancellation takes that in first
        call.cancel()
        if workflow.patched(CALLS_ARE_WOKEN):
            await _wake(request.interaction_id)
    return await call


async def _wake(interaction_id: str) -> None:
    with suppress(FailureError):  # then it hears of it with a heartbeat
        await workflow.execute_local_activity(
            "cancel_call",
            CancelCall(interaction_id=interaction_id),
            start_to_close_timeout=_LOCAL_TIMEOUT,
            retry_policy=_WAKE_RETRIES,
            summary="the call is told to stop",
        )


async def store_results(request: StoreResults) -> InteractionView:
    """End the interaction in the store; what the store says is how it ended."""
    return await _local("store_results", request, InteractionView, "reply, usage and the end")


async def _local(name: str, request: Contract, result_type: type[Result], summary: str) -> Result:
    result: Result = await workflow.execute_local_activity(
        name,
        request,
        result_type=result_type,
        start_to_close_timeout=_LOCAL_TIMEOUT,
        retry_policy=_LOCAL_RETRIES,
        summary=summary,
    )
    return result
