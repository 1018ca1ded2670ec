"""What makes two requests the same, beside the key that a client sends with them: what they ask."""

import json
from hashlib import sha256
from typing import Any

from pydantic import TypeAdapter

_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


def fingerprint(*asked: Any) -> str:
    """Return the same digits for the same values and models, whatever the order of their fields; no default counts."""
    sent = _ANYTHING.dump_python(asked, mode="json", exclude_unset=True)
    return sha256(json.dumps(sent, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
