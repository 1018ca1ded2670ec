"""Composition root of the front: the FastAPI application and its routes.

The path of one interaction starts in `routes/llm.py`.
"""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from fastapi_swagger import patch_fastapi
from starlette.types import ASGIApp
from temporalio.client import Client

from api.access import Guard, describe_access
from api.error_handlers import add_error_handlers
from api.observing import Observed
from api.problems import PROBLEM_RESPONSES, PROBLEM_SCHEMAS
from api.readiness import ReadinessCheck
from api.routes import catalogue, health, interactions, llm, metrics, models, sessions, usage, users
from api.routes.codec import CodecOrigins, codec_routes
from api.service import InteractionService
from api.v1 import chat as v1_chat
from api.v1 import models as v1_models
from api.v1 import responses as v1_responses
from api.v1.errors import ERROR_SCHEMAS
from api.waiting import Waits
from core.orchestrator.access.keys import KeyRing
from core.orchestrator.application import Application
from core.orchestrator.interactions.following import ReplyFollower
from core.orchestrator.telemetry import names
from core.orchestrator.telemetry.tracing import tracer
from temporal.encryption import PayloadEncryption
from temporal.runs import WorkflowRuns

_DESCRIPTION = """Every interaction with a persona is a durable workflow: an accepted message gets exactly one reply,
whatever crashes, and `…/explain` tells why it came out as it did."""


# FastAPI's own begins by itself with any tracer, and would tell queries, which name users, and addresses of clients.
_NO_OTHER_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


class _Front(FastAPI):
    def build_middleware_stack(self) -> ASGIApp:
        """Put what sees every request, whatever becomes of it, before all the rest."""
        application: Application = self.state.application
        made_by = tracer() if application.is_traced else None
        return Observed(super().build_middleware_stack(), application.metrics, made_by)

    def openapi(self) -> dict[str, Any]:
        """Describe the API; what a problem is stands once, as every response refers to it."""
        if self.openapi_schema is None:
            description = super().openapi()
            description["components"]["schemas"] |= PROBLEM_SCHEMAS | ERROR_SCHEMAS
            describe_access(description, asked_for=self.state.asks_for_keys)
            self.openapi_schema = description
        return self.openapi_schema


def create_app(application: Application, client: Client, keys: KeyRing | None = None) -> FastAPI:
    """Build the front; `client` may connect lazily, and `keys` stand in for those of the settings."""
    app = _Front(
        title="AI Orchestration System: the durable LLM layer",
        description=_DESCRIPTION,
        version=version("ai-orchestrator"),
        redirect_slashes=False,
        responses=PROBLEM_RESPONSES,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        telemetry=_NO_OTHER_TELEMETRY,
    )
    patch_fastapi(app)  # /docs with scripts of our own host: a self-hosted service may have no way out
    task_queue = application.settings.TASK_QUEUE
    app.state.application = application
    keys = application.keys if keys is None else keys
    app.state.asks_for_keys = bool(keys)
    runs = WorkflowRuns(client, task_queue)
    follower = ReplyFollower(application.database)
    waits = Waits(follower, application.settlement(runs))
    application.metrics.observe(names.STREAMS, lambda: [(waits.streams, {})])
    application.metrics.observe(names.WAITS, lambda: [(waits.callers, {})])
    app.state.service = InteractionService(application, runs, follower, waits)
    app.state.erasure = application.erasure(runs)
    app.state.readiness = ReadinessCheck(client, application.database, task_queue)
    add_error_handlers(app)
    for routes in (llm, interactions, sessions, users, catalogue, models, usage, health, metrics):
        app.include_router(routes.router)
    for routes_of_openai in (v1_models, v1_chat, v1_responses):
        app.include_router(routes_of_openai.router)
    if encryption_keys := application.settings.PAYLOAD_ENCRYPTION_KEYS:
        app.include_router(codec_routes(PayloadEncryption(encryption_keys)))
    app.add_middleware(Guard, front=app, keys=keys)  # what is added after it meets a request before it
    app.add_middleware(CodecOrigins, origins=application.settings.CODEC_ORIGINS)
    return app
