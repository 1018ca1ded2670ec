"""Personas as models: `/v1/models`, and what the `model` of a request means."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from api.dependencies import App
from api.fields import ModelName
from api.v1.errors import ERROR_RESPONSES, PREFIX
from api.v1.route import LenientRoute
from core.orchestrator.errors import UnknownResourceError
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.personas.model import PersonaConfig

router = APIRouter(prefix=PREFIX, tags=["openai"], route_class=LenientRoute, responses=ERROR_RESPONSES)

_OWNER = "ai-orchestrator"
_CREATED = 1_767_225_600
"""A persona is a file, and files have no age that would survive a deployment: the first second of 2026 for all."""
_PIN = "@"
"""No id of a persona holds it."""
_MODEL_NAME: TypeAdapter[str] = TypeAdapter(ModelName)


class _Described(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ModelObject(_Described):
    """A persona, as a model of OpenAI's API."""

    id: str
    """What a client sends as `model`."""
    object: Literal["model"] = "model"
    created: int = _CREATED
    """Seconds since 1970; the same for every persona."""
    owned_by: str = _OWNER
    name: str
    """For people."""
    description: str
    """One sentence that completes "You are NAME, …"."""


class ModelList(_Described):
    """Every persona."""

    object: Literal["list"] = "list"
    data: list[ModelObject] = Field(description="By id.")


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """What a `model` stands for."""

    name: str
    """As the client writes it."""
    persona: PersonaConfig
    model: str | None
    """Asked first; None: the persona's, else the setting's."""


def choose(personas: PersonaLibrary, name: str) -> ChosenModel:
    """Return what `persona` or `persona@model` stands for.

    Raises:
        UnknownResourceError: there is no such persona, or what follows it is no name.
    """
    persona_id, pin, model = name.partition(_PIN)
    try:
        return ChosenModel(name, personas.get(persona_id), _MODEL_NAME.validate_python(model) if pin else None)
    except (UnknownResourceError, ValidationError):
        raise UnknownResourceError("model", name) from None


@router.get("/models", summary="The personas, as models")
async def models(application: App) -> ModelList:
    """Return every persona; `persona@model` is one too, whatever model of `/api/models` is named."""
    return ModelList(data=[_object(choose(application.personas, persona.id)) for persona in application.personas])


@router.get("/models/{model:path}", summary="One persona, as a model")
async def model(
    application: App, model: Annotated[str, Path(description="A persona, or `persona@model`.")]
) -> ModelObject:
    """Return one persona, with a model to be asked first or without."""
    return _object(choose(application.personas, model))


def _object(chosen: ChosenModel) -> ModelObject:
    name = f"{chosen.persona.name} ({chosen.model})" if chosen.model else chosen.persona.name
    return ModelObject(id=chosen.name, name=name, description=chosen.persona.description)
