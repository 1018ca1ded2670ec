"""However a workflow ends, the store is told, and the run shows what the store says."""

import asyncio
import gc
import logging
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import Worker

from core.orchestrator.contracts import (
    PLACE_FREED_SIGNAL,
    Attempt,
    AttemptStatus,
    InteractionStatus,
    MemoryWindow,
    ModelAnswer,
    PlannedCall,
)
from core.orchestrator.errors import ErrorType, NextStep
from temporal.search_attributes import ERROR_TYPES, FALLBACKS, OUTCOME
from tests.workflows.steps import Behaviour, Runner, Steps, answer, fail
from workflows.all import WORKFLOWS

EARLIER = MemoryWindow(waiting_on="interaction-earlier")


async def test_a_prompt_that_cannot_be_built_ends_the_interaction_with_its_reason(temporal: Client) -> None:
    steps = Steps(never=answer)
    steps.prompt_failure = ApplicationError("agent 'x' failed to build a prompt", non_retryable=True)
    view = await steps.run(temporal)
    assert steps.taken == ["load_memory", "build_prompt", "store_results"]
    assert view.status is InteractionStatus.FAILED
    assert view.error is not None
    assert "agent 'x' failed to build a prompt" in view.error.detail


async def test_an_interaction_that_had_ended_is_not_begun(temporal: Client) -> None:
    steps = Steps(never=answer)
    steps.windows = [MemoryWindow(ended=True)]
    steps.ended_as = InteractionStatus.FAILED
    view = await steps.run(temporal)
    assert steps.taken == ["load_memory", "store_results"]
    assert view.status is InteractionStatus.FAILED


async def test_the_window_of_memory_reaches_the_prompt(temporal: Client) -> None:
    steps = Steps(first=answer)
    steps.windows = [MemoryWindow(messages=7, first_sequence=3)]
    await steps.run(temporal)
    assert steps.prompted[0].window == MemoryWindow(messages=7, first_sequence=3)


async def test_a_completion_has_no_memory(temporal: Client) -> None:
    steps = Steps(first=answer)
    async with steps.worker(temporal) as runner:
        view = await (await runner.completion()).result()
    assert steps.taken == ["build_prompt", "first", "store_results"]
    assert steps.prompted[0].window is None
    assert view.status is InteractionStatus.COMPLETED


async def test_a_turn_in_line_begins_when_it_is_told_that_its_place_is_free(temporal: Client) -> None:
    steps = Steps(first=answer)
    steps.windows = [EARLIER, EARLIER]
    async with steps.worker(temporal) as runner:
        run = await runner.interaction()
        await steps.reached.wait()
        steps.reached.clear()
        await run.signal(PLACE_FREED_SIGNAL)
        await steps.reached.wait()  # told too early: it looked, and waits again
        await run.signal(PLACE_FREED_SIGNAL)
        view = await run.result()
    assert steps.taken == ["load_memory"] * 3 + ["build_prompt", "first", "store_results"]
    assert view.status is InteractionStatus.COMPLETED


async def test_a_turn_in_line_looks_for_itself_when_nobody_tells_it(temporal: Client) -> None:
    steps = Steps(first=answer)
    steps.windows = [EARLIER]
    view = await steps.run(temporal)
    assert steps.taken == ["load_memory", "load_memory", "build_prompt", "first", "store_results"]
    assert view.status is InteractionStatus.COMPLETED


async def test_cancelling_during_a_call_is_stored_and_the_run_shows_as_cancelled(temporal: Client) -> None:
    steps = Steps(never=answer)
    steps.models = {"hangs": steps.hang, **steps.models}
    async with steps.worker(temporal) as runner:
        run = await runner.interaction()
        await steps.reached.wait()
        await run.cancel()
        with pytest.raises(WorkflowFailureError) as failure:
            await run.result()
        assert isinstance(failure.value.cause, CancelledError)
        assert (await run.describe()).status is WorkflowExecutionStatus.CANCELED
    assert steps.taken[2:] == ["hangs", "cancel_call", "store_results"]
    assert steps.stored[0].error is not None
    assert steps.stored[0].error.type is ErrorType.CANCELLED


