"""Reading what an upstream sent. Nothing in here raises, whatever the input: a client must survive any server.

JSON brings traps that its types do not show: integers of a million digits (`str` and `float` refuse them), NaN and
infinities, lone surrogates (no UTF-8 file or database takes them) and nesting deep enough to end the interpreter's
stack. Whoever reads a field of a foreign body reads it through this module.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

MESSAGE_LIMIT = 300
"""The longest message of an error, in characters."""

TEXT_LIMIT = 1_000_000
"""The longest text kept of an answer, in characters."""

_TEXT_BYTES = 1_500_000
"""The same as JSON. A longer text would not fit a workflow's payload, which Temporal limits to 2 MB."""

IDENTIFYING_LENGTH = 8
"""A piece of a key this long narrows the key down; anything shorter could be chance."""

REDACTED = "[redacted]"

NOTHING: Mapping[str, Any] = {}


def parse_json(text: str | bytes) -> object:
    """Return what the text says as JSON, or None where it is none (or too deep, or too long a number)."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def as_mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON object as it is, and anything else as an empty one."""
    return value if isinstance(value, dict) else NOTHING


def as_text(value: object) -> str | None:
    """Return a string that any encoder and any database takes, or None for anything but a string."""
    if not isinstance(value, str):
        return None
    return value.replace("\0", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def storable_text(text: str, beside: int = 0) -> str:
    """Return a text that every database takes and that fits a workflow's payload; what is too long is cut off.

    `beside` says how many bytes something else takes of the payload.
    """
    text, room = (as_text(text) or "")[:TEXT_LIMIT], _TEXT_BYTES - beside
    while (size := len(json.dumps(text, ensure_ascii=False).encode())) > room:
        text = text[: len(text) * room // size]
    return text


def as_number(value: object) -> float | None:
    """Return a finite number, also from its digits in a string; None for everything else, booleans included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def one_line(text: object, limit: int = MESSAGE_LIMIT) -> str:
    """Return a string as one printable line of at most `limit` characters; anything but a string as an empty one."""
    if not isinstance(text, str):
        return ""
    words = " ".join(text[: 20 * limit].split())
    # Not printable: control characters, surrogates, and the marks that reverse the direction of a log line.
    visible = "".join(filter(str.isprintable, words))
    return visible if len(visible) <= limit else visible[: limit - 1] + "…"


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text without the secrets, and without any part of one that is long enough to identify it.

    An upstream may echo the key whole, cut at its own limit, or glued to something else; so every run of characters
    that also occurs in a secret is taken out, however long it is, and in whatever case: codes are compared, and told,
    in lower case.
    """
    for secret in filter(None, secrets):
        width = min(IDENTIFYING_LENGTH, len(secret))
        lowered = secret.lower()
        kept: list[str] = []
        end_of_run = 0
        for start, character in enumerate(text):
            window = text[start : start + width]
            if len(window) == width and window.lower() in lowered:
                if start >= end_of_run:
                    kept.append(REDACTED)
                end_of_run = start + width
            if start >= end_of_run:
                kept.append(character)
        text = "".join(kept)
    return text
