"""Composition root: one Temporal worker process, `python worker.py`.

It runs workflows and activities until SIGTERM or Ctrl-C; then running calls may finish for SHUTDOWN_GRACE_SECONDS,
and what has not finished by then is handed over to another worker.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import NoReturn

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig

from activities.build_prompt import BuildPromptActivity
from activities.call_model import CallModelActivity
from activities.cancel_call import CancelCallActivity
from activities.load_memory import LoadMemoryActivity
from activities.reconcile import ReconcileActivity
from activities.store_results import StoreResultsActivity
from core.orchestrator.application import Application, start_application
from core.orchestrator.calls.calling import ModelCaller
from core.orchestrator.config import Settings, load_settings
from core.orchestrator.contracts import CallLimits
from core.orchestrator.errors import ConfigurationError, OrchestratorError, WorkflowServiceUnavailableError
from core.orchestrator.interactions.prompting import PromptBuilder
from core.orchestrator.processes import leave, run_process, spare_what_stays, stop_requested
from temporal.client import connect
from temporal.log_context import LogContext
from temporal.probes import Probes, probes_answered
from temporal.runs import WorkflowRuns
from temporal.setup import check_namespace
from temporal.telemetry import telemetry
from temporal.tracing import tracing_interceptors
from workflows.all import WORKFLOWS

logger = logging.getLogger("orchestrator.worker")

_RECONNECT_SECONDS = 2
_SHUTDOWN_MARGIN = timedelta(seconds=5)
# Local steps wait for the database, which has far fewer connections. A workflow task is held while its local steps run,
# so neither is of use without the other; more of both would only stand in line, each in a thread of its own.
_CONCURRENT_LOCAL_STEPS = 100
_CONCURRENT_WORKFLOW_TASKS = 100
# A run that waits for its call is kept in memory: 0.1 MB each (measured), against 20 ms of processor time to replay it.
# There is room for those whose calls run here, and for so many whose calls wait for a slot or run in another worker. A
# run that another worker went on with stays here until its room is needed: under load all of it is used in the end.
_CACHED_RUNS_BESIDE_CALLS = 100
# After a crash a task waits this long for the worker that is gone before any other may have it.
_STICKY_TIMEOUT = timedelta(seconds=3)


def build_worker(application: Application, client: Client, grace: timedelta) -> Worker:
    """Assemble the worker: the steps with their ports, and the workflows.

    When it is shut down, running calls may finish for `grace`.
    """
    settings = application.settings
    runs = WorkflowRuns(client, settings.TASK_QUEUE)
    results = application.results(runs)
    builder = PromptBuilder(
        store=application.store,
        conversations=application.conversations,
        personas=application.personas,
        agents=application.agents,
        planner=application.planner,
        events=application.events,
        limits=CallLimits(
            deadline_seconds=settings.INTERACTION_DEADLINE_SECONDS,
            call_seconds=settings.LLM_CALL_TIMEOUT_SECONDS,
            heartbeat_seconds=settings.HEARTBEAT_TIMEOUT_SECONDS,
        ),
    )
    caller = ModelCaller(
        ledger=application.ledger,
        providers=application.providers,
        events=application.events,
        cooldowns=application.cooldowns,
        cancellations=application.cancellations,
        estimate=application.catalogue.estimate,
        endings=results,
        call_timeout=timedelta(seconds=settings.LLM_CALL_TIMEOUT_SECONDS),
        max_wait=timedelta(seconds=settings.LLM_RETRY_WAIT_MAX_SECONDS),
        secrets=settings.secrets,
        observer=application.call_telemetry,
    )
    return Worker(
        client,
        task_queue=settings.TASK_QUEUE,
        workflows=WORKFLOWS,
        # The sandbox finds mistakes in workflow code, at 10 ms of processor time for each run: it is for the tests.
        workflow_runner=UnsandboxedWorkflowRunner(),
        activities=[
            LoadMemoryActivity(application.store, application.settlement(runs), application.memory_budget).load_memory,
            BuildPromptActivity(builder).build_prompt,
            CallModelActivity(caller).call_model,
            CancelCallActivity(application.cancellations).cancel_call,
            StoreResultsActivity(results).store_results,
            ReconcileActivity(application.reconciliation(runs)).reconcile,
        ],
        max_concurrent_activities=settings.WORKER_CONCURRENT_CALLS,
        max_concurrent_local_activities=_CONCURRENT_LOCAL_STEPS,
        max_concurrent_workflow_tasks=_CONCURRENT_WORKFLOW_TASKS,
        max_cached_workflows=settings.WORKER_CONCURRENT_CALLS + _CACHED_RUNS_BESIDE_CALLS,
        deployment_config=_deployment(settings),
        sticky_queue_schedule_to_start_timeout=_STICKY_TIMEOUT,
        graceful_shutdown_timeout=grace,
        interceptors=[LogContext(), *tracing_interceptors()],
    )


def _deployment(settings: Settings) -> WorkerDeploymentConfig | None:
    """Return which version of the code this is, or None where nobody keeps count."""
    if settings.WORKER_DEPLOYMENT_NAME is None or settings.WORKER_BUILD_ID is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(settings.WORKER_DEPLOYMENT_NAME, settings.WORKER_BUILD_ID),
        use_worker_versioning=True,
        # Interactions are short: each ends on the code it began with, and none has to be fit for the next.
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


@asynccontextmanager
async def running(worker: Worker, grace: timedelta) -> AsyncIterator[None]:
    """Run a worker during the block. It ends with it, or at the latest a little after `grace`.

    A step that is repeated without end, or a provider that will not be cancelled, would keep the worker for ever. A
    process that leaves them is no worse than one that crashes, which loses nothing.
    """
    farewell: asyncio.TimerHandle | None = None
    try:
        async with worker:
            try:
                yield
            finally:
                patience = (grace + _SHUTDOWN_MARGIN).total_seconds()
                farewell = asyncio.get_running_loop().call_later(patience, _leave_unfinished)
    finally:
        if farewell is not None:
            farewell.cancel()


@asynccontextmanager
async def looking_back(application: Application, client: Client) -> AsyncIterator[None]:
    """During the block, begin what an earlier worker was lost before: looking up what broken calls cost."""
    reconciliation = application.reconciliation(WorkflowRuns(client, application.settings.TASK_QUEUE))
    beginning = asyncio.create_task(reconciliation.begin_overdue())
    try:
        yield
    finally:
        beginning.cancel()
        await asyncio.wait([beginning])


def _leave_unfinished() -> NoReturn:
    logger.warning("some steps do not end; they are left to another worker")
    leave(1)


async def run_worker(settings: Settings) -> None:
    """Run a worker until it is asked to stop; a Temporal that is not up yet is waited for.

    Raises:
        OrchestratorError: the worker cannot start.
    """
    stop = stop_requested()
    application = await start_application(settings)
    try:
        async with telemetry(application), probes_answered(settings, application.metrics) as probes:
            await _work(application, stop, probes)
    finally:
        await application.close()


async def _work(application: Application, stop: asyncio.Event, probes: Probes) -> None:
    settings = application.settings
    client = await _connect_or_stop(settings, stop)
    if client is None:
        return
    await check_namespace(client)
    grace = settings.shutdown_grace
    worker = build_worker(application, client, grace)
    async with (
        application.catalogue.kept_fresh(),
        running(worker, grace),
        looking_back(application, client),
        application.trimmer.kept_trimmed(),
    ):
        spare_what_stays()
        probes.polls = lambda: worker.is_running and not stop.is_set()
        logger.info("worker ready", extra={"task_queue": settings.TASK_QUEUE})
        await stop.wait()
        logger.info("worker stopping", extra={"grace_seconds": settings.SHUTDOWN_GRACE_SECONDS})


async def _connect_or_stop(settings: Settings, stop: asyncio.Event) -> Client | None:
    while not stop.is_set():
        try:
            return await connect(settings)
        except WorkflowServiceUnavailableError as error:
            logger.warning("%s; trying again", error)
            try:
                await asyncio.wait_for(stop.wait(), _RECONNECT_SECONDS)
            except TimeoutError:
                continue
    return None


def main() -> NoReturn:
    """Run the worker of the environment's settings."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    try:
        run_process(run_worker(load_settings()))
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - logging may not be configured yet
        leave(2)
    except OrchestratorError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        leave(1)
    leave(0)


if __name__ == "__main__":
    main()
