"""Which models are asked, in which order, and when nobody is asked any more."""

import asyncio

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from core.orchestrator.contracts import AfterOutput, CallLimits, InteractionStatus, ModelAnswer, PlannedCall
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


async def test_a_model_whose_context_is_known_to_be_larger_is_asked_for_a_prompt_too_long(temporal: Client) -> None:
    steps = Steps(small=fail(ErrorType.CONTEXT_LENGTH, NextStep.LARGER_CONTEXT), smaller=answer, large=answer)
    steps.planned = {name: {"context_length": length} for name, length in (("small", 8), ("smaller", 4), ("large", 16))}
    view = await steps.run(temporal)
    assert steps.taken[2:] == ["small", "large", "store_results"]
    assert view.model == "large"


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


async def test_a_cooling_model_is_asked_last_and_the_call_before_tells_that_it_was_passed_over(
    temporal: Client,
) -> None:
    steps = Steps(cools=answer, well=DOWN)
    steps.planned = {"cools": {"cooling": "it keeps failing", "cooling_error": ErrorType.STALLED}}
    view = await steps.run(temporal)
    assert steps.taken[2:] == ["well", "cools", "store_results"]
    assert view.model == "cools"
    first, last = steps.asked
    assert [(one.call.model, one.error_type, one.reason) for one in first.skipped] == [
        ("cools", ErrorType.STALLED, "it keeps failing")
    ]
    assert last.skipped == []


async def test_each_call_knows_what_follows_a_break_and_whether_anybody_is_left(temporal: Client) -> None:
    steps = Steps(first=DOWN, second=DOWN)
    steps.after_output = AfterOutput.CONTINUE
    await steps.run(temporal)
    assert [(asked.after_output, asked.is_last) for asked in steps.asked] == [
        (AfterOutput.CONTINUE, False),
        (AfterOutput.CONTINUE, True),
    ]
