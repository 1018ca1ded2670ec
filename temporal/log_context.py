"""Which interaction a step or a workflow is about, bound to every line that is logged meanwhile."""

from typing import Any

from temporalio import activity, workflow
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from core.orchestrator.log_context import handling
from core.orchestrator.workflow_ids import interaction_id_of


class LogContext(Interceptor):
    """Names the interaction in the log; what the SDK itself logs of a step or a workflow that failed included."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Bind it in activities."""
        return _InActivities(next)

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002 - the SDK's names
    ) -> type[WorkflowInboundInterceptor]:
        """Bind it in workflows."""
        return _InWorkflows


# Each activity, and each workflow, runs in a task of its own, so what is bound there ends with it.


class _InActivities(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        _bind(activity.info().workflow_id)
        return await super().execute_activity(input)


class _InWorkflows(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        _bind(workflow.info().workflow_id)
        return await super().execute_workflow(input)


def _bind(workflow_id: str | None) -> None:
    interaction_id = interaction_id_of(workflow_id or "")
    if interaction_id is not None:
        handling(interaction_id)
