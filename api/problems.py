"""Every error of the API as `application/problem+json` (RFC 9457)."""

from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema

from api.troubles import Trouble

MEDIA_TYPE = "application/problem+json"


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
PROBLEM_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request is wrong.", "content": PROBLEM_CONTENT},
    "5XX": {"description": "The service, or a model behind it, cannot answer.", "content": PROBLEM_CONTENT},
}


def problem(request: Request, trouble: Trouble) -> JSONResponse:
    """Return what went wrong as a problem."""
    body = Problem(
        title=HTTPStatus(trouble.status).phrase,
        status=trouble.status,
        detail=trouble.detail,
        instance=request.scope["raw_path"].decode("latin-1"),
        error_type=trouble.kind,
        errors=[InvalidField(path=fault.path, detail=fault.detail) for fault in trouble.faults] or None,
        interaction_id=trouble.interaction_id,
    )
    return JSONResponse(body.model_dump(exclude_none=True), trouble.status, trouble.headers, media_type=MEDIA_TYPE)
