"""One server and our key to it: how requests are made, sent and read back, for whatever is asked of it.

Nothing leaves it but answers and `LLMProviderError`s without the key: an upstream may echo the key wherever it likes,
and an exception of the HTTP client may quote whatever the upstream sent.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import nullcontext, suppress
from datetime import timedelta

import httpx
from pydantic import SecretStr

from core.orchestrator.errors import ConfigurationError, LLMProviderError
from core.orchestrator.providers import failure_kinds as kinds
from core.orchestrator.providers.base import LABEL_CHARACTERS
from core.orchestrator.providers.classification import failure, from_error, from_response, from_transport
from core.orchestrator.providers.http import TRANSPORT_ERRORS, build_http_client
from core.orchestrator.providers.redaction import Redactor
from core.orchestrator.providers.timing import DataTimer
from core.orchestrator.providers.untrusted import as_mapping, one_line, parse_json

_LONGEST_ERROR_BODY = 64 * 1024
_LONGEST_RECORD = 16 * 1024 * 1024
"""Bytes; ten times what OpenRouter's list of models takes."""

_PLAIN = {"Accept-Encoding": "identity"}
"""A few bytes can unpack to more than there is memory, so nothing compressed is asked for, or read."""


class Endpoint:
    """A server with an API like OpenAI's, and our key to it."""

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr | None,
        client: httpx.AsyncClient | None = None,
        *,
        url_setting: str,
        key_setting: str,
    ) -> None:
        """Prepare; the first request opens the first connection.

        Args:
            base_url: what the paths are appended to.
            api_key: None sends requests without one.
            client: closed by whoever made it; by default the endpoint makes its own, and closes it.
            url_setting: which setting to mend when the address is none.
            key_setting: which setting to mend when the key is none.

        Raises:
            ConfigurationError: the base URL is no HTTP address.
        """
        self.key = api_key.get_secret_value().strip() if api_key else ""
        self._key_setting = key_setting
        self.redactor = Redactor(self.key)
        try:
            self._url = httpx.URL(base_url.rstrip("/"))
            host = self._url.host
        except (httpx.InvalidURL, ValueError) as error:  # the latter of a host that is no international name
            raise ConfigurationError(f"{url_setting}: {error}") from None
        if self._url.scheme not in {"http", "https"} or not host:
            raise ConfigurationError(f"{url_setting} must start with http:// or https:// and name a host")
        self._client = client or build_http_client()
        self._owns_client = client is None

    @property
    def address(self) -> str:
        """The base URL; it may hold a password."""
        return str(self._url)

    def build(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Request:
        """Return a request that carries the key.

        Raises:
            LLMProviderAuthenticationError: no header can carry the key.
            LLMProviderConnectionError: the client cannot make such a request.
        """
        if not (self.key.isascii() and self.key.isprintable()):
            raise failure(kinds.UNAUTHENTICATED, f"{self._key_setting} holds characters that no HTTP header can carry")
        authorization = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            return self._client.build_request(
                method,
                f"{self._url}{path}",
                params=params,
                content=content,
                headers={**_PLAIN, **authorization, **(headers or {})},
            )
        except (httpx.InvalidURL, ValueError, TypeError) as error:
            raise failure(kinds.UNREACHABLE, f"no request can be made of it ({type(error).__name__})") from None

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return as soon as the head of its answer is there.

        Raises:
            LLMProviderConnectionError: there is no answer.
        """
        try:
            return await self._client.send(request, stream=True)
        except TRANSPORT_ERRORS as error:
            raise from_transport(error) from None

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, within: timedelta) -> object:
        """Return the JSON found there.

        Args:
            path: appended to the base URL.
            params: the query.
            within: how long all of it may take.

        Raises:
            LLMProviderError: there is none, or it reports an error.
        """
        response: httpx.Response | None = None
        try:
            async with asyncio.timeout(within.total_seconds()):
                response = await self.send(self.build("GET", path, params=params))
                return await _record(response)
        except TimeoutError:
            slow = failure(kinds.TIMED_OUT, f"the upstream took longer than {within.total_seconds():g} s to tell")
            raise slow from None
        except LLMProviderError as error:
            raise self.cleared(error, response) from None
        finally:
            await close(response)

    def generation_id(self, response: httpx.Response) -> str | None:
        """Return the id under which the upstream knows a call, where the head of its answer tells it."""
        return self.redactor.identity(one_line(response.headers.get("x-generation-id"), LABEL_CHARACTERS))

    def cleared(self, error: LLMProviderError, response: httpx.Response | None) -> LLMProviderError:
        """Return the error with what HTTP said, and without the key. Raise it `from None`."""
        error.args = (self.redactor.line(str(error)),)
        error.error_code = self.redactor.line(error.error_code) if error.error_code else None
        if response is not None:
            error.http_status = error.http_status or response.status_code
            error.generation_id = error.generation_id or self.generation_id(response)
        error.generation_id = self.redactor.identity(error.generation_id)
        return error

    async def aclose(self) -> None:
        """Close the connections, unless they belong to a client that was passed in."""
        if self._owns_client:
            await self._client.aclose()


async def body_of(response: httpx.Response, timer: DataTimer | None = None) -> AsyncIterator[bytes]:
    """Yield the body. `timer`: who knows whether some of an answer had arrived.

    Raises:
        LLMProviderError: the connection broke, or the body is compressed.
    """
    encodings = response.headers.get_list("content-encoding", split_commas=True)
    if any(encoding.strip().lower() not in {"", "identity"} for encoding in encodings):
        message = f"the upstream compressed its answer, unasked ({one_line(encodings[0], 40)})"
        raise failure(kinds.MALFORMED, message, http_status=response.status_code)
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except TRANSPORT_ERRORS as error:
        raise from_transport(error, data_seen=timer is not None and timer.data_seen) from None


async def refusal(
    response: httpx.Response, chunks: AsyncIterator[bytes], timer: DataTimer | None = None
) -> LLMProviderError:
    """Read why a request was refused; the status alone must do when no legible body comes in time."""
    body = bytearray()
    with suppress(LLMProviderError):
        async with timer.limit() if timer else nullcontext():
            async for chunk in chunks:
                body += chunk
                if len(body) > _LONGEST_ERROR_BODY:
                    break
    return from_response(response.status_code, response.headers, bytes(body))


async def close(response: httpx.Response | None) -> None:
    """Close a connection whose answer is of no more use."""
    if response is not None:
        with suppress(*TRANSPORT_ERRORS):
            await response.aclose()


async def _record(response: httpx.Response) -> object:
    chunks = body_of(response)
    if not response.is_success:
        raise await refusal(response, chunks)
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > _LONGEST_RECORD:
            raise failure(kinds.MALFORMED, "the upstream's answer is too long to be one")
    record = parse_json(bytes(body))
    if record is None:
        raise failure(kinds.MALFORMED, "the upstream sent no JSON")
    if error := as_mapping(record).get("error"):
        raise from_error(error, http_status=response.status_code, headers=response.headers)
    return record
