"""Every error of the API as `application/problem+json` (RFC 9457): what went wrong, never how the code got there."""

import logging
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from math import ceil
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from core.orchestrator.contracts import InteractionView
from core.orchestrator.errors import (
    ErrorType,
    IdempotencyConflictError,
    KeyRequiredError,
    NotAllowedError,
    NotNowError,
    OrchestratorError,
    OverloadedError,
    RateLimitedError,
    SessionBusyError,
    SessionErasingError,
    SessionOwnershipError,
    StorageUnavailableError,
    TooManyOpenError,
    UnknownResourceError,
    WorkflowServiceUnavailableError,
)

logger = logging.getLogger("orchestrator.api")

MEDIA_TYPE = "application/problem+json"
UNION_TAGS = ("<array>", "<object>", "<text>", "<parts>")
"""Names for the shapes a value may have. Pydantic puts them into the path of a field; no client sent them."""
REPLAYED = {"Idempotency-Replayed": "true"}
"""Tells that a request had come before, with the same key."""
_RETRY_AFTER_SECONDS = 5
_MAX_ERRORS = 20
_MAX_DETAIL_CHARACTERS = 300

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
    ErrorType.CANCELLED: HTTPStatus.CONFLICT,
}
"""Every other kind means that no model was available: 503."""

_REFUSED: dict[type[Exception], tuple[HTTPStatus, str]] = {
    KeyRequiredError: (HTTPStatus.UNAUTHORIZED, "unauthorized"),
    NotAllowedError: (HTTPStatus.FORBIDDEN, "forbidden"),
    UnknownResourceError: (HTTPStatus.NOT_FOUND, "not_found"),
    SessionOwnershipError: (HTTPStatus.FORBIDDEN, "forbidden"),
    SessionBusyError: (HTTPStatus.CONFLICT, "session_busy"),
    SessionErasingError: (HTTPStatus.CONFLICT, "session_erasing"),
    IdempotencyConflictError: (HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency_conflict"),
    RateLimitedError: (HTTPStatus.TOO_MANY_REQUESTS, "rate_limited"),
    TooManyOpenError: (HTTPStatus.TOO_MANY_REQUESTS, "too_many_open"),
    OverloadedError: (HTTPStatus.SERVICE_UNAVAILABLE, "overloaded"),
}
"""What a client asked for and cannot have, in the error's own words."""

_HTTP_ERROR_TYPES = {404: "not_found", 405: "method_not_allowed"}
"""Every other kind is an `invalid_request`."""

_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is unknown",
    "model_attributes_type": "must be an object",
    "string_unicode": "must not contain lone surrogates",
}
"""Pydantic's kinds of errors whose own words speak of its inside."""


class InvalidField(BaseModel):
    """One thing wrong with a request."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    path: str
    """Where, such as `messages.0.role`; empty for the whole body."""
    detail: str
    """What is wrong with it."""


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str = "about:blank"
    """Always `about:blank`: the status says which class of problem it is, `error_type` which kind."""
    title: str
    """The status in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What went wrong this time."""
    instance: str
    """The path that was asked for."""
    error_type: str
    """The kind of error, for programs: `invalid_request`, `not_found`, or why no model answered."""
    errors: list[InvalidField] | None = None
    """What is wrong with the request, field by field; absent for other errors."""
    interaction_id: str | None = None
    """The interaction that failed, that may have been started all the same, or that keeps the session busy."""


_, _definitions = models_json_schema([(Problem, "serialization")], ref_template="#/components/schemas/{model}")
PROBLEM_SCHEMAS: dict[str, Any] = _definitions["$defs"]
"""Problem and what it is made of, as components of an OpenAPI description."""
_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request is wrong.", "content": _CONTENT},
    "5XX": {"description": "The service, or a model behind it, cannot answer.", "content": _CONTENT},
}


class InteractionFailedError(OrchestratorError):
    """An interaction ended without a reply, and its caller wanted an error rather than a fallback line."""

    def __init__(self, view: InteractionView, *, replayed: bool = False) -> None:
        """Describe how `view` ended; `replayed` where the request for it had come before."""
        super().__init__(view.error.detail if view.error else "the interaction was ended")
        self.view = view
        self.replayed = replayed


def add_problem_handlers(app: FastAPI) -> None:
    """Make the app answer every error with a problem."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OrchestratorError, _domain)
    app.add_exception_handler(Exception, _unexpected)


