"""How every workflow ends: whatever happened, the store decides, and the run shows what it decided."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate
from temporalio.exceptions import CancelledError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from core.orchestrator.contracts import (
        AttemptStatus,
        InteractionError,
        InteractionStatus,
        InteractionView,
        ModelAnswer,
        StoreResults,
        model_name,
    )
    from core.orchestrator.errors import ErrorType
    from temporal.search_attributes import ERROR_TYPES, FALLBACKS, MODEL, OUTCOME
    from workflows import steps

Outcome = ModelAnswer | InteractionError
"""What became of an interaction: a model's answer, or why there is none."""

_DETAIL_CHARACTERS = 300
MARKED_ARE_COMPLETED = "runs of marked interactions are completed"
"""Patch: before it they failed, for Temporal takes a cancellation that nobody asked it for as a failure."""
CANCELLED = InteractionError(type=ErrorType.CANCELLED, detail="the interaction was cancelled")


async def settle(interaction_id: str, answering: Awaitable[Outcome]) -> InteractionView:
    """Wait for an interaction's outcome, store it, and return the interaction as the store has it then.

    Raises:
        CancelledError: the run was cancelled and the store says so too, so that it shows as cancelled.
        FailureError: the store does not know the interaction, and nothing can be stored.
    """
    view = await _store(_results(interaction_id, await _outcome(answering)))
    models = {(attempt.provider, attempt.model) for attempt in view.attempts}
    error_types = sorted(
        {call.error_type for call in view.attempts if call.error_type and call.status != AttemptStatus.SKIPPED}
    )
    attributes: list[SearchAttributeUpdate[Any]] = [
        OUTCOME.value_set(view.status),
        FALLBACKS.value_set(max(0, len(models) - 1)),
    ]
    if view.model is not None and view.provider is not None:
        attributes.append(MODEL.value_set(model_name(view.provider, view.model)))
    if error_types:
        attributes.append(ERROR_TYPES.value_set(error_types))
    workflow.upsert_search_attributes(attributes)
    if view.status is InteractionStatus.CANCELLED and (_is_cancelled() or not workflow.patched(MARKED_ARE_COMPLETED)):
        raise CancelledError(CANCELLED.detail)
    return view


def _is_cancelled() -> bool:
    """Whether the run was asked to end; an interaction may be so by a later turn's wish, which its call hears first."""
    return workflow.cancellation_reason() is not None


async def _store(results: StoreResults) -> InteractionView:
    storing = asyncio.ensure_future(steps.store_results(results))
    with suppress(asyncio.CancelledError):
        # Too late to cancel: the store has been asked to end it, and what it says is what happened.
        await workflow.wait([storing])
    return await storing


async def _outcome(answering: Awaitable[Outcome]) -> Outcome:
    try:
        return await answering
    except (asyncio.CancelledError, FailureError) as error:  # a failed local step comes without an ActivityError
        # A cancellation is delivered once, so the clean-up that follows runs undisturbed.
        if is_cancelled_exception(error):
            return CANCELLED
        return InteractionError(type=ErrorType.UNAVAILABLE, detail=str(error.__cause__ or error)[:_DETAIL_CHARACTERS])


def _results(interaction_id: str, outcome: Outcome) -> StoreResults:
    if isinstance(outcome, ModelAnswer):
        return StoreResults(interaction_id=interaction_id, answered_place=outcome.place)
    return StoreResults(interaction_id=interaction_id, error=outcome)
