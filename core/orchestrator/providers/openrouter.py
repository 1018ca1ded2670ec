"""OpenRouter: every model behind one chat endpoint.

Always streams upstream, also for a whole completion: OpenRouter documents that closing a STREAMING request stops
generation and billing on most of its providers, while any other request is billed whole. Sends one `model` and never
`models[]`, with which OpenRouter would change the model on any error without telling: the workflow owns fallback.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import NoReturn

import httpx
from pydantic import SecretStr

from core.orchestrator.contracts import Message
from core.orchestrator.errors import ConfigurationError, ErrorType, LLMProviderError
from core.orchestrator.providers import failure_kinds as kinds
from core.orchestrator.providers.base import ChatCompletion, LLMProvider
from core.orchestrator.providers.chat_stream import read_chat_answer
from core.orchestrator.providers.classification import failure, from_response, from_transport
from core.orchestrator.providers.http import TRANSPORT_ERRORS, build_http_client
from core.orchestrator.providers.timing import DataTimer
from core.orchestrator.providers.untrusted import one_line, redact

logger = logging.getLogger(__name__)

ATTRIBUTION = {"HTTP-Referer": "http://localhost", "X-OpenRouter-Title": "AI Orchestration System"}
"""How OpenRouter lists the application that calls. It wants a site; for one without, its documents allow localhost."""

_LONGEST_ERROR_BODY = 64 * 1024
_FAREWELL = timedelta(milliseconds=50)
"""How long the body may take to end after `[DONE]`: a connection read to its end saves the next call a handshake."""


class OpenRouterProvider(LLMProvider):
    """Chat completions by OpenRouter, or by anything that answers like it at another base URL."""

    def __init__(
        self,
        *,
        api_key: SecretStr | None,
        base_url: str,
        default_model: str,
        first_token_timeout: timedelta,
        stall_timeout: timedelta,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        """Prepare; the first call opens the first connection.

        Args:
            api_key: None lets every call fail with an error that names the setting.
            base_url: where `/chat/completions` is found.
            default_model: asked when a call names none.
            first_token_timeout: from the request to the first data; keep-alive comments are no data.
            stall_timeout: between two pieces of data.
            client: closed by whoever made it; by default the provider makes its own, and closes it.

        Raises:
            ConfigurationError: the base URL is no HTTP address.
        """
        self._key = api_key.get_secret_value().strip() if api_key else ""
        try:
            self._url = httpx.URL(base_url.rstrip("/") + "/chat/completions")
        except httpx.InvalidURL as error:
            raise ConfigurationError(f"OPENROUTER_BASE_URL: {error}") from None
        if self._url.scheme not in {"http", "https"} or not self._url.host:
            raise ConfigurationError("OPENROUTER_BASE_URL must start with http:// or https:// and name a host")
        self._default_model = default_model
        self._first_token_timeout = first_token_timeout
        self._stall_timeout = stall_timeout
        self._client = client or build_http_client()
        self._owns_client = client is None

    @property
    def provider_name(self) -> str:
        """`openrouter`."""
        return "openrouter"

    async def generate_chat_completion(
        self,
        messages: Sequence[Message],
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int | None = None,
    ) -> ChatCompletion:
        """Complete a chat in one call; see `LLMProvider`. Streams all the same."""
        async with aclosing(self.stream_chat_completion(messages, model, temperature, max_tokens)) as pieces:
            async for piece in pieces:
                if isinstance(piece, ChatCompletion):
                    return piece
        raise failure(kinds.EMPTY, "the stream ended without a completion")

    async def stream_chat_completion(
        self,
        messages: Sequence[Message],
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int | None = None,
    ) -> AsyncGenerator[str | ChatCompletion, None]:
        """Complete a chat piece by piece; see `LLMProvider`. Closing the iterator closes the connection.

        Raises:
            LLMProviderError: the call failed.
        """
        request = self._build_request(messages, model or self._default_model, temperature, max_tokens)
        timer = DataTimer(self._first_token_timeout, self._stall_timeout)
        response: httpx.Response | None = None
        try:
            response = await self._send(request, timer)
            chunks = _body_of(response, timer)
            if not response.is_success:
                raise await _refusal(response, chunks, timer)
            async with aclosing(read_chat_answer(chunks, timer)) as pieces:
                async for piece in pieces:
                    yield self._identified(piece, response) if isinstance(piece, ChatCompletion) else piece
            await _read_to_the_end(chunks)
        except LLMProviderError as error:
            self._raise_safely(error, response, model or self._default_model)
        finally:
            if response is not None:
                with suppress(*TRANSPORT_ERRORS):
                    await response.aclose()

    async def aclose(self) -> None:
        """Close the connections, unless they belong to a client that was passed in."""
        if self._owns_client:
            await self._client.aclose()

    def _build_request(
        self, messages: Sequence[Message], model: str, temperature: float, max_tokens: int | None
    ) -> httpx.Request:
        if not self._key:
            raise failure(kinds.UNAUTHENTICATED, "no key for OpenRouter: set OPENROUTER_API_KEY")
        if not (self._key.isascii() and self._key.isprintable()):
            raise failure(kinds.UNAUTHENTICATED, "OPENROUTER_API_KEY holds characters that no HTTP header can carry")
        fields = {"model": model, "messages": list(messages), "temperature": temperature, "stream": True}
        if max_tokens is not None:
            fields["max_tokens"] = max_tokens
        try:
            # ASCII with escapes: a lone surrogate in somebody's message must not break the encoder.
            content = json.dumps(fields, allow_nan=False).encode("ascii")
        except (TypeError, ValueError, RecursionError) as error:
            raise failure(kinds.UNACCEPTABLE, f"the messages cannot be written as JSON: {error}") from None
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            **ATTRIBUTION,
        }
        return self._client.build_request("POST", self._url, content=content, headers=headers)

    async def _send(self, request: httpx.Request, timer: DataTimer) -> httpx.Response:
        async with timer.limit():
            try:
                return await self._client.send(request, stream=True)
            except TRANSPORT_ERRORS as error:
                raise from_transport(error) from None

    def _generation_id(self, response: httpx.Response) -> str | None:
        """Return the id under which OpenRouter knows the call; the header is there even when the stream breaks."""
        return redact(one_line(response.headers.get("x-generation-id"), 200), [self._key]) or None

    def _identified(self, completion: ChatCompletion, response: httpx.Response) -> ChatCompletion:
        return completion.model_copy(
            update={"generation_id": self._generation_id(response) or completion.generation_id}
        )

    def _raise_safely(self, error: LLMProviderError, response: httpx.Response | None, model: str) -> NoReturn:
        """Raise the error with what HTTP said, and without the key, should the upstream have echoed it.

        Without its cause, too: an exception of the HTTP client may quote whatever the upstream sent.
        """
        error.args = (redact(str(error), [self._key]),)
        error.error_code = redact(error.error_code, [self._key]) if error.error_code else None
        if response is not None:
            error.http_status = error.http_status or response.status_code
            error.generation_id = error.generation_id or self._generation_id(response)
        if error.error_type is ErrorType.MODEL_NOT_FOUND:
            logger.error("OpenRouter cannot serve the model %s: %s", model, error)
        raise error from None


async def _body_of(response: httpx.Response, timer: DataTimer) -> AsyncIterator[bytes]:
    """Yield the decoded body.

    Raises:
        LLMProviderError: the connection broke.
    """
    try:
        async for chunk in response.aiter_bytes():
            yield chunk
    except TRANSPORT_ERRORS as error:
        raise from_transport(error, data_seen=timer.data_seen) from None


async def _refusal(response: httpx.Response, chunks: AsyncIterator[bytes], timer: DataTimer) -> LLMProviderError:
    """Read why the request was refused; the status alone must do when the body breaks off or never comes."""
    body = bytearray()
    with suppress(LLMProviderError):
        async with timer.limit():
            async for chunk in chunks:
                body += chunk
                if len(body) > _LONGEST_ERROR_BODY:
                    break
    return from_response(response.status_code, response.headers, bytes(body))


async def _read_to_the_end(chunks: AsyncIterator[bytes]) -> None:
    with suppress(TimeoutError, LLMProviderError):
        async with asyncio.timeout(_FAREWELL.total_seconds()):
            async for _ in chunks:
                pass
