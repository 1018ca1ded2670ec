"""Whether a service that asks for no keys can be reached from elsewhere: it refuses to start, unless told otherwise."""

import socket
from ipaddress import IPv6Address, ip_address

from core.orchestrator.access.keys import KeyRing
from core.orchestrator.config import Settings
from core.orchestrator.errors import ConfigurationError


def check_exposure(settings: Settings, *, insecure: bool) -> str | None:
    """Return if the settings leave the service to nobody it is not for.

    Args:
        settings: with the keys, and the address that is listened on.
        insecure: whether whoever can reach the address may do everything.

    Returns:
        What a person should be warned of, if anything.

    Raises:
        ConfigurationError: an entry of API_KEYS is wrong; or there is none, and the address is not loopback.
    """
    host = settings.API_HOST
    if KeyRing.parse(settings.API_KEYS) or is_loopback(host):
        return None
    if not insecure:
        raise ConfigurationError(
            f"API_HOST {host or '(empty)'} is not this machine alone, and without API_KEYS anybody who reaches it may "
            "do everything: set API_KEYS (`orchestrator keys create` makes an entry), or accept that with --insecure"
        )
    return f"anybody who reaches {host or 'any address of this machine'} may read, spend and erase: API_KEYS is not set"


def is_loopback(host: str) -> bool:
    """Return whether listening on `host` lets in nobody but this machine; False also where that cannot be told."""
    try:
        # As the server will look it up: an empty name, for one, is every address.
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return False
    return all(_is_loopback(str(address[0])) for *_, address in found)


def _is_loopback(address: str) -> bool:
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_loopback
