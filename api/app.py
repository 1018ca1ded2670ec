"""Composition root of the front: the FastAPI application and its routes.

The path of one interaction starts in `routes/llm.py`.
"""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi_swagger import patch_fastapi
from temporalio.client import Client

from api.problems import PROBLEM_RESPONSES, PROBLEM_SCHEMAS, add_problem_handlers
from api.readiness import ReadinessCheck
from api.routes import catalogue, health, interactions, llm, models, sessions, usage, users
from api.service import InteractionService
from api.waiting import Waits
from core.orchestrator.application import Application
from core.orchestrator.interactions.following import ReplyFollower
from temporal.runs import WorkflowRuns

_DESCRIPTION = """Every interaction with a persona is a durable workflow: an accepted message gets exactly one reply,
whatever crashes, and `…/explain` tells why it came out as it did."""


class _Front(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Describe the API; what a problem is stands once, as every response refers to it."""
        description = super().openapi()
        description["components"]["schemas"] |= PROBLEM_SCHEMAS
        return description


def create_app(application: Application, client: Client) -> FastAPI:
    """Build the front; `client` may connect lazily."""
    app = _Front(
        title="AI Orchestration System: the durable LLM layer",
        description=_DESCRIPTION,
        version=version("ai-orchestrator"),
        redirect_slashes=False,
        responses=PROBLEM_RESPONSES,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    patch_fastapi(app)  # /docs with scripts of our own host: a self-hosted service may have no way out
    task_queue = application.settings.TASK_QUEUE
    app.state.application = application
    runs = WorkflowRuns(client, task_queue)
    follower = ReplyFollower(application.database)
    waits = Waits(follower, application.settlement(runs))
    app.state.service = InteractionService(application, runs, follower, waits)
    app.state.erasure = application.erasure(runs)
    app.state.readiness = ReadinessCheck(client, application.database, task_queue)
    add_problem_handlers(app)
    for routes in (llm, interactions, sessions, users, catalogue, models, usage, health):
        app.include_router(routes.router)
    return app
