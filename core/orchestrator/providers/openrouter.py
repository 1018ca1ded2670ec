"""OpenRouter: every model behind one chat endpoint.

Sends one `model` and never `models[]`, with which OpenRouter would change the model on any error without telling: the
workflow owns fallback.
"""

from datetime import timedelta
from http import HTTPStatus

import httpx
from pydantic import SecretStr
from typing_extensions import override

from core.orchestrator.contracts import DEFAULT_PROVIDER, Usage
from core.orchestrator.errors import LLMProviderError
from core.orchestrator.providers import failure_kinds as kinds
from core.orchestrator.providers.chat_api import ChatApiProvider
from core.orchestrator.providers.classification import failure
from core.orchestrator.providers.endpoint import Endpoint
from core.orchestrator.providers.untrusted import as_mapping, as_text
from core.orchestrator.providers.usage import read_generation

ATTRIBUTION = {"HTTP-Referer": "http://localhost", "X-OpenRouter-Title": "AI Orchestration System"}
"""How OpenRouter lists the application that calls. It wants a site; for one without, its documents allow localhost."""


class OpenRouterProvider(ChatApiProvider):
    """Chat completions by OpenRouter, or by anything that answers like it at another base URL."""

    keeps_records = True
    extra_headers = ATTRIBUTION

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
        endpoint = Endpoint(
            base_url, api_key, client, url_setting="OPENROUTER_BASE_URL", key_setting="OPENROUTER_API_KEY"
        )
        super().__init__(endpoint, first_token_timeout=first_token_timeout, stall_timeout=stall_timeout)
        self._default_model = default_model

    @property
    def provider_name(self) -> str:
        """`openrouter`."""
        return DEFAULT_PROVIDER

    @override
    async def find_usage(self, generation_id: str) -> Usage | None:
        self._require_key()
        try:
            record = await self._endpoint.get(
                "/generation", {"id": as_text(generation_id) or ""}, within=self._first_token_timeout
            )
        except LLMProviderError as error:
            if error.http_status == HTTPStatus.NOT_FOUND:  # in the first seconds after a call it always says so
                return None
            raise
        told = as_mapping(as_mapping(record).get("data")).get("id")
        if told is not None and told != generation_id:  # somebody else's bill
            return None
        return read_generation(record)

    @override
    def _model_for(self, model: str | None) -> str:
        self._require_key()
        return model or self._default_model

    def _require_key(self) -> None:
        if not self._endpoint.key:
            raise failure(kinds.UNAUTHENTICATED, "no key for OpenRouter: set OPENROUTER_API_KEY")
