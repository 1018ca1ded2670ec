"""OpenAI's chat API, as every provider that speaks it calls it: the request, the stream, and how it is left.

Always streams upstream, also for a whole completion: closing a STREAMING request stops generation and billing at most
servers, while any other request is billed whole.
"""

import asyncio
import json
import logging
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Any, ClassVar

import httpx
from typing_extensions import override

from core.orchestrator.contracts import Message, ModelInfo
from core.orchestrator.errors import ErrorType, LLMProviderError
from core.orchestrator.providers import failure_kinds as kinds
from core.orchestrator.providers.base import CallAccepted, ChatCompletion, LLMProvider
from core.orchestrator.providers.chat_stream import read_chat_answer
from core.orchestrator.providers.classification import failure
from core.orchestrator.providers.endpoint import Endpoint, body_of, close, refusal
from core.orchestrator.providers.model_list import read_models
from core.orchestrator.providers.timing import DataTimer

logger = logging.getLogger(__name__)

_OURS = frozenset({"max_completion_tokens", "max_tokens", "models", "n", "route", "stream_options", "usage"})
"""Decided here alone, beside what every request says: who answers, how long, how often, and how the answer is read."""

_FAREWELL = timedelta(milliseconds=50)
"""How long the body may take to end after `[DONE]`: a connection read to its end saves the next call a handshake."""


class ChatApiProvider(LLMProvider):
    """Chat completions by a server that speaks OpenAI's chat API."""

    extra_headers: ClassVar[Mapping[str, str]] = {}
    extra_fields: ClassVar[Mapping[str, Any]] = {}
    """Sent with every chat."""
    takes_parameters = True

    def __init__(self, endpoint: Endpoint, *, first_token_timeout: timedelta, stall_timeout: timedelta) -> None:
        """Prepare; the first call opens the first connection.

        Args:
            endpoint: the server; closed with the provider.
            first_token_timeout: from the request to the first data; keep-alive comments are no data. A look-up that is
                no chat may take as long in all.
            stall_timeout: between two pieces of data.
        """
        self._endpoint = endpoint
        self._first_token_timeout = first_token_timeout
        self._stall_timeout = stall_timeout

    @abstractmethod
    def _model_for(self, model: str | None) -> str:
        """Return the model to ask.

        Raises:
            LLMProviderError: no call can be made.
        """

    @override
    async def generate_chat_completion(
        self,
        messages: Sequence[Message],
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
    ) -> ChatCompletion:
        stream = self.stream_chat_completion(messages, model, temperature, max_tokens, parameters=parameters)
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                if isinstance(piece, ChatCompletion):
                    return piece
        raise failure(kinds.EMPTY, "the stream ended without a completion")

    @override
    async def stream_chat_completion(
        self,
        messages: Sequence[Message],
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[str | CallAccepted | ChatCompletion, None]:
        asked = self._model_for(model)
        parameters = parameters or {}
        request = self._build_request(messages, asked, temperature, max_tokens, parameters)
        timer = DataTimer(self._first_token_timeout, self._stall_timeout)
        response: httpx.Response | None = None
        try:
            async with timer.limit():
                response = await self._endpoint.send(request)
            chunks = body_of(response, timer)
            if not response.is_success:
                raise await refusal(response, chunks, timer)
            answer = read_chat_answer(
                chunks,
                timer,
                redactor=self._endpoint.redactor,
                generation_id=self._endpoint.generation_id(response),
                with_tools=bool(parameters.get("tools")),
            )
            async with aclosing(answer) as pieces:
                async for piece in pieces:
                    yield piece
            await _read_to_the_end(chunks)
        except LLMProviderError as error:
            safe = self._endpoint.cleared(error, response)
            if safe.error_type is ErrorType.MODEL_NOT_FOUND:
                # Without the traceback, which might show what was taken out.
                logger.log(logging.ERROR, "%s cannot serve the model %s: %s", self.provider_name, asked, safe)
            raise safe from None
        finally:
            await close(response)

    @override
    async def list_models(self) -> Sequence[ModelInfo]:
        listing = await self._endpoint.get("/models", within=self._first_token_timeout)
        return read_models(listing, self._endpoint.redactor)

    @property
    @override
    def models_source(self) -> str:
        return self._endpoint.address

    @override
    async def aclose(self) -> None:
        await self._endpoint.aclose()

    def _build_request(
        self,
        messages: Sequence[Message],
        model: str,
        temperature: float,
        max_tokens: int | None,
        parameters: Mapping[str, Any],
    ) -> httpx.Request:
        fields = {
            **{name: value for name, value in parameters.items() if name not in _OURS},
            "model": model,
            "messages": list(messages),
            "temperature": temperature,
            "stream": True,
            **self.extra_fields,
        }
        if max_tokens is not None:
            fields["max_tokens"] = max_tokens
        try:
            # ASCII with escapes: a lone surrogate in somebody's message must not break the encoder.
            content = json.dumps(fields, allow_nan=False).encode("ascii")
        except (TypeError, ValueError, RecursionError) as error:
            raise failure(kinds.UNACCEPTABLE, f"the request cannot be written as JSON: {error}") from None
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream", **self.extra_headers}
        return self._endpoint.build("POST", "/chat/completions", content=content, headers=headers)


async def _read_to_the_end(chunks: AsyncIterator[bytes]) -> None:
    with suppress(TimeoutError, LLMProviderError):
        async with asyncio.timeout(_FAREWELL.total_seconds()):
            async for _ in chunks:
                pass
