"""Any server that speaks OpenAI's chat API: OpenAI itself, Ollama, vLLM and many more.

They differ from OpenRouter in what they tell: usage only where it is asked for, never a cost, and of their models
hardly more than the names. What they do not tell stays unknown.
"""

from datetime import timedelta
from types import MappingProxyType

import httpx
from pydantic import SecretStr
from typing_extensions import override

from core.orchestrator.providers import failure_kinds as kinds
from core.orchestrator.providers.chat_api import ChatApiProvider
from core.orchestrator.providers.classification import failure
from core.orchestrator.providers.endpoint import Endpoint


class OpenAICompatibleProvider(ChatApiProvider):
    """Chat completions by a server that speaks OpenAI's chat API, under a name of our choice."""

    extra_fields = MappingProxyType({"stream_options": {"include_usage": True}})

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: SecretStr | None = None,
        first_token_timeout: timedelta,
        stall_timeout: timedelta,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        """Prepare; the first call opens the first connection.

        Args:
            name: what stands before the colon in `name:model`.
            base_url: where `/chat/completions` is found.
            api_key: None calls without one.
            first_token_timeout: from the request to the first data; keep-alive comments are no data.
            stall_timeout: between two pieces of data.
            client: closed by whoever made it; by default the provider makes its own, and closes it.

        Raises:
            ConfigurationError: the base URL is no HTTP address.
        """
        endpoint = Endpoint(
            base_url,
            api_key,
            client,
            url_setting=f"LLM_PROVIDERS: the address of {name}",
            key_setting=f"LLM_PROVIDER_KEYS: the key of {name}",
        )
        super().__init__(endpoint, first_token_timeout=first_token_timeout, stall_timeout=stall_timeout)
        self._name = name

    @property
    def provider_name(self) -> str:
        """The name it was given."""
        return self._name

    @override
    def _model_for(self, model: str | None) -> str:
        if not model:
            raise failure(
                kinds.UNKNOWN_MODEL, f"'{self._name}' has no default model: name one, as in {self._name}:model"
            )
        return model
