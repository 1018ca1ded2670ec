"""The one place that knows how HTTP is carried: httpx in front, aiohttp's connections underneath.

httpx's own connection pool was measured at ten times the CPU per call at 32 concurrent streams, so its interface runs
on the `httpx-aiohttp` transport. Nothing retries in here: aiohttp repeats idempotent methods only, and a chat is a
POST. Nothing but connecting has a time limit in here either: keep-alive comments would satisfy a read timeout for
ever, so the reader counts data instead (`DataTimer`).
"""

from datetime import timedelta

import aiohttp
import httpx
from httpx_aiohttp import HttpxAiohttpClient

CONNECT_TIMEOUT = timedelta(seconds=10)
"""For the TCP connection, and once more for its TLS handshake."""

MAX_CONNECTIONS = 1000
"""Streams at the same time; `None` would mean aiohttp's default of 100."""

KEEPALIVE = timedelta(seconds=30)
"""An idle connection is reused for so long; below the minute after which servers commonly close theirs."""

TRANSPORT_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, aiohttp.ClientError, OSError)
"""What a call can raise. The transport lets some of aiohttp's own errors through, such as that for broken HTTP."""

_NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)
_NEVER_SENT_HTTPX = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


def build_http_client(*, connect_timeout: timedelta = CONNECT_TIMEOUT) -> httpx.AsyncClient:
    """Return a client for many concurrent streams; it belongs to the event loop that first uses it."""
    return HttpxAiohttpClient(
        timeout=httpx.Timeout(None, connect=connect_timeout.total_seconds()),
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEPALIVE.total_seconds()),
        follow_redirects=False,
    )


def was_sent(error: BaseException) -> bool:
    """Whether the request may have reached the server before this error: then somebody may be charged for it.

    The transport reports every `aiohttp.ClientConnectionError` as `httpx.ConnectTimeout`, a server that hangs up
    after reading the request included. Only the cause tells the two apart.
    """
    cause = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    if isinstance(cause, aiohttp.ClientError):
        return not isinstance(cause, _NEVER_SENT)
    return not isinstance(cause, _NEVER_SENT_HTTPX)
