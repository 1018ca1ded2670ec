"""Which models are asked, in which order, and who said so."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.orchestrator.contracts import AfterOutput, CompletionRequest, InteractionRequest, PlannedCall
from core.orchestrator.models.catalogue import ModelCatalogue
from core.orchestrator.models.cooldowns import Cooldowns, Cooling, ModelKey
from core.orchestrator.personas.model import PersonaConfig
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.providers.registry import split_model_name
from core.orchestrator.registry import Registry

logger = logging.getLogger(__name__)

Request = InteractionRequest | CompletionRequest
_MOST_WARNINGS = 1000
"""Clients choose the names; so many are remembered as warned of."""


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """The calls, in order, what follows a broken one, and who said so: `request`, `persona`, `setting` or `default`."""

    calls: list[PlannedCall]
    model_from: str
    fallbacks_from: str
    after_output: AfterOutput = AfterOutput.RESTART
    after_output_from: str = "default"


class ModelPlanner:
    """Plans by the request first, then the persona, then the settings."""

    def __init__(
        self,
        default_model: str,
        default_fallbacks: Sequence[str],
        *,
        providers: Registry[LLMProvider],
        catalogue: ModelCatalogue,
        cooldowns: Cooldowns,
    ) -> None:
        """Fall back to `default_model` and `default_fallbacks` where neither request nor persona decides."""
        self._default_model = default_model
        self._default_fallbacks = default_fallbacks
        self._providers = providers
        self._catalogue = catalogue
        self._cooldowns = cooldowns
        self._warned: set[ModelKey] = set()

    async def plan(self, request: Request, persona: PersonaConfig | None = None) -> ModelPlan:
        """Return the models for a request; one named twice is asked once, at its first place.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        model, model_from = self._model(request, persona)
        fallbacks, fallbacks_from = self._fallbacks(request, persona)
        names = self._keys(model, fallbacks)
        for provider, name in names:
            self._warn_if_unlisted(provider, name)
        # Where there is no choice, nobody need know.
        cooling = await self._cooldowns.cooling(names) if len(names) > 1 else {}
        return ModelPlan(self._calls(names, cooling), model_from, fallbacks_from, *_after_output(request, persona))

    async def first_call(self, request: Request, persona: PersonaConfig | None = None) -> PlannedCall:
        """Return the model that is asked first, as far as that can be said before there is a plan.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        names = self._keys(self._model(request, persona)[0], self._fallbacks(request, persona)[0])
        cooling = await self._cooldowns.current(names) if len(names) > 1 else {}
        calls = self._calls(names, cooling)
        return next((call for call in calls if call.cooling is None), calls[0])

    def _model(self, request: Request, persona: PersonaConfig | None) -> tuple[str, str]:
        if request.model is not None:
            return request.model, "request"
        if persona is not None and persona.model is not None:
            return persona.model, "persona"
        return self._default_model, "setting"

    def _fallbacks(self, request: Request, persona: PersonaConfig | None) -> tuple[Sequence[str], str]:
        if request.fallback_models is not None:
            return request.fallback_models, "request"
        if persona is not None and persona.fallback_models is not None:
            return persona.fallback_models, "persona"
        return self._default_fallbacks, "setting"

    def _keys(self, model: str, fallbacks: Sequence[str]) -> list[ModelKey]:
        return list(dict.fromkeys(split_model_name(name, self._providers) for name in (model, *fallbacks)))

    def _calls(self, names: Sequence[ModelKey], cooling: Mapping[ModelKey, Cooling]) -> list[PlannedCall]:
        calls = []
        for place, key in enumerate(names):
            info = self._catalogue.find(*key)
            cools = cooling.get(key)
            calls.append(
                PlannedCall(
                    place=place,
                    provider=key[0],
                    model=key[1],
                    context_length=info and info.context_length,
                    cooling=cools and cools.reason,
                    cooling_error=cools and cools.error_type,
                )
            )
        return calls

    def _warn_if_unlisted(self, provider: str, model: str) -> None:
        """Say once that a name looks wrong: it is tried all the same, as a list may be behind."""
        if (provider, model) in self._warned or not self._catalogue.is_loaded(provider):
            return
        if self._catalogue.find(provider, model) is not None:
            return
        if len(self._warned) >= _MOST_WARNINGS:
            self._warned.clear()
        self._warned.add((provider, model))
        nearest = self._catalogue.suggest(provider, model)
        hint = f"; did you mean '{nearest}'?" if nearest else ""
        logger.warning("provider '%s' lists no model '%s'; it is asked all the same%s", provider, model, hint)


def _after_output(request: Request, persona: PersonaConfig | None) -> tuple[AfterOutput, str]:
    if isinstance(request, InteractionRequest) and request.after_output is not None:
        return request.after_output, "request"
    if persona is not None and persona.after_output is not None:
        return AfterOutput(persona.after_output), "persona"
    return AfterOutput.RESTART, "default"
