"""What the stand-in says where a form is asked for: a value that fits a JSON schema, with its words in every string."""

import json
from collections.abc import Mapping
from typing import Any

_DEEPEST = 20
"""Levels of a schema that refers to itself."""


def json_text(response_format: object, words: str) -> str | None:
    """Return an answer in the form that `response_format` asks for; None where any text will do."""
    match response_format:
        case {"type": "json_schema", "json_schema": {"schema": Mapping() as schema}}:
            return json.dumps(sample(schema, words), ensure_ascii=False)
        case {"type": "json_object" | "json_schema"}:
            return json.dumps({"answer": words}, ensure_ascii=False)
    return None


def sample(schema: Mapping[str, Any], words: str) -> Any:
    """Return the simplest value that fits a schema of the kind that clients send, every property given."""
    return _sample(schema, words, schema.get("$defs", {}), _DEEPEST)


def _sample(schema: Mapping[str, Any], words: str, defined: Mapping[str, Any], levels: int) -> Any:
    def inner(part: Mapping[str, Any]) -> Any:
        return _sample(part, words, defined, levels - 1) if levels else None

    value: Any = words
    match schema:
        case {"$ref": str(place)}:
            value = inner(defined.get(place.rpartition("/")[2], {}))
        case {"const": only} | {"enum": [only, *_]}:
            value = only
        case {"anyOf": [part, *_]} | {"allOf": [part, *_]} | {"oneOf": [part, *_]}:
            value = inner(part)
        case {"type": [kind, *_]}:
            value = inner({**schema, "type": kind})
        case {"type": "array"}:
            value = [inner(schema.get("items", {}))]
        case {"type": "integer" | "number"}:
            value = schema.get("minimum", 1)
        case {"type": "boolean"}:
            value = True
        case {"type": "null"}:
            value = None
        case {"type": "object"} | {"properties": _}:
            value = {name: inner(part) for name, part in schema.get("properties", {}).items()}
    return value