def stops_when_woken(steps: Steps, answers: Behaviour) -> Behaviour:
    """The model says nothing until its call is told to stop; Temporal's own word comes with no heartbeat."""

    async def waiting(call: PlannedCall) -> ModelAnswer:
        steps.reached.set()
        await steps.woken.wait()
        return await answers(call)

    return waiting


async def test_a_call_is_told_to_stop_at_once_and_the_run_shows_as_cancelled(temporal: Client) -> None:
    steps = Steps()
    steps.models = {"held": stops_when_woken(steps, fail(ErrorType.CANCELLED, NextStep.FAIL)), "never": answer}
    async with steps.worker(temporal) as runner:
        run = await runner.interaction()
        await steps.reached.wait()
        await run.cancel()
        with pytest.raises(WorkflowFailureError):
            await run.result()
        assert (await run.describe()).status is WorkflowExecutionStatus.CANCELED
    assert steps.taken[2:] == ["held", "cancel_call", "store_results"]
    assert steps.stored[0].error is not None
    assert steps.stored[0].error.type is ErrorType.CANCELLED


async def test_a_failure_that_meets_the_cancel_is_no_error_that_nobody_looked_at(
    temporal: Client, caplog: pytest.LogCaptureFixture
) -> None:
    steps = Steps()
    steps.models = {"held": stops_when_woken(steps, fail(ErrorType.CANCELLED, NextStep.FAIL))}
    queue = f"steps-{uuid4()}"
    local = [steps.load_memory, steps.build_prompt, steps.cancel_call, steps.store_results]
    of_workflows = partial(
        Worker, temporal, task_queue=queue, workflows=WORKFLOWS, activities=local, no_remote_activities=True
    )
    async with Worker(temporal, task_queue=queue, activities=[steps.call_model]):
        async with of_workflows():
            run = await Runner(temporal, queue).interaction()
            await steps.reached.wait()
        # While no workflow runs, both come to its history; the next worker is told of them at once.
        await run.cancel()
        steps.woken.set()
        async for event in run.fetch_history_events(wait_new_event=True):
            if event.HasField("activity_task_failed_event_attributes"):
                break
        async with of_workflows():
            with pytest.raises(WorkflowFailureError):
                await run.result()
    gc.collect()
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_an_answer_that_came_before_its_call_could_stop_is_the_reply(temporal: Client) -> None:
    steps = Steps()
    steps.models = {"held": stops_when_woken(steps, answer)}
    async with steps.worker(temporal) as runner:
        run = await runner.interaction()
        await steps.reached.wait()
        await run.cancel()
        view = await run.result()
    assert view.status is InteractionStatus.COMPLETED


async def test_a_run_whose_interaction_a_later_turn_ended_completes_and_says_so(temporal: Client) -> None:
    view = await Steps(marked=fail(ErrorType.CANCELLED, NextStep.FAIL), never=answer).run(temporal)
    described = await temporal.get_workflow_handle(view.workflow_id).describe()
    assert described.status is WorkflowExecutionStatus.COMPLETED
    assert described.typed_search_attributes[OUTCOME] == "cancelled"


async def test_cancelling_a_turn_in_line_is_stored_and_asks_no_model(temporal: Client) -> None:
    steps = Steps(never=answer)
    steps.windows = [EARLIER]
    async with steps.worker(temporal) as runner:
        run = await runner.interaction()
        await steps.reached.wait()
        await run.cancel()
        with pytest.raises(WorkflowFailureError):
            await run.result()
        assert (await run.describe()).status is WorkflowExecutionStatus.CANCELED
    assert steps.taken == ["load_memory", "store_results"]


async def test_a_cancel_that_comes_after_the_end_in_the_store_changes_nothing(temporal: Client) -> None:
    steps = Steps()
    steps.models = {"hangs": steps.hang}
    steps.ended_as = InteractionStatus.COMPLETED
    async with steps.worker(temporal) as runner:
        run = await runner.interaction()
        await steps.reached.wait()
        await run.cancel()
        view = await run.result()
        assert (await run.describe()).status is WorkflowExecutionStatus.COMPLETED
    assert view.status is InteractionStatus.COMPLETED