async def problem_response(request: Request, error: OrchestratorError) -> Response:
    """Return an error that was raised before any handler could see it."""
    return await _domain(request, error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    errors = [
        InvalidField(path=_shown(_path(item["loc"])), detail=_shown(_words(item)))
        for item in error.errors()[:_MAX_ERRORS]
    ]
    first = errors[0]
    detail = f"{first.path}: {first.detail}" if first.path else first.detail
    return _problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, detail, "invalid_request", errors=errors)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    kind = _HTTP_ERROR_TYPES.get(error.status_code, "invalid_request")
    return _problem(request, error.status_code, error.detail, kind, headers=error.headers)


async def _domain(request: Request, error: Exception) -> JSONResponse:
    if refused := _REFUSED.get(type(error)):
        status, kind = refused
        busy_with = error.interaction_id if isinstance(error, SessionBusyError) else None
        wait = {"Retry-After": _whole_seconds(error.retry_after)} if isinstance(error, NotNowError) else None
        return _problem(request, status, str(error), kind, interaction_id=busy_with, headers=wait)
    match error:
        case StorageUnavailableError():
            logger.error("%s", error)
            return _problem(request, HTTPStatus.SERVICE_UNAVAILABLE, "the database does not answer", "unavailable")
        case WorkflowServiceUnavailableError(interaction_id=interaction_id):
            return _problem(
                request, HTTPStatus.SERVICE_UNAVAILABLE, str(error), "unavailable", interaction_id=interaction_id
            )
        case InteractionFailedError(view=view, replayed=replayed):
            kind = view.error.type if view.error else ErrorType.UNAVAILABLE
            status = _FAILED_STATUS.get(kind, HTTPStatus.SERVICE_UNAVAILABLE)
            headers = REPLAYED if replayed else None
            return _problem(request, status, str(error), kind, interaction_id=view.interaction_id, headers=headers)
        case _:
            return await _unexpected(request, error)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, "an error of ours; it has been logged", "internal")


def _problem(
    request: Request,
    status: int,
    detail: str,
    error_type: str,
    *,
    errors: list[InvalidField] | None = None,
    interaction_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    body = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=_shown(detail),
        instance=request.scope["raw_path"].decode("latin-1"),
        error_type=error_type,
        errors=errors,
        interaction_id=interaction_id,
    )
    all_headers = dict(headers or {})
    if interaction_id is not None:
        all_headers["X-Interaction-Id"] = interaction_id
    if status == HTTPStatus.UNAUTHORIZED:
        all_headers["WWW-Authenticate"] = "Bearer"
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        all_headers.setdefault("Retry-After", str(_RETRY_AFTER_SECONDS))
    return JSONResponse(body.model_dump(exclude_none=True), status, all_headers, media_type=MEDIA_TYPE)


def _whole_seconds(wait: timedelta) -> str:
    return str(max(1, ceil(wait.total_seconds())))


def _path(location: tuple[str | int, ...]) -> str:
    """Return a field's path as the client sees it: FastAPI says first in which part of the request it lies."""
    return ".".join(str(part) for part in location[1:] if part not in UNION_TAGS)


def _words(item: Mapping[str, Any]) -> str:
    words: str = _WORDS.get(item["type"], item["msg"])
    return words.removeprefix("Value error, ")


def _shown(text: str) -> str:
    """Return text that any client can read: it may quote what a client sent, however long or broken."""
    if len(text) > _MAX_DETAIL_CHARACTERS:
        text = f"{text[:_MAX_DETAIL_CHARACTERS]}…"
    return text.encode(errors="replace").decode()
