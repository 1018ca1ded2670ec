"""What went wrong, in words and numbers that every form of an error is written with: never how the code got there.

Each exception is translated here, once; `api/problems.py` and `api/v1/errors.py` write down what comes of it.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from math import ceil
from typing import Any

from fastapi.exceptions import RequestValidationError
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

UNION_TAGS = ("<array>", "<object>", "<text>", "<parts>")
"""Names for the shapes a value may have. Pydantic puts them into the path of a field; no client sent them."""
REPLAYED = {"Idempotency-Replayed": "true"}
"""Tells that a request had come before, with the same key."""
INTERNAL = "internal"
"""The kind of an error that nobody expected."""
_RETRY_AFTER_SECONDS = 5
_MAX_FAULTS = 20
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


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a request."""

    place: tuple[str | int, ...]
    """The way to the field that is wrong; empty for the whole body."""
    detail: str
    kind: str
    """Pydantic's word for it, or one of ours."""

    @property
    def path(self) -> str:
        """The way to the field, such as `messages.0.role`."""
        return shown(".".join(map(str, self.place)))


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a request has no other answer."""

    status: int
    kind: str
    """For programs: `invalid_request`, `not_found`, or why no model answered."""
    detail: str
    """For people."""
    faults: list[Fault] = field(default_factory=list)
    """What is wrong with the request, field by field."""
    interaction_id: str | None = None
    """The interaction that failed, that may have been started all the same, or that keeps the session busy."""
    more_headers: Mapping[str, str] = field(default_factory=dict)
    resource: str | None = None
    """What kind of thing there is none of."""
    has_failed: bool = False
    """An interaction was accepted, and has ended so: its retries and fallbacks are behind it."""

    @property
    def headers(self) -> dict[str, str]:
        """Those of the answer, whatever its form."""
        headers = dict(self.more_headers)
        if self.interaction_id is not None:
            headers["X-Interaction-Id"] = self.interaction_id
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            headers.setdefault("Retry-After", str(_RETRY_AFTER_SECONDS))
        return headers


class InteractionFailedError(OrchestratorError):
    """An interaction ended without a reply, and its caller wanted an error rather than a fallback line."""

    def __init__(self, view: InteractionView, *, replayed: bool = False) -> None:
        """Describe how `view` ended; `replayed` where the request for it had come before."""
        super().__init__(view.error.detail if view.error else "the interaction was ended")
        self.view = view
        self.replayed = replayed


def trouble_of(error: Exception, asked: str) -> Trouble:
    """Return what an exception comes to; one that nobody expected is logged, with what was `asked`."""
    match error:
        case RequestValidationError():
            return _invalid(error)
        case HTTPException():
            kind = _HTTP_ERROR_TYPES.get(error.status_code, "invalid_request")
            return Trouble(error.status_code, kind, shown(error.detail), more_headers=error.headers or {})
        case InteractionFailedError():
            return _failure(error)
        case OrchestratorError():
            refusal = _refusal(error)
            if refusal is not None:
                return refusal
    logger.error("%s failed", asked, exc_info=error)
    return Trouble(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL, "an error of ours; it has been logged")


def shown(text: str) -> str:
    """Return text that any client can read: it may quote what a client sent, however long or broken."""
    if len(text) > _MAX_DETAIL_CHARACTERS:
        text = f"{text[:_MAX_DETAIL_CHARACTERS]}…"
    return text.encode(errors="replace").decode()


def _failure(error: InteractionFailedError) -> Trouble:
    view = error.view
    kind = view.error.type if view.error else ErrorType.UNAVAILABLE
    return Trouble(
        _FAILED_STATUS.get(kind, HTTPStatus.SERVICE_UNAVAILABLE),
        kind,
        shown(str(error)),
        interaction_id=view.interaction_id,
        more_headers=REPLAYED if error.replayed else {},
        has_failed=True,
    )


def _refusal(error: OrchestratorError) -> Trouble | None:
    match error:
        case StorageUnavailableError():
            logger.error("%s", error)
            return Trouble(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "the database does not answer")
        case WorkflowServiceUnavailableError(interaction_id=started):
            return Trouble(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", shown(str(error)), interaction_id=started)
    if type(error) not in _REFUSED:
        return None
    status, kind = _REFUSED[type(error)]
    return Trouble(
        status,
        kind,
        shown(str(error)),
        interaction_id=error.interaction_id if isinstance(error, SessionBusyError) else None,
        more_headers={"Retry-After": _whole_seconds(error.retry_after)} if isinstance(error, NotNowError) else {},
        resource=error.kind if isinstance(error, UnknownResourceError) else None,
    )


def _invalid(error: RequestValidationError) -> Trouble:
    faults = [Fault(_place(item["loc"]), shown(_words(item)), item["type"]) for item in error.errors()[:_MAX_FAULTS]]
    first = faults[0]
    detail = f"{first.path}: {first.detail}" if first.path else first.detail
    return Trouble(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", shown(detail), faults)


def _whole_seconds(wait: timedelta) -> str:
    return str(max(1, ceil(wait.total_seconds())))


def _place(location: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Return the way to a field as the client sees it: FastAPI says first in which part of the request it lies."""
    return tuple(part for part in location[1:] if part not in UNION_TAGS)


def _words(item: Mapping[str, Any]) -> str:
    words: str = _WORDS.get(item["type"], item["msg"])
    return words.removeprefix("Value error, ")
