"""The forms that settings have: lists, pairs and addresses as they stand in an environment variable.

A validator's words end up in the one line that stops the start, behind the setting's name; none quotes a value, which
may be a secret.
"""

import re
from base64 import b64decode
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_ENCRYPTION_KEY_BYTES = 32


def what_is_wrong_with(url: str) -> str | None:
    """Return what keeps a text from being the base of an HTTP API's addresses, without quoting it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no address"
    if parts.scheme not in ("http", "https") or not url.startswith(("http://", "https://")):
        return "must start with http:// or https://"
    if not host or not url.isprintable() or " " in url:
        return "must name a host"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user or password"
    return "must end with its path" if parts.query or parts.fragment else None


def _split_commas(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _entries(value: Any) -> Any:
    entries = _split_commas(value)
    if isinstance(value, str) and not (entries and all(part.strip() for part in value.split(","))):
        raise ValueError(
            "holds an entry that is empty; to ask for no keys, leave it out"
        )  # else that were a typo's work
    return entries


def _pairs(example: str) -> Callable[[Any], Any]:
    def split(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = {}
        for part in _split_commas(value):
            name, equals, rest = (piece.strip() for piece in part.partition("="))
            if not equals or not rest or not _NAME.fullmatch(name):
                raise ValueError(
                    f"must be comma-separated name=value pairs, such as {example}; "
                    "a name has lower-case letters, digits, - and _"
                )
            if name in pairs:
                raise ValueError(f"names {name} twice")
            pairs[name] = rest
        return pairs

    return split


def _without_blanks(value: Any) -> Any:
    if isinstance(value, str):  # pasted with a line break, it would fit into no header
        return value.strip() or None
    return value


def _http_address(value: str) -> str:
    if wrong := what_is_wrong_with(value):
        raise ValueError(wrong)
    return value.rstrip("/")


def _encryption_keys(value: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, key in value.items():
        try:
            length = len(b64decode(key.get_secret_value(), validate=True))
        except ValueError:
            length = 0
        if length != _ENCRYPTION_KEY_BYTES:
            raise ValueError(f"the key {name} must be 32 bytes in base64, such as `openssl rand -base64 32` prints")
    return value


CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(_split_commas)]
KeyEntries = Annotated[list[str], NoDecode, BeforeValidator(_entries)]
HttpAddress = Annotated[str, AfterValidator(_http_address)]
Key = Annotated[SecretStr | None, BeforeValidator(_without_blanks)]
NamedAddresses = Annotated[dict[str, str], NoDecode, BeforeValidator(_pairs("ollama=http://127.0.0.1:11434/v1"))]
NamedKeys = Annotated[dict[str, SecretStr], NoDecode, BeforeValidator(_pairs("ollama=KEY"))]
EncryptionKeys = Annotated[
    dict[str, SecretStr], NoDecode, BeforeValidator(_pairs("a=KEY")), AfterValidator(_encryption_keys)
]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Limit = Annotated[int, Field(ge=0, le=1_000_000)]
Port = Annotated[int, Field(ge=1, le=65_535)]
