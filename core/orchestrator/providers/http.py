"""The one place that knows how HTTP is carried: httpx in front, aiohttp's connections underneath.

httpx's own connection pool was measured at ten times the CPU per call at 32 concurrent streams, so its interface runs
on the `httpx-aiohttp` transport. Nothing retries in here: aiohttp repeats idempotent methods only, and a chat is a
POST. Nothing but connecting has a time limit in here either: keep-alive comments would satisfy a read timeout for
ever, so the reader counts data instead (`DataTimer`).

Nothing is remembered between calls either: a cookie would tie the calls of different users together, and one that no
header can carry would end all calls after it.
"""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import timedelta
from http.cookiejar import CookieJar
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport, HttpxAiohttpClient
from typing_extensions import override

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
    httpx.LocalProtocolError,
)


def build_http_client(*, connect_timeout: timedelta = CONNECT_TIMEOUT) -> httpx.AsyncClient:
    """Return a client for many concurrent streams; it belongs to the event loop that first uses it."""
    return _Client(
        cookies=_NoCookies(),
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


class _NoCookies(CookieJar):
    """What httpx keeps cookies in: nothing."""

    @override
    def extract_cookies(self, response: Any, request: Any) -> None:
        """Not even read."""


class _NoCookiesBelow(aiohttp.DummyCookieJar):
    """What aiohttp keeps cookies in: nothing."""

    @override
    def update_cookies_from_headers(self, headers: Sequence[str], response_url: Any) -> None:
        """Not even read."""


_sent: ContextVar[asyncio.Event | None] = ContextVar("_sent", default=None)
"""Set once the body of the request that this task sends is on its way."""


async def _note_that_it_is_sent(*_: object) -> None:
    if sent := _sent.get():
        sent.set()


class _Transport(AiohttpTransport):
    """Aiohttp's connections, without cookies, and without any errors but those of the two libraries."""

    @override
    def get_client(self) -> aiohttp.ClientSession:
        if isinstance(self.client, aiohttp.ClientSession):
            return self.client
        tracing = aiohttp.TraceConfig()
        tracing.on_request_chunk_sent.append(_note_that_it_is_sent)
        connector = aiohttp.TCPConnector(
            limit=self.limits.max_connections or 0,
            keepalive_timeout=self.limits.keepalive_expiry,
            ssl=self.ssl_context,
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=_NoCookiesBelow(), trace_configs=[tracing])

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        sent = asyncio.Event()
        token = _sent.set(sent)
        try:
            return await super().handle_async_request(request)
        except (ValueError, TypeError) as error:
            # What cannot be written into a request, and what cannot be read out of the head of an answer.
            kind = httpx.RemoteProtocolError if sent.is_set() else httpx.LocalProtocolError
            raise kind(type(error).__name__) from error
        finally:
            _sent.reset(token)


class _Client(HttpxAiohttpClient):
    """httpx, on the transport above, also where the environment names a proxy."""

    @override
    def _init_transport(self, *_: Any, **options: Any) -> httpx.AsyncBaseTransport:
        return _Transport(**options)

    @override
    def _init_proxy_transport(self, proxy: httpx.Proxy, *_: Any, **options: Any) -> httpx.AsyncBaseTransport:
        return _Transport(proxy=proxy, **options)
