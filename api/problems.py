"""Every error of the API as `application/problem+json` (RFC 9457): what went wrong, never how the code got there."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from core.orchestrator.contracts import InteractionView
from core.orchestrator.errors import (
    ErrorType,
    OrchestratorError,
    SessionOwnershipError,
    StorageUnavailableError,
    UnknownResourceError,
    WorkflowServiceUnavailableError,
)

logger = logging.getLogger("orchestrator.api")

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_SECONDS = 5
# FastAPI puts these in front of a field's path; they are no part of what the client sent.
_PATH_PREFIXES = ("body", "query", "path", "header", "array", "object")

_FAILED_STATUS: dict[ErrorType, HTTPStatus] = {
    ErrorType.AUTHENTICATION: HTTPStatus.BAD_GATEWAY,
    ErrorType.CREDIT: HTTPStatus.BAD_GATEWAY,
    ErrorType.QUOTA: HTTPStatus.BAD_GATEWAY,
    ErrorType.MODERATION: HTTPStatus.BAD_GATEWAY,
    ErrorType.CONTENT_POLICY: HTTPStatus.BAD_GATEWAY,
    ErrorType.INVALID_REQUEST: HTTPStatus.BAD_GATEWAY,
    ErrorType.CONTEXT_LENGTH: HTTPStatus.BAD_GATEWAY,
    ErrorType.OUTPUT_LIMIT: HTTPStatus.BAD_GATEWAY,
    ErrorType.RATE_LIMIT: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorType.TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
}
"""Every other kind means that no model was available: 503."""


class InvalidField(BaseModel):
    """One thing wrong with a request."""

    path: str = Field(description="Where, such as `messages.0.role`; empty for the whole body.")
    detail: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    error_type: str
    errors: list[InvalidField] | None = None
    interaction_id: str | None = None


PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request is wrong.", "model": Problem, "content": {MEDIA_TYPE: {}}},
    "5XX": {"description": "The service, or a model behind it, cannot answer.", "content": {MEDIA_TYPE: {}}},
}


class InteractionFailedError(OrchestratorError):
    """An interaction ended without a reply, and its caller wanted an error rather than a fallback line."""

    def __init__(self, view: InteractionView) -> None:
        """Describe how `view` ended."""
        super().__init__(view.error.detail if view.error else "the interaction was ended")
        self.view = view


def problem(
    request: Request,
    status: int,
    detail: str,
    error_type: str,
    *,
    headers: dict[str, str] | None = None,
    **extra: Any,
) -> JSONResponse:
    """Build a problem response."""
    body = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.url.path,
        error_type=error_type,
        **extra,
    )
    return JSONResponse(body.model_dump(exclude_none=True), status_code=status, headers=headers, media_type=MEDIA_TYPE)


def add_problem_handlers(app: FastAPI) -> None:
    """Make the app answer every error with a problem."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OrchestratorError, _domain)
    app.add_exception_handler(Exception, _unexpected)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return problem(request, 400, "the body is not JSON", "invalid_request")
    errors = [InvalidField(path=_path(item["loc"]), detail=_readable(item["msg"])) for item in found]
    first = errors[0]
    return problem(
        request,
        422,
        f"{first.path}: {first.detail}" if first.path else first.detail,
        "invalid_request",
        errors=errors,
    )


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    detail = error.detail
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        detail = "the body is larger than 1 MiB"
    return problem(request, error.status_code, detail, kind, headers=dict(error.headers or {}))


async def _domain(request: Request, error: Exception) -> JSONResponse:
    retry = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
    match error:
        case UnknownResourceError():
            return problem(request, 404, str(error), "not_found")
        case SessionOwnershipError():
            return problem(request, 403, str(error), "forbidden")
        case StorageUnavailableError():
            logger.error("%s", error)
            return problem(request, 503, "the database does not answer", "unavailable", headers=retry)
        case WorkflowServiceUnavailableError():
            logger.error("%s", error)
            return problem(
                request,
                503,
                "Temporal does not answer",
                "unavailable",
                headers=retry,
                interaction_id=error.interaction_id,
            )
        case InteractionFailedError():
            return _failed(request, error.view, str(error))
        case _:
            return await _unexpected(request, error)


def _failed(request: Request, view: InteractionView, detail: str) -> JSONResponse:
    kind = view.error.type if view.error else ErrorType.UNAVAILABLE
    status = _FAILED_STATUS.get(kind, HTTPStatus.SERVICE_UNAVAILABLE)
    headers = {"X-Interaction-Id": view.interaction_id}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    return problem(request, status, detail, kind, headers=headers, interaction_id=view.interaction_id)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(request, 500, "an error of ours; it has been logged", "internal")


def _path(location: tuple[str | int, ...]) -> str:
    parts = [str(part) for part in location]
    while parts and parts[0] in _PATH_PREFIXES:
        parts.pop(0)
    return ".".join(parts)


def _readable(message: str) -> str:
    return message.removeprefix("Value error, ")