async def test_a_cancel_while_the_end_is_being_stored_leaves_it_as_the_store_has_it(temporal: Client) -> None:
    storing, cancelled = asyncio.Event(), asyncio.Event()

    async def slowly() -> None:
        storing.set()
        await cancelled.wait()

    steps = Steps(first=answer)
    steps.storing = slowly
    steps.ended_as = InteractionStatus.COMPLETED
    async with steps.worker(temporal) as runner:
        # A workflow hears of a cancel during a local step when its task is renewed, at 80 % of this.
        run = await runner.interaction(task_timeout=timedelta(seconds=1))
        await storing.wait()
        await run.cancel()
        async with asyncio.timeout(20):
            async for event in run.fetch_history_events(wait_new_event=True):
                if event.HasField("workflow_execution_cancel_requested_event_attributes"):
                    seen = event.event_id
                    break
            async for event in run.fetch_history_events(wait_new_event=True):
                if event.event_id > seen and event.HasField("workflow_task_completed_event_attributes"):
                    break
        cancelled.set()
        view = await run.result()
    assert view.status is InteractionStatus.COMPLETED


async def test_a_store_that_is_away_for_a_moment_is_waited_for(temporal: Client) -> None:
    async def away_once() -> None:
        if len(steps.stored) == 1:
            raise RuntimeError("the database did not answer")

    steps = Steps(first=answer)
    steps.storing = away_once
    view = await steps.run(temporal)
    assert steps.taken[-3:] == ["first", "store_results", "store_results"]
    assert view.status is InteractionStatus.COMPLETED


async def answer_after_passing_one_over(call: PlannedCall) -> ModelAnswer:
    """The model answers; one before it was not asked because it kept failing."""
    answered = await answer(call)
    skipped = Attempt(
        ordinal=1,
        model="cooling",
        provider=call.provider,
        status=AttemptStatus.SKIPPED,
        error_type=ErrorType.UNAVAILABLE,
    )
    return answered.model_copy(update={"attempts": [skipped, *answered.attempts]})


async def test_a_run_can_be_found_by_what_its_calls_failed_with_each_kind_once(temporal: Client) -> None:
    late, busy = fail(ErrorType.TIMEOUT), fail(ErrorType.RATE_LIMIT)
    view = await Steps(first=late, second=busy, third=late, fourth=answer).run(temporal)
    attributes = (await temporal.get_workflow_handle(view.workflow_id).describe()).typed_search_attributes
    assert attributes[ERROR_TYPES] == ["rate_limit", "timeout"]
    assert attributes[FALLBACKS] == 3


async def test_a_run_in_which_nothing_failed_has_no_error_types(temporal: Client) -> None:
    view = await Steps(first=answer).run(temporal)
    attributes = (await temporal.get_workflow_handle(view.workflow_id).describe()).typed_search_attributes
    assert attributes.get(ERROR_TYPES) is None
    assert (attributes[OUTCOME], attributes[FALLBACKS]) == ("completed", 0)


async def test_a_model_that_was_passed_over_makes_the_reply_a_fallbacks(temporal: Client) -> None:
    view = await Steps(first=answer_after_passing_one_over).run(temporal)
    attributes = (await temporal.get_workflow_handle(view.workflow_id).describe()).typed_search_attributes
    assert attributes[FALLBACKS] == 1
    assert ERROR_TYPES not in attributes  # nobody failed this time


async def test_an_incomplete_reply_is_told_from_a_whole_one(temporal: Client) -> None:
    steps = Steps(first=fail(ErrorType.TRUNCATED))
    steps.ended_as = InteractionStatus.INCOMPLETE
    view = await steps.run(temporal)
    described = await temporal.get_workflow_handle(view.workflow_id).describe()
    assert described.typed_search_attributes[OUTCOME] == "incomplete"
    assert described.status is WorkflowExecutionStatus.COMPLETED
