"""Interactions as workflow runs: started once, watched, told that their place has come."""

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from core.orchestrator.contracts import (
    COMPLETION_WORKFLOW,
    INTERACTION_WORKFLOW,
    PLACE_FREED_SIGNAL,
    RECONCILIATION_WORKFLOW,
    CompletionRequest,
    InteractionRequest,
    Reconcile,
)
from core.orchestrator.errors import WorkflowServiceUnavailableError
from core.orchestrator.runs import START_TIMEOUT, RunState
from core.orchestrator.workflow_ids import reconciliation_id_of, workflow_id_of
from temporal.reasons import reason
from temporal.search_attributes import PERSONA_ID, SESSION_ID, USER_ID

logger = logging.getLogger(__name__)

# Around the call, not in it: an RPC timeout does not bound the connecting of a client that connects lazily.
_RPC_SECONDS = 2
_SUMMARY_CHARACTERS = 100
_SHARE_BYTES = 16
_FIRST_LOOK = timedelta(seconds=1)
"""No provider has written a bill at the very moment a call ends."""


class WorkflowRuns:
    """The runs of one task queue, through one client."""

    def __init__(self, client: Client, task_queue: str) -> None:
        """Start workflows for the workers of `task_queue`."""
        self._client = client
        self._task_queue = task_queue

    async def start(self, request: InteractionRequest | CompletionRequest) -> None:
        """Start an interaction's workflow; nothing happens when it was started before, running or closed.

        Raises:
            WorkflowServiceUnavailableError: no answer within 4 seconds; the start may have been recorded.
        """
        name, summary, attributes = _describe(request)
        try:
            async with asyncio.timeout(START_TIMEOUT.total_seconds()):
                await self._client.start_workflow(
                    name,
                    request,
                    id=workflow_id_of(request.interaction_id),
                    task_queue=self._task_queue,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    search_attributes=TypedSearchAttributes(attributes),
                    static_summary=summary,
                    priority=share_of(request.user_id),
                    request_eager_start=True,
                    rpc_timeout=START_TIMEOUT,
                )
        except WorkflowAlreadyStartedError:
            return
        except (RPCError, RuntimeError, TimeoutError) as error:
            logger.warning("%s was not started: %s", request.interaction_id, reason(error))
            raise WorkflowServiceUnavailableError(
                "Temporal does not answer", interaction_id=request.interaction_id
            ) from error

    async def state(self, workflow_id: str) -> RunState:
        """Return what Temporal knows of a workflow.

        Raises:
            WorkflowServiceUnavailableError: Temporal did not answer.
        """
        try:
            async with asyncio.timeout(_RPC_SECONDS):
                description = await self._client.get_workflow_handle(workflow_id).describe()
        except (RPCError, RuntimeError, TimeoutError) as error:
            if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
                return RunState.MISSING
            raise WorkflowServiceUnavailableError("Temporal does not answer") from error
        match description.status:
            case WorkflowExecutionStatus.RUNNING:
                return RunState.RUNNING
            case WorkflowExecutionStatus.CANCELED:
                return RunState.CANCELLED
            case _:
                return RunState.CLOSED

    async def reconcile(self, interaction_id: str) -> None:
        """Have what the broken calls of an interaction cost looked up; one that runs already is left alone."""
        try:
            async with asyncio.timeout(_RPC_SECONDS):
                await self._client.start_workflow(
                    RECONCILIATION_WORKFLOW,
                    Reconcile(interaction_id=interaction_id),
                    id=reconciliation_id_of(interaction_id),
                    task_queue=self._task_queue,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    start_delay=_FIRST_LOOK,
                    static_summary=f"what the broken calls of {workflow_id_of(interaction_id)} cost",
                )
        except (RPCError, RuntimeError, TimeoutError) as error:
            logger.warning("the costs of %s are not looked up: %s", interaction_id, reason(error))

    async def cancel(self, workflow_id: str) -> None:
        """Ask a run to end as cancelled; nothing happens when it does not run.

        Raises:
            WorkflowServiceUnavailableError: Temporal did not answer.
        """
        with _unless_unknown(workflow_id, "cancelled"):
            async with asyncio.timeout(_RPC_SECONDS):
                await self._client.get_workflow_handle(workflow_id).cancel()

    async def delete(self, workflow_id: str) -> None:
        """Remove a run with its history, ending it where it still goes on; nothing happens when there is none.

        Raises:
            WorkflowServiceUnavailableError: Temporal did not answer.
        """
        request = DeleteWorkflowExecutionRequest(
            namespace=self._client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
        )
        with _unless_unknown(workflow_id, "deleted"):
            async with asyncio.timeout(_RPC_SECONDS):
                await self._client.workflow_service.delete_workflow_execution(request)

    async def free_place(self, workflow_id: str) -> None:
        """Tell a waiting turn that the one before it has ended; nothing happens when it does not run."""
        try:
            async with asyncio.timeout(_RPC_SECONDS):
                await self._client.get_workflow_handle(workflow_id).signal(PLACE_FREED_SIGNAL)
        except (RPCError, RuntimeError, TimeoutError) as error:
            # It looks for itself every few seconds; or it has not been started yet.
            logger.debug("%s was not told that its place is free: %s", workflow_id, reason(error))


def share_of(user_id: str) -> Priority:
    """Return what gives each user an equal share of the workers: calls that wait are taken from one user after another.

    A digest, because a user id may be longer than the 64 bytes that the server takes, and is shown in no metric of it.
    """
    digest = hashlib.blake2b(user_id.encode(), digest_size=_SHARE_BYTES)
    return Priority(fairness_key=digest.hexdigest())


@contextmanager
def _unless_unknown(workflow_id: str, done: str) -> Iterator[None]:
    try:
        yield
    except (RPCError, RuntimeError, TimeoutError) as error:
        if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
            return
        logger.warning("%s was not %s: %s", workflow_id, done, reason(error))
        raise WorkflowServiceUnavailableError("Temporal does not answer") from error


def _describe(
    request: InteractionRequest | CompletionRequest,
) -> tuple[str, str, list[SearchAttributePair[str]]]:
    user = SearchAttributePair(USER_ID, request.user_id)
    if isinstance(request, CompletionRequest):
        return COMPLETION_WORKFLOW, f"a completion for {request.user_id}", [user]
    message = " ".join(request.message.split())
    if len(message) > _SUMMARY_CHARACTERS:
        message = f"{message[:_SUMMARY_CHARACTERS]}…"
    return (
        INTERACTION_WORKFLOW,
        f"{request.persona_id} answers {request.user_id}: {message}",
        [
            user,
            SearchAttributePair(PERSONA_ID, request.persona_id),
            *([] if request.session_id is None else [SearchAttributePair(SESSION_ID, request.session_id)]),
        ],
    )
