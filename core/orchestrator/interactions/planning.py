"""Which models are asked, in which order, and who said so."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.orchestrator.contracts import CompletionRequest, InteractionRequest, PlannedCall
from core.orchestrator.personas.model import PersonaConfig
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.providers.registry import split_model_name
from core.orchestrator.registry import Registry


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """The calls, in order, and where the first model and the fallbacks come from."""

    calls: list[PlannedCall]
    model_from: str
    fallbacks_from: str


class ModelPlanner:
    """Plans by the request first, then the persona, then the settings."""

    def __init__(self, default_model: str, default_fallbacks: Sequence[str], providers: Registry[LLMProvider]) -> None:
        """Fall back to `default_model` and `default_fallbacks` where neither request nor persona decides."""
        self._default_model = default_model
        self._default_fallbacks = default_fallbacks
        self._providers = providers

    def plan(self, request: InteractionRequest | CompletionRequest, persona: PersonaConfig | None = None) -> ModelPlan:
        """Return the models for a request; one named twice is asked once, at its first place."""
        model, model_from = self._default_model, "setting"
        if persona is not None and persona.model is not None:
            model, model_from = persona.model, "persona"
        if request.model is not None:
            model, model_from = request.model, "request"
        fallbacks, fallbacks_from = self._default_fallbacks, "setting"
        if persona is not None and persona.fallback_models is not None:
            fallbacks, fallbacks_from = persona.fallback_models, "persona"
        if request.fallback_models is not None:
            fallbacks, fallbacks_from = request.fallback_models, "request"
        names = dict.fromkeys(split_model_name(name, self._providers) for name in (model, *fallbacks))
        calls = [
            PlannedCall(place=place, provider=provider, model=name) for place, (provider, name) in enumerate(names)
        ]
        return ModelPlan(calls, model_from, fallbacks_from)
