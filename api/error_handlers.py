"""Every error of the API in the form that its clients read: a problem, or under `/v1` what OpenAI's clients know."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.problems import PROBLEM_CONTENT, problem
from api.troubles import trouble_of
from api.v1.errors import ERROR_CONTENT, is_ours, openai_error
from core.orchestrator.errors import OrchestratorError


def add_error_handlers(app: FastAPI) -> None:
    """Make the app answer every error."""
    for kind in (RequestValidationError, HTTPException, OrchestratorError, Exception):
        app.add_exception_handler(kind, error_response)


async def error_response(request: Request, error: Exception) -> Response:
    """Return an error as an answer to a request."""
    write = openai_error if is_ours(request.scope["path"]) else problem
    return write(request, trouble_of(error, f"{request.method} {request.url.path}"))


def content_of_errors(path: str) -> dict[str, Any]:
    """Return how errors of a path are described."""
    return ERROR_CONTENT if is_ours(path) else PROBLEM_CONTENT
