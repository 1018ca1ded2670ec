"""Keys of these tests, as PAYLOAD_ENCRYPTION_KEYS names them."""

from base64 import b64encode

from pydantic import SecretStr

KEYS = {name: SecretStr(b64encode(name.encode() * 32).decode()) for name in "abc"}


def keys(names: str) -> dict[str, SecretStr]:
    """Keys in an order: the first encrypts."""
    return {name: KEYS[name] for name in names}


def setting(names: str) -> str:
    """The same, as an environment variable holds them."""
    return ",".join(f"{name}={key.get_secret_value()}" for name, key in keys(names).items())
