"""Providers by name, and how a model's name selects one."""

from collections.abc import Callable

from core.orchestrator.contracts import DEFAULT_PROVIDER
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry

llm_providers: Registry[LLMProvider] = Registry("provider", LLMProvider)  # type: ignore[type-abstract]
"""The process's providers; plugins add to it while they are imported."""


def register_llm_provider(name: str, factory: Callable[[], LLMProvider]) -> None:
    """Make a provider available as `name:any-model`. A class is a factory.

    Raises:
        ConfigurationError: the name is empty or the factory cannot be called.
    """
    llm_providers.register(name, factory)


def get_llm_provider(name: str = DEFAULT_PROVIDER) -> LLMProvider:
    """Return the provider of that name.

    Raises:
        UnknownResourceError: no such provider is registered.
        ConfigurationError: its factory failed.
    """
    return llm_providers.get(name)


def split_model_name(name: str, providers: Registry[LLMProvider] = llm_providers) -> tuple[str, str]:
    """Return (provider, model) for a model's name.

    `provider:model` selects a provider only when the part before the first colon is a registered one's name, so that
    names such as `meta/llama:free` stay whole.
    """
    prefix, colon, rest = name.partition(":")
    if colon and rest and prefix in providers:
        return prefix, rest
    return DEFAULT_PROVIDER, name
