"""Errors as OpenAI's clients know them: `{"error": {"message", "type", "param", "code"}}`, for every path under `/v1`.

Those clients send again by themselves after 408, 409, 429 and 5xx, unless `x-should-retry` says that it mends nothing.
It says so of every interaction that failed: the service has asked again by then, and other models, and to send the same
once more would multiply the one by the other. What was refused before anything began may be sent again.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, get_args

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema

from api.troubles import INTERNAL, Fault, Trouble
from core.orchestrator.errors import ErrorType

PREFIX = "/v1"
_BROKEN = HTTPStatus.INTERNAL_SERVER_ERROR
_TOLD = "told_in_errors"
_NOT_AGAIN = {"x-should-retry": "false"}


class OpenAIError(BaseModel):
    """What went wrong, as OpenAI's clients read it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    message: str
    """For people."""
    type: str
    """Which class of error it is: `invalid_request_error`, `rate_limit_error` or `server_error`."""
    param: str | None
    """The field that is wrong, such as `messages[0].role`; null for other errors."""
    code: str | None
    """The kind of error, for programs: `model_not_found`, `context_length_exceeded`, …"""


class OpenAIErrorBody(BaseModel):
    """An answer that is an error."""

    error: OpenAIError


_, _definitions = models_json_schema([(OpenAIErrorBody, "serialization")], ref_template="#/components/schemas/{model}")
ERROR_SCHEMAS: dict[str, Any] = _definitions["$defs"]
"""The error and its envelope, as components of an OpenAPI description."""
ERROR_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIErrorBody"}}}
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request is wrong.", "content": ERROR_CONTENT},
    "5XX": {"description": "The service, or a model behind it, cannot answer.", "content": ERROR_CONTENT},
}


@dataclass(frozen=True, slots=True)
class _Form:
    """How a kind of trouble is told here where it is told otherwise than by its name and status."""

    code: str | None = None
    failed_as: HTTPStatus | None = None
    """The status, where an interaction failed so: here even that may be the client's matter."""
    param: str | None = None
    """The field, as the chat API calls it."""


_FORMS: dict[str, _Form] = {
    "unauthorized": _Form("invalid_api_key"),
    "forbidden": _Form("permission_denied"),
    "method_not_allowed": _Form("method_not_supported"),
    "rate_limited": _Form("rate_limit_exceeded"),
    "too_many_open": _Form("rate_limit_exceeded"),
    ErrorType.RATE_LIMIT: _Form("rate_limit_exceeded"),
    # Nobody but the client chose what the model was asked: the persona adds a text, and nothing else.
    ErrorType.INVALID_REQUEST: _Form(failed_as=HTTPStatus.BAD_REQUEST),
    ErrorType.CONTEXT_LENGTH: _Form("context_length_exceeded", HTTPStatus.BAD_REQUEST, "messages"),
    ErrorType.OUTPUT_LIMIT: _Form("output_limit", HTTPStatus.BAD_REQUEST, "max_tokens"),
    ErrorType.MODERATION: _Form("content_filter", HTTPStatus.BAD_REQUEST),
    ErrorType.CONTENT_POLICY: _Form("content_policy_violation", HTTPStatus.BAD_REQUEST),
    ErrorType.MODEL_NOT_FOUND: _Form("model_not_found", HTTPStatus.NOT_FOUND, "model"),
    ErrorType.AUTHENTICATION: _Form("upstream_authentication"),
    ErrorType.CREDIT: _Form("upstream_credit"),
    ErrorType.QUOTA: _Form("upstream_quota"),
}
_PLAIN = _Form()
_IN_RESPONSES = {"messages": "input", "max_tokens": "max_output_tokens"}
"""What fields of the chat API are called in the Responses API."""

_CODES = {"missing": "missing_required_parameter", "value_error": "invalid_value"}
ParameterCode = Literal[
    "invalid_type",
    "invalid_value",
    "missing_required_parameter",
    "previous_response_not_found",
    "unsupported_parameter",
    "unsupported_value",
]
_OURS = get_args(ParameterCode)


def is_ours(path: str) -> bool:
    """Return whether errors at a path are told in this form."""
    path = re.sub("/+", "/", path)  # also where an address has a slash too many: its client is the same
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def wrong_parameter(
    param: tuple[str | int, ...] | str, detail: str, code: ParameterCode = "invalid_value"
) -> RequestValidationError:
    """Return the error of a request whose field `param` cannot be what it is."""
    place = (param,) if isinstance(param, str) else param
    return RequestValidationError([{"type": code, "loc": ("body", *place), "msg": detail}])


def error_of(trouble: Trouble, where: str = "") -> OpenAIError:
    """Return what went wrong as OpenAI's clients read it; `where` is the method and path that was asked for."""
    form = _FORMS.get(trouble.kind, _PLAIN)
    status = _status(trouble)
    message, param, code = trouble.detail, form.param, form.code or trouble.kind
    if trouble.faults:
        fault = trouble.faults[0]
        param, code = _param(fault) or None, _code(fault)
        message = f"{param}: {fault.detail}" if param else fault.detail
    elif trouble.kind == "not_found":
        if trouble.resource in ("persona", "model"):
            param, code = "model", "model_not_found"
        elif trouble.resource is None:
            message, code = f"there is nothing at {where}", "unknown_url"
    elif trouble.kind == "method_not_allowed":
        message = f"not allowed: {where}"
    return OpenAIError(message=message, type=_type(status), param=param, code=code)


def openai_error(request: Request, trouble: Trouble) -> JSONResponse:
    """Return what went wrong in OpenAI's form."""
    status = _status(trouble)
    error = error_of(trouble, f"{request.method} {request.scope['raw_path'].decode('latin-1')}"[:300])
    if trouble.has_failed and request.scope["path"].startswith(f"{PREFIX}/responses"):
        error.param = _IN_RESPONSES.get(error.param or "", error.param)
    told = getattr(request.state, _TOLD, {})
    return JSONResponse(OpenAIErrorBody(error=error).model_dump(), status, told | _headers(trouble, status))


def tell_in_errors(request: Request, headers: dict[str, str]) -> None:
    """Let `headers` stand in an error, too, if there is one from now on."""
    setattr(request.state, _TOLD, headers)


def _headers(trouble: Trouble, status: int) -> dict[str, str]:
    headers = trouble.headers
    if status not in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers.pop("Retry-After", None)
    passes = status >= _BROKEN or status in (HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)
    settled = trouble.has_failed or trouble.kind == INTERNAL
    return headers if passes and not settled else headers | _NOT_AGAIN


def _status(trouble: Trouble) -> int:
    if trouble.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return HTTPStatus.BAD_REQUEST
    failed_as = _FORMS.get(trouble.kind, _PLAIN).failed_as if trouble.status >= _BROKEN else None
    return failed_as or trouble.status


def _type(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "server_error" if status >= _BROKEN else "invalid_request_error"


def _param(fault: Fault) -> str:
    """Return the way to a field as OpenAI writes it: `messages[0].role`."""
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", fault.path)


def _code(fault: Fault) -> str:
    if fault.kind in _OURS:
        return fault.kind
    return _CODES.get(fault.kind) or ("invalid_type" if fault.kind.endswith(("_type", "_parsing")) else "invalid_value")
