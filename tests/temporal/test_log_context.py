"""Which interaction a line is about, in the code of workflows and activities."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from structlog.contextvars import get_contextvars
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from temporal.log_context import LogContext

SANDBOX = SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules("tests"))


@activity.defn
async def step() -> None:
    logging.getLogger("a.library").warning("in a step")


@workflow.defn
class Talkative:
    @workflow.run
    async def run(self) -> None:
        workflow.logger.warning("in a workflow")
        await workflow.execute_local_activity(step, start_to_close_timeout=timedelta(seconds=5))


class Lines(logging.Handler):
    """What is logged, with what was bound then."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.getMessage(), get_contextvars().get("interaction_id")))


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    loggers = [logging.getLogger("a.library"), workflow.logger.logger]
    for logger in loggers:
        logger.addHandler(handler)
    yield handler
    for logger in loggers:
        logger.removeHandler(handler)


async def test_code_of_workflows_and_steps_names_the_interaction_and_only_its_own(
    temporal: Client, lines: Lines
) -> None:
    ids = [str(uuid4()) for _ in range(2)]
    queue = f"lines-{ids[0]}"
    worker = Worker(
        temporal,
        task_queue=queue,
        workflows=[Talkative],
        activities=[step],
        interceptors=[LogContext()],
        workflow_runner=SANDBOX,
    )
    async with worker:
        for workflow_id in (f"interaction-{ids[0]}", f"reconcile-{ids[1]}", f"theirs-{ids[0]}"):
            await temporal.execute_workflow(Talkative.run, id=workflow_id, task_queue=queue)
    assert [bound for _, bound in lines.seen] == [ids[0], ids[0], ids[1], ids[1], None, None]
    assert ["in a workflow" in said for said, _ in lines.seen] == [True, False] * 3
