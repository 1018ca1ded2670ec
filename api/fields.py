"""The kinds of fields requests are made of, and their limits."""

import json
import math
import re
from datetime import date
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Path, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

_MAX_CONTEXT_BYTES = 16 * 1024
_MAX_DEPTH = 64
"""Levels of nesting: far beyond any use, and far below what the parsers on the way can take."""


def _storable(text: str) -> str:
    """Refuse what no database stores and no model reads."""
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain lone surrogates") from None
    return text


def storable_json(value: Any) -> Any:
    """Return a value of JSON.

    Raises:
        ValueError: it holds what no database stores and no model reads.
    """
    waiting = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise ValueError(f"must not be nested deeper than {_MAX_DEPTH} levels")
        match item:
            case str():
                _storable(item)
            case float() if not math.isfinite(item):
                raise ValueError("must not contain numbers beyond all bounds")
            case list():
                waiting += [(element, depth + 1) for element in item]
            case dict():
                waiting += [(part, depth + 1) for pair in item.items() for part in pair]
    return value


def _small(value: Any) -> Any:
    if len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) > _MAX_CONTEXT_BYTES:
        raise ValueError("must be at most 16 KiB of JSON")
    return value


def _written_out(value: Any) -> Any:
    """Leave one way to write a day; the parser would take timestamps too."""
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        raise ValueError("must be a day such as 2026-01-31")
    return value


def digits(value: Any) -> Any:
    """Leave one way to write a number; the parser would take `1.0`, `+3` and `1_0` too."""
    if isinstance(value, str) and not re.fullmatch("[0-9]+", value):
        raise ValueError("must be a number in digits")
    return value


def _not_streamed(background: bool, info: ValidationInfo) -> bool:
    if background and info.data.get("stream"):
        raise ValueError("cannot be combined with `stream`")
    return background


def _interaction_id(value: str) -> str:
    """Leave one way to write the id of an interaction."""
    try:
        written = str(UUID(value))
    except ValueError:
        written = None
    if written != value:
        raise ValueError("must be `next_cursor` of the page before")
    return value


class OnDisconnect(StrEnum):
    """What happens when the client that sent a message leaves before the end."""

    CONTINUE = "continue"
    """The interaction goes on."""
    CANCEL = "cancel"
    """It is cancelled."""


# The limits come before the validator, so that they are checked first, by name, and reach the OpenAPI description.
Identifier = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_storable)]
ModelName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_storable)]
Message = Annotated[str, Field(min_length=1, max_length=100_000), AfterValidator(_storable)]
ModelCursor = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_storable)]
LongText = Annotated[str, Field(min_length=1), AfterValidator(_storable)]
"""As long as the body may be."""
CallId = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_storable)]
"""As a provider made it up; some put more than a name into it."""
FallbackModels = Annotated[list[ModelName], Field(max_length=8)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
MaxTokens = Annotated[int, Field(gt=0, le=10_000_000)]
Context = Annotated[dict[str, Any], AfterValidator(storable_json), AfterValidator(_small)]
Stream = Annotated[
    bool,
    Field(description="True: the response is a stream of server-sent events, from the first token on."),
]
Background = Annotated[
    bool,
    Field(description="True: 202 as soon as the message is accepted; the reply is found where `Location` says."),
    AfterValidator(_not_streamed),
]
WhenClientLeaves = Annotated[
    OnDisconnect,
    Field(
        strict=False,
        description="What becomes of the reply when the client leaves before its end: it goes on, or is cancelled.",
    ),
]
IdempotencyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Chosen by the client for each request. Sent again by the same user with the same body, it gets "
        "the interaction that there is, and the header `Idempotency-Replayed: true`; with another body, 422.",
    ),
]
Day = Annotated[date, BeforeValidator(_written_out)]

InteractionId = Annotated[Identifier, Path(description="As the response, and the header `X-Interaction-Id`, gave it.")]
SessionId = Annotated[Identifier, Path(description="The conversation.")]
UserId = Annotated[Identifier, Path(description="Who.")]
PersonaId = Annotated[Identifier, Path(description="Such as `cherry`.")]
LastEventId = Annotated[
    int,
    BeforeValidator(digits),
    Header(alias="Last-Event-ID", ge=0, le=2**53, description="Number of the last event seen, as browsers send it."),
]
StartingAfter = Annotated[
    int,
    BeforeValidator(digits),
    Query(
        ge=0,
        le=2**53,
        description="Number of the last event seen. Beside `Last-Event-ID` the larger of the two counts: a browser "
        "reconnects to the same address as before.",
    ),
]
Cursor = Annotated[int, Query(ge=0, le=2**53, description="`next_cursor` of the page before.")]
InteractionCursor = Annotated[
    Annotated[str, AfterValidator(_interaction_id)] | None, Query(description="`next_cursor` of the page before.")
]
SessionCursor = Annotated[
    Annotated[str, Field(max_length=2000)] | None, Query(description="`next_cursor` of the page before.")
]
PageSize = Annotated[int, Query(ge=1, le=200, description="How many items at most.")]


class RequestBody(BaseModel):
    """Base: strict types, and no unknown field passes silently."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class ContentPart(BaseModel):
    """A part of a message, such as `{"type": "text", "text": "Hello"}`; further fields are the model's business."""

    model_config = ConfigDict(extra="allow", strict=True, use_attribute_docstrings=True)

    type: Identifier
    """Such as `text` or `image_url`."""

    @model_validator(mode="before")
    @classmethod
    def _is_storable(cls, value: Any) -> Any:
        return storable_json(value)
