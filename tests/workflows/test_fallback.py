"""Which models are asked, in which order, and when nobody is asked any more."""

import asyncio

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from core.orchestrator.contracts import CallLimits, InteractionStatus, ModelAnswer, PlannedCall
from core.orchestrator.errors import ErrorType, NextStep
from tests.workflows.steps import Steps, answer, fail

DOWN = fail(ErrorType.UNAVAILABLE)


async def test_an_answer_ends_the_asking(temporal: Client) -> None:
    steps = Steps(first=answer, second=answer)
    view = await steps.run(temporal)
    assert steps.taken == ["load_memory", "build_prompt", "first", "store_results"]
    assert (view.status, view.model) == (InteractionStatus.COMPLETED, "first")
    assert steps.stored[0].answered_place == 0


async def test_models_are_asked_in_the_order_of_the_plan(temporal: Client) -> None:
    steps = Steps(zebra=DOWN, apple=DOWN, mango=answer, never=answer)
    view = await steps.run(temporal)
    assert steps.taken[2:] == ["zebra", "apple", "mango", "store_results"]
    assert steps.stored[0].answered_place == 2
    assert [attempt.model for attempt in view.attempts] == ["zebra", "apple", "mango"]


async def test_a_failure_that_no_model_can_mend_ends_the_asking(temporal: Client) -> None:
    steps = Steps(first=fail(ErrorType.AUTHENTICATION, NextStep.FAIL), second=answer)
    view = await steps.run(temporal)
    assert steps.taken[2:] == ["first", "store_results"]
    assert view.error is not None
    assert (view.error.type, view.error.detail) == (ErrorType.AUTHENTICATION, "first failed")


async def test_no_other_model_is_known_to_have_a_larger_context(temporal: Client) -> None:
    steps = Steps(first=fail(ErrorType.CONTEXT_LENGTH, NextStep.LARGER_CONTEXT), second=answer)
    view = await steps.run(temporal)
    assert steps.taken[2:] == ["first", "store_results"]
    assert view.error is not None
    assert view.error.type is ErrorType.CONTEXT_LENGTH


async def test_when_the_free_allowance_is_spent_free_models_are_passed_over(temporal: Client) -> None:
    spent = fail(ErrorType.RATE_LIMIT, NextStep.NEXT_PAID_MODEL)
    steps = Steps(one_free=spent, two_free=answer, paid=answer)
    view = await steps.run(temporal)
    assert steps.taken[2:] == ["one:free", "paid", "store_results"]
    assert view.model == "paid"


async def test_when_only_free_models_are_left_the_allowance_is_what_failed(temporal: Client) -> None:
    steps = Steps(one_free=fail(ErrorType.RATE_LIMIT, NextStep.NEXT_PAID_MODEL), two_free=answer)
    view = await steps.run(temporal)
    assert steps.taken[2:] == ["one:free", "store_results"]
    assert view.error is not None
    assert view.error.type is ErrorType.RATE_LIMIT


async def test_when_nobody_answers_the_error_tells_of_all_and_of_the_last(temporal: Client) -> None:
    view = await Steps(first=fail(ErrorType.TIMEOUT), second=DOWN).run(temporal)
    assert view.status is InteractionStatus.FAILED
    assert view.error is not None
    assert view.error.type is ErrorType.UNAVAILABLE
    assert view.error.detail == "none of 2 models answered; the last one: second failed"
    assert [attempt.error_type for attempt in view.attempts] == [ErrorType.TIMEOUT, ErrorType.UNAVAILABLE]


async def test_a_plan_without_models_fails_and_says_so(temporal: Client) -> None:
    view = await Steps().run(temporal)
    assert view.error is not None
    assert (view.error.type, view.error.detail) == (ErrorType.UNAVAILABLE, "no model is planned")


@pytest.mark.parametrize("seconds", [0, 0.5])
async def test_the_deadline_ends_the_asking(temporal: Client, seconds: float) -> None:
    steps = Steps(second=answer)
    steps.models = {"hangs": steps.hang, **steps.models}
    steps.limits = CallLimits(deadline_seconds=seconds)
    view = await steps.run(temporal)
    assert steps.taken[2:] == (["hangs"] if seconds else []) + ["store_results"]
    assert view.error is not None
    assert view.error.type is ErrorType.TIMEOUT
    assert view.error.detail == f"no model answered within the deadline of {seconds:g} seconds"


async def test_a_call_that_cannot_say_why_it_failed_is_followed_by_the_next_model(temporal: Client) -> None:
    async def broken(call: PlannedCall) -> ModelAnswer:
        raise ApplicationError("the ledger is made of cheese", non_retryable=True)

    steps = Steps(first=broken, second=answer)
    view = await steps.run(temporal)
    assert steps.taken[2:] == ["first", "second", "store_results"]
    assert view.status is InteractionStatus.COMPLETED

    alone = await Steps(first=broken).run(temporal)
    assert alone.error is not None
    assert (alone.error.type, alone.error.detail) == (ErrorType.UNAVAILABLE, "the ledger is made of cheese")


async def test_a_call_that_breaks_unexpectedly_is_made_again(temporal: Client) -> None:
    made = asyncio.Event()

    async def breaks_once(call: PlannedCall) -> ModelAnswer:
        if made.is_set():
            return await answer(call)
        made.set()
        raise RuntimeError("who would have thought")

    steps = Steps(first=breaks_once, second=answer)
    assert (await steps.run(temporal)).model == "first"
    assert steps.taken[2:] == ["first", "first", "store_results"]
