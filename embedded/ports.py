"""Ports, asked for before anything is started, so that one in use is told by its flag."""

import socket

from core.orchestrator.errors import ConfigurationError


def check_port_is_free(host: str, port: int, what: str, flag: str) -> None:
    """Return if `port` can be listened on.

    Raises:
        ConfigurationError: it cannot; the message names the port and the flag that changes it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} ({what}) cannot be used on {host}: {error.strerror}; "
                f'choose another one with {flag}, as in: make run ARGS="{flag} {port + 1}"'
            ) from None
