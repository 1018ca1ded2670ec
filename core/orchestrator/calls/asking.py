"""Asking a provider: with everything it takes, and not at all where it does not take what the prompt demands."""

from collections.abc import AsyncGenerator

from core.orchestrator.calls.recording import RunningCall
from core.orchestrator.errors import LLMProviderInvalidRequestError, NextStep, Posture
from core.orchestrator.providers.base import CallAccepted, ChatCompletion, LLMProvider


def ask(provider: LLMProvider, running: RunningCall) -> AsyncGenerator[str | CallAccepted | ChatCompletion, None]:
    """Return the stream of a provider's answer.

    Raises:
        LLMProviderInvalidRequestError: it does not take the prompt's parameters. Silence would be an answer to
            something else; another provider may take them.
    """
    prompt, call, parameters = running.prompt, running.call, running.parameters
    if not parameters:  # what a provider does not take it need not know of
        return provider.stream_chat_completion(running.messages, call.model, prompt.temperature, prompt.max_tokens)
    if not provider.takes_parameters:
        raise LLMProviderInvalidRequestError(
            f"the provider '{call.provider}' does not take {', '.join(sorted(parameters))}",
            posture=Posture(then=NextStep.NEXT_MODEL),
        )
    return provider.stream_chat_completion(
        running.messages, call.model, prompt.temperature, prompt.max_tokens, parameters=parameters
    )
