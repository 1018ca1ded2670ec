"""The kinds of fields requests are made of, and their limits."""

import json
from typing import Annotated, Any

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

_MAX_CONTEXT_BYTES = 16 * 1024


def _storable(text: str) -> str:
    """Refuse what no database stores and no model reads."""
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain lone surrogates") from None
    return text


def _storable_json(value: Any) -> Any:
    try:
        encoded = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        raise ValueError("must be JSON: no NaN or infinity, not nested too deeply") from None
    if "\\u0000" in encoded:
        raise ValueError("must not contain NUL characters")
    _storable(encoded)
    return value


def _small(value: Any) -> Any:
    if len(json.dumps(value, ensure_ascii=False).encode()) > _MAX_CONTEXT_BYTES:
        raise ValueError("must be at most 16 KiB of JSON")
    return value


Text = Annotated[str, AfterValidator(_storable)]
Identifier = Annotated[Text, Field(min_length=1, max_length=128)]
ModelName = Annotated[Text, Field(min_length=1, max_length=200)]
FallbackModels = Annotated[list[ModelName], Field(max_length=8)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
MaxTokens = Annotated[int, Field(gt=0, le=10_000_000)]
Context = Annotated[dict[str, JsonValue], AfterValidator(_storable_json), AfterValidator(_small)]
ContentPart = Annotated[dict[str, JsonValue], AfterValidator(_storable_json)]
PageSize = Annotated[int, Query(ge=1, le=200, description="How many items at most.")]


class RequestBody(BaseModel):
    """Base: strict types, and no unknown field passes silently."""

    model_config = ConfigDict(extra="forbid", strict=True)
