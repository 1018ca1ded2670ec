"""What a call may have cost whose provider did not say: by list prices, and by estimated tokens where none was told."""

import json
from collections.abc import Callable, Sequence

from core.orchestrator.contracts import Message, PlannedCall, Usage
from core.orchestrator.tokens import estimate_tokens

Estimate = Callable[[str, str, Usage], float | None]
"""Returns what tokens cost at a provider's model, in US dollars; None where that is not known."""


def likely_cost(
    estimate: Estimate, call: PlannedCall, messages: Sequence[Message], said: str, told: Usage | None
) -> float | None:
    """Return what a call may have cost, in US dollars; None where its provider told, or no price is known."""
    told = told or Usage()
    if told.cost_usd is not None:
        return None
    prompt_tokens, completion_tokens = told.prompt_tokens, told.completion_tokens
    if prompt_tokens is None:
        prompt_tokens = sum(_tokens(message) for message in messages)
    if completion_tokens is None:
        completion_tokens = estimate_tokens(said) if said else 0
    return estimate(call.provider, call.model, Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens))


def _tokens(message: Message) -> int:
    content = message.get("content")
    return estimate_tokens(content if isinstance(content, str) else json.dumps(content))
