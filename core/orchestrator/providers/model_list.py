"""Reading a list of models: OpenRouter's, which says much, and OpenAI's, which says little more than names.

The list is a stranger's and a help, not a need: an entry that cannot be read is left out, a value that cannot be one
is unknown, and nothing in here raises.
"""

from collections.abc import Mapping, Sequence

from core.orchestrator.contracts import ModelInfo
from core.orchestrator.providers.base import LABEL_CHARACTERS
from core.orchestrator.providers.redaction import Redactor
from core.orchestrator.providers.untrusted import as_mapping, as_number, as_text, one_line

_MOST_MODELS = 20_000
_MOST_TOKENS = 1_000_000_000
_DEAREST_USD = 1000
"""Per token: anything above it was not meant as a price."""


def read_models(listing: object, redactor: Redactor) -> Sequence[ModelInfo]:
    """Return the models that a body of `GET /models` tells of; of several under one id, the first."""
    entries = as_mapping(listing).get("data", listing)
    found: dict[str, ModelInfo] = {}
    for entry in entries[:_MOST_MODELS] if isinstance(entries, list) else ():
        model = _read(as_mapping(entry), redactor)
        if model is not None:
            found.setdefault(model.id, model)
    return list(found.values())


def sound_model(fields: Mapping[str, object]) -> ModelInfo | None:
    """Return a model from fields named as `ModelInfo`'s, whatever is in them; None where nobody could be asked."""
    name = one_line(fields.get("id"), LABEL_CHARACTERS + 1)
    # A name that had to be mended or cut short would be another model's.
    if not name or len(name) > LABEL_CHARACTERS or name != fields.get("id"):
        return None
    return ModelInfo(
        id=name,
        name=one_line(fields.get("name"), LABEL_CHARACTERS) or None,
        context_length=_tokens(fields.get("context_length")),
        max_completion_tokens=_tokens(fields.get("max_completion_tokens")),
        prompt_usd=_price(fields.get("prompt_usd")),
        completion_usd=_price(fields.get("completion_usd")),
    )


def _read(entry: Mapping[str, object], redactor: Redactor) -> ModelInfo | None:
    served, prices = as_mapping(entry.get("top_provider")), as_mapping(entry.get("pricing"))
    windows = (entry.get("context_length"), served.get("context_length"), entry.get("max_model_len"))  # the last: vLLM
    fields = {
        "id": redactor.identity(as_text(entry.get("id"))),
        "name": redactor.line(one_line(entry.get("name"), LABEL_CHARACTERS)),
        "context_length": next((window for window in windows if _tokens(window) is not None), None),
        "max_completion_tokens": served.get("max_completion_tokens"),
        "prompt_usd": prices.get("prompt"),
        "completion_usd": prices.get("completion"),
    }
    return sound_model(fields) if fields["id"] == entry.get("id") else None


def _tokens(value: object) -> int | None:
    number = as_number(value)
    return int(number) if number is not None and 1 <= number <= _MOST_TOKENS else None


def _price(value: object) -> float | None:
    """Return US dollars per token, which OpenRouter writes as a string; its "-1" means that it cannot know."""
    number = as_number(value)
    return number if number is not None and 0 <= number <= _DEAREST_USD else None
