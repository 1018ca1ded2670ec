"""Looking up what broken calls cost: every wait is Temporal's, and the run ends with what is known by then."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import Worker

from core.orchestrator.contracts import Reconcile, Reconciled
from core.orchestrator.workflow_ids import reconciliation_id_of
from temporal.runs import WorkflowRuns
from temporal.search_attributes import OUTCOME
from workflows.all import WORKFLOWS

UNKNOWN = Reconciled(settled=1, unknown=2)
KNOWN = Reconciled(settled=3)
Run = WorkflowHandle[object, Reconciled]


def not_yet(*, last: bool = False) -> ApplicationError:
    """Some costs are not known yet; `last` stands for the last look there is."""
    return ApplicationError("not yet", UNKNOWN, type="not_known_yet", non_retryable=last)


class Looks:
    """What each look comes to, in order; the last one repeats."""

    def __init__(self, *come_to: Reconciled | Exception) -> None:
        self.come_to = come_to
        self.taken: list[str] = []

    @activity.defn(name="reconcile")
    async def reconcile(self, request: Reconcile) -> Reconciled:
        self.taken.append(request.interaction_id)
        result = self.come_to[min(len(self.taken), len(self.come_to)) - 1]
        if isinstance(result, Exception):
            raise result
        return result


@asynccontextmanager
async def started(client: Client, looks: Looks) -> AsyncIterator[Run]:
    """Run the real workflow over these looks, begun as the end of an interaction begins it."""
    queue, interaction_id = f"looks-{uuid4()}", str(uuid4())
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=[looks.reconcile]):
        await WorkflowRuns(client, queue).reconcile(interaction_id)
        yield client.get_workflow_handle(reconciliation_id_of(interaction_id), result_type=Reconciled)


async def events(run: Run) -> Sequence[HistoryEvent]:
    return (await run.fetch_history()).events


async def test_the_looks_go_on_until_every_cost_is_known(temporal: Client) -> None:
    looks = Looks(not_yet(), KNOWN)
    async with started(temporal, looks) as run:
        assert await run.result() == KNOWN
    assert looks.taken == [run.id.removeprefix("reconcile-")] * 2


async def test_the_first_look_is_not_at_the_very_end_of_the_call(temporal: Client) -> None:
    async with started(temporal, Looks(KNOWN)) as run:
        await run.result()
    begun, *_, ended = await events(run)
    assert ended.event_time.ToDatetime() - begun.event_time.ToDatetime() >= timedelta(seconds=0.9)


async def test_when_the_looks_are_used_up_the_run_completes_with_what_is_known(temporal: Client) -> None:
    async with started(temporal, Looks(not_yet(last=True))) as run:
        assert await run.result() == UNKNOWN
        assert (await run.describe()).status is WorkflowExecutionStatus.COMPLETED


async def test_looks_are_taken_for_about_ten_minutes_whatever_time_passes_without_a_worker(temporal: Client) -> None:
    async with started(temporal, Looks(KNOWN)) as run:
        await run.result()
    (scheduled,) = [
        event.activity_task_scheduled_event_attributes
        for event in await events(run)
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    policy = scheduled.retry_policy
    wait, longest = policy.initial_interval.ToTimedelta(), policy.maximum_interval.ToTimedelta()
    waits = [min(wait * policy.backoff_coefficient**look, longest) for look in range(policy.maximum_attempts - 1)]
    assert timedelta(minutes=9) < sum(waits, timedelta()) < timedelta(minutes=11)
    assert longest == timedelta(seconds=30)
    assert not scheduled.schedule_to_close_timeout.ToTimedelta()


async def test_a_look_that_fails_for_another_reason_is_repeated(temporal: Client) -> None:
    async with started(temporal, Looks(RuntimeError("the database did not answer"), KNOWN)) as run:
        assert await run.result() == KNOWN


async def test_a_run_that_never_found_out_anything_shows_as_failed(temporal: Client) -> None:
    async with started(temporal, Looks(ApplicationError("a defect", non_retryable=True))) as run:
        with pytest.raises(WorkflowFailureError):
            await run.result()


async def test_a_run_that_is_cancelled_shows_as_cancelled(temporal: Client) -> None:
    async with started(temporal, Looks(not_yet())) as run:
        async for event in run.fetch_history_events(wait_new_event=True):
            if event.HasField("activity_task_scheduled_event_attributes"):
                break
        await run.cancel()
        with pytest.raises(WorkflowFailureError) as failure:
            await run.result()
    assert isinstance(failure.value.cause, CancelledError)


@pytest.mark.parametrize(("result", "outcome"), [(KNOWN, "settled"), (UNKNOWN, "unknown")])
async def test_a_run_can_be_found_by_its_outcome(temporal: Client, result: Reconciled, outcome: str) -> None:
    async with started(temporal, Looks(result)) as run:
        await run.result()
    assert (await run.describe()).typed_search_attributes[OUTCOME] == outcome


async def test_a_run_says_whose_calls_it_is_about(temporal: Client) -> None:
    async with started(temporal, Looks(KNOWN)) as run:
        summary = await (await run.describe()).static_summary()
        await run.result()
    interaction_id = run.id.removeprefix("reconcile-")
    assert summary == f"what the broken calls of interaction-{interaction_id} cost"


async def test_a_look_that_is_repeated_costs_the_history_nothing(temporal: Client) -> None:
    async with started(temporal, Looks(KNOWN)) as once, started(temporal, Looks(not_yet(), KNOWN)) as twice:
        await once.result()
        await twice.result()
    assert len(await events(once)) == len(await events(twice)) == 12
