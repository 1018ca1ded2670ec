"""The models on offer and their prices.

OpenRouter writes prices as strings, per token. Any other model name is answered too, at `DEFAULT_PRICE`; a name that
ends in `:free` costs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Price:
    """USD per token."""

    prompt: Decimal
    completion: Decimal


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the catalogue."""

    id: str
    name: str
    context_length: int | None
    """In tokens; OpenRouter leaves it null for some entries."""
    max_completion_tokens: int | None
    prompt_price: str
    completion_price: str
    moderated: bool = False


DEFAULT_PRICE = Price(Decimal("0.000001"), Decimal("0.000002"))
FREE = Price(Decimal(0), Decimal(0))

MODELS = (
    Model("openai/gpt-3.5-turbo", "OpenAI: GPT-3.5 Turbo", 16_385, 4_096, "0.0000005", "0.0000015", moderated=True),
    Model("openai/gpt-4", "OpenAI: GPT-4", 8_191, 4_096, "0.00003", "0.00006", moderated=True),
    Model("openai/gpt-4o", "OpenAI: GPT-4o", 128_000, 16_384, "0.0000025", "0.00001", moderated=True),
    Model("openai/gpt-4o-mini", "OpenAI: GPT-4o-mini", 128_000, 16_384, "0.00000015", "0.0000006", moderated=True),
    Model("anthropic/claude-3-haiku", "Anthropic: Claude 3 Haiku", 200_000, 4_096, "0.00000025", "0.00000125"),
    Model("anthropic/claude-haiku-4.5", "Anthropic: Claude Haiku 4.5", 200_000, 64_000, "0.000001", "0.000005"),
    Model("anthropic/claude-sonnet-4.5", "Anthropic: Claude Sonnet 4.5", 1_000_000, 64_000, "0.000003", "0.000015"),
    Model("google/gemini-2.5-flash", "Google: Gemini 2.5 Flash", 1_048_576, 65_535, "0.0000003", "0.0000025"),
    Model("meta-llama/llama-3.3-70b-instruct", "Meta: Llama 3.3 70B", 131_072, None, "0.00000013", "0.0000004"),
    Model("meta-llama/llama-3.3-70b-instruct:free", "Meta: Llama 3.3 70B (free)", 131_072, None, "0", "0"),
    Model("deepseek/deepseek-r1:free", "DeepSeek: R1 (free)", 163_840, None, "0", "0"),
    # The router cannot know its price or window beforehand, and says so with -1 and null.
    Model("openrouter/auto", "Auto Router", None, None, "-1", "-1"),
)

_PRICES = {model.id: Price(Decimal(model.prompt_price), Decimal(model.completion_price)) for model in MODELS}

_PROVIDERS = {
    "openai": "OpenAI",
    "anthropic": "Anthropic",
    "google": "Google",
    "meta-llama": "Together",
    "deepseek": "DeepSeek",
}


def price_of(model: str) -> Price:
    """What a model costs."""
    if model.endswith(":free"):
        return FREE
    price = _PRICES.get(model, DEFAULT_PRICE)
    return price if price.prompt >= 0 else DEFAULT_PRICE


def provider_of(model: str) -> str:
    """Who is said to have answered."""
    return _PROVIDERS.get(model.partition("/")[0], "StandIn")


def listing(faults: Mapping[str, str]) -> dict[str, Any]:
    """The body of `GET /models`: the catalogue, then one model per fault (name to description)."""
    entries = [_entry(model) for model in MODELS]
    for name, description in faults.items():
        price = (f"{DEFAULT_PRICE.prompt:f}", f"{DEFAULT_PRICE.completion:f}")
        model = Model(f"standin/{name}", f"Stand-in: {name}", 8_192, 4_096, *price)
        entries.append(_entry(model, description))
    return {"data": entries}


def _entry(model: Model, description: str = "") -> dict[str, Any]:
    return {
        "id": model.id,
        "canonical_slug": model.id,
        "name": model.name,
        "created": 1_700_000_000,
        "description": description or f"{model.name}, answered by a stand-in.",
        "context_length": model.context_length,
        "architecture": {
            "modality": "text->text",
            "input_modalities": ["text"],
            "output_modalities": ["text"],
            "tokenizer": "Other",
            "instruct_type": None,
        },
        "pricing": {"prompt": model.prompt_price, "completion": model.completion_price, "request": "0", "image": "0"},
        "top_provider": {
            "context_length": model.context_length,
            "max_completion_tokens": model.max_completion_tokens,
            "is_moderated": model.moderated,
        },
        "per_request_limits": None,
        "supported_parameters": ["max_tokens", "temperature", "top_p", "stop", "seed"],
    }
