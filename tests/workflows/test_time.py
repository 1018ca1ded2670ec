"""Waits and deadlines are Temporal's: they pass without anybody waiting, on a server whose clock can be moved."""

import sys
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from temporalio import activity
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from core.orchestrator.contracts import CallFailure, CallLimits, InteractionStatus, ModelAnswer, PlannedCall
from core.orchestrator.errors import ErrorType, NextStep
from temporal.payloads import DATA_CONVERTER
from temporal.search_attributes import SEARCH_ATTRIBUTES
from tests.workflows.steps import Behaviour, Steps, answer

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
async def time() -> AsyncIterator[WorkflowEnvironment]:
    server = Path(sys.executable).with_name("temporal-test-server")
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(server), data_converter=DATA_CONVERTER
    ) as environment:
        attributes = AddSearchAttributesRequest(
            namespace=environment.client.namespace, search_attributes=SEARCH_ATTRIBUTES
        )
        await environment.client.operator_service.add_search_attributes(attributes)
        yield environment


@pytest.fixture
def client(time: WorkflowEnvironment) -> Client:
    return time.client


class Tries:
    """A model that asks for a wait so often before it answers, and notes when it was asked."""

    def __init__(self, wait: timedelta, times: int) -> None:
        self.asked_at: list[datetime] = []
        self._wait = wait
        self._times = times

    async def __call__(self, call: PlannedCall) -> ModelAnswer:
        self.asked_at.append(activity.info().started_time)
        if len(self.asked_at) <= self._times:
            failure = CallFailure(error_type=ErrorType.RATE_LIMIT, detail="slow down", then=NextStep.NEXT_MODEL)
            raise ApplicationError(
                failure.detail, failure, type=failure.error_type, next_retry_delay=self._wait, non_retryable=False
            )
        return await answer(call)

    @property
    def waits(self) -> list[timedelta]:
        return [later - earlier for earlier, later in zip(self.asked_at, self.asked_at[1:], strict=False)]


def limited(model: Behaviour, deadline: timedelta) -> Steps:
    steps = Steps(first=model, second=answer)
    steps.limits = CallLimits(deadline_seconds=deadline.total_seconds())
    return steps


@pytest.mark.parametrize("wait", [timedelta(seconds=15), timedelta(hours=3)])
async def test_the_wait_that_was_asked_for_passes_between_two_tries(client: Client, wait: timedelta) -> None:
    model = Tries(wait, times=2)
    view = await limited(model, DAY).run(client)
    assert (view.status, view.model) == (InteractionStatus.COMPLETED, "first")
    assert [wait <= passed < wait + timedelta(seconds=5) for passed in model.waits] == [True, True]


async def test_the_deadline_bounds_all_tries_and_waits_of_a_call(client: Client) -> None:
    model = Tries(timedelta(seconds=15), times=100)
    await limited(model, timedelta(seconds=50)).run(client)
    assert len(model.asked_at) == 4
    assert sum(model.waits, timedelta(0)) < timedelta(seconds=50)


async def test_what_remains_shrinks_from_try_to_try(client: Client) -> None:
    remaining: list[timedelta] = []

    async def noting(call: PlannedCall) -> ModelAnswer:
        info = activity.info()
        assert info.schedule_to_close_timeout is not None
        remaining.append(info.schedule_to_close_timeout - (info.started_time - info.scheduled_time))
        return await model(call)

    model = Tries(timedelta(seconds=15), times=2)
    await limited(noting, timedelta(seconds=100)).run(client)
    assert [round(left.total_seconds(), -1) // 10 for left in remaining] == [10, 8, 7]
    first, second, third = remaining
    assert timedelta(seconds=15) <= first - second < timedelta(seconds=20)
    assert timedelta(seconds=15) <= second - third < timedelta(seconds=20)
