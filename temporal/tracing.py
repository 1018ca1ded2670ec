"""Traces across processes: from a request through its workflow and the workflow's steps to the calls of models.

The SDK's plugin carries the context of a trace in the headers of workflows and activities, which replays do not look
at, so histories that were written without traces, or are replayed without them, go the same way. The spans are made
here rather than by the plugin: its own record the messages of exceptions, and these may quote what somebody said.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, Status, StatusCode, use_span
from opentelemetry.util.types import AttributeValue
from temporalio import activity, workflow
from temporalio.client import Plugin
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin, ReplaySafeTracerProvider, create_tracer_provider
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from core.orchestrator.contracts import InteractionRequest, InteractionView
from core.orchestrator.telemetry import names
from core.orchestrator.telemetry.tracing import tracer, tracing_is_wanted
from core.orchestrator.workflow_ids import interaction_id_of

_SERVICE = "ai-orchestrator"
_FLUSH_MILLISECONDS = 3000
"""So long the end of a process waits for those to whom the last spans go."""


def tracing_plugins() -> list[Plugin]:
    """Return what a client needs to carry traces on."""
    return [OpenTelemetryPlugin()] if _is_on() else []


def tracing_interceptors() -> list[Interceptor]:
    """Return what a worker needs to make spans."""
    return [Spans()] if _is_on() else []


class _Sending:
    provider: ReplaySafeTracerProvider | None = None
    """Of this process, once spans are made."""


def _is_on() -> bool:
    return _Sending.provider is not None


@asynccontextmanager
async def traces_sent() -> AsyncIterator[None]:
    """Send spans during the block, if that is wanted; clients and workers must be made inside of it.

    OpenTelemetry has one provider for the whole process, and it stays.

    Raises:
        ConfigurationError: they are to be sent in a way that is not spoken here.
    """
    if not tracing_is_wanted():
        yield
        return
    if _Sending.provider is None:
        own = {} if _names_service() else {SERVICE_NAME: _SERVICE}
        provider = create_tracer_provider(resource=Resource.create(own), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
        _Sending.provider = provider
    try:
        yield
    finally:
        await asyncio.to_thread(_Sending.provider.force_flush, _FLUSH_MILLISECONDS)


def _names_service() -> bool:
    return bool(os.environ.get("OTEL_SERVICE_NAME")) or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )


class Spans(Interceptor):
    """Makes a span for each workflow and each try of an activity."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Make those of activities."""
        return _ActivitySpans(next)

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002 - the SDK's names
    ) -> type[WorkflowInboundInterceptor]:
        """Make those of workflows."""
        return _WorkflowSpans


class _ActivitySpans(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        info = activity.info()
        attributes = _of_workflow(info.workflow_id or "") | {names.TRY: info.attempt}
        span = tracer().start_span(info.activity_type, attributes=attributes)
        with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                return await super().execute_activity(input)
            except BaseException as error:
                _break(span, error)
                raise


class _WorkflowSpans(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        request = input.args[0] if input.args else None
        span = tracer().start_span(
            _name(request), attributes=_of_workflow(workflow.info().workflow_id) | _asked(request)
        )
        # Attached for good: the task is the workflow's own. Only a workflow that has ended ends its span: one that
        # leaves this worker's memory goes on in another's.
        attach(trace.set_span_in_context(span, _talk(request)))
        try:
            result = await super().execute_workflow(input)
        except Exception as error:
            _break(span, error)
            span.end()
            raise
        if isinstance(result, InteractionView):
            span.set_attributes(_answered(result))
            if result.error is not None:
                span.set_attribute(names.ERROR_TYPE, result.error.type.value)
                span.set_status(Status(StatusCode.ERROR))
        span.end()
        return result


def _name(request: object) -> str:
    if isinstance(request, InteractionRequest):
        return f"{names.INVOKE_AGENT} {request.persona_id}"
    return workflow.info().workflow_type


def _of_workflow(workflow_id: str) -> dict[str, AttributeValue]:
    interaction_id = interaction_id_of(workflow_id)
    known: dict[str, AttributeValue] = {names.INTERACTION: interaction_id} if interaction_id else {}
    return known | {names.WORKFLOW: workflow_id}


def _asked(request: object) -> dict[str, AttributeValue]:
    if not isinstance(request, InteractionRequest):
        return {}
    talk: dict[str, AttributeValue] = {} if request.session_id is None else {names.CONVERSATION: request.session_id}
    return talk | {names.OPERATION: names.INVOKE_AGENT, names.AGENT_ID: request.persona_id}


def _answered(view: InteractionView) -> dict[str, AttributeValue]:
    told: dict[str, AttributeValue | None] = {
        names.AGENT_NAME: view.persona_name,
        names.AGENT_VERSION: view.persona_version,
    }
    known: dict[str, AttributeValue] = {name: value for name, value in told.items() if value is not None}
    return known


def _talk(request: object) -> Context:
    """Let every step know the conversation, for which a call of a model has no field."""
    context = get_current()
    if isinstance(request, InteractionRequest) and request.session_id is not None:
        return baggage.set_baggage(names.CONVERSATION, request.session_id, context)
    return context


def _break(span: Span, error: BaseException) -> None:
    """Mark a span as failed; neither the words nor the trace of the error, which may quote what was said."""
    kind = error.type if isinstance(error, ApplicationError) and error.type else type(error).__name__
    span.set_attribute(names.ERROR_TYPE, str(kind))
    span.set_status(Status(StatusCode.ERROR))
