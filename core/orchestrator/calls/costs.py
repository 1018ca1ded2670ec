"""What a call may have cost whose provider did not say: by list prices, and by estimated tokens where none was told."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.orchestrator.contracts import Message, PlannedCall, Usage
from core.orchestrator.tokens import estimate_tokens

_READ_BY_MODELS = ("tools", "response_format")

Estimate = Callable[[str, str, Usage], float | None]
"""Returns what tokens cost at a provider's model, in US dollars; None where that is not known."""


def likely_cost(
    estimate: Estimate,
    call: PlannedCall,
    messages: Sequence[Message],
    said: str,
    told: Usage | None,
    *,
    parameters: Mapping[str, Any] | None = None,
) -> float | None:
    """Return what a call may have cost, in US dollars; None where its provider told, or no price is known.

    Args:
        estimate: knows the prices.
        call: which model was asked.
        messages: what was sent.
        said: what came, calls of tools included.
        told: what the provider said of it.
        parameters: what was sent with the messages, of which a model reads the tools and the form of its answer.
    """
    told = told or Usage()
    if told.cost_usd is not None:
        return None
    prompt_tokens, completion_tokens = told.prompt_tokens, told.completion_tokens
    if prompt_tokens is None:
        read = [parameters[name] for name in _READ_BY_MODELS if parameters and parameters.get(name)]
        prompt_tokens = sum(_tokens(message) for message in messages) + sum(estimate_tokens(_text(one)) for one in read)
    if completion_tokens is None:
        completion_tokens = estimate_tokens(said) if said else 0
    return estimate(call.provider, call.model, Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens))


def _tokens(message: Message) -> int:
    calls = message.get("tool_calls")
    return estimate_tokens(_text(message.get("content") or "") + (_text(calls) if calls else ""))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
