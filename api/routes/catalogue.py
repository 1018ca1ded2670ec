"""Who can be talked to: `/api/personas` and `/api/agents`."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from api.dependencies import App
from api.fields import PersonaId
from api.pages import Page
from api.strict_route import StrictRoute
from core.orchestrator.contracts import AfterOutput
from core.orchestrator.personas.model import PersonaConfig, ReplyStyle

router = APIRouter(prefix="/api", tags=["catalogue"], route_class=StrictRoute)


class _Described(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class PersonaSummary(_Described):
    """A persona, in a list."""

    id: str
    """What a client sends as `persona_id`."""
    name: str
    description: str
    """One sentence that completes "You are NAME, …"."""
    greeting: str
    """A first line that a client may show before anything was said; may be empty."""
    version: str
    """The first 12 hexadecimal digits of the hash of the persona's content."""


class PersonaDetail(PersonaSummary):
    """A persona, whole."""

    background: str
    interaction_style: str
    traits: dict[str, int]
    """Traits by name, from 0 (not at all) to 100 (through and through)."""
    style_rules: list[str]
    """Rules every reply follows."""
    model: str | None
    """The model asked first; null: the setting's."""
    fallback_models: list[str] | None
    """Models asked next, in order; null: the setting's, empty: none."""
    temperature: float | None
    max_tokens: int | None
    after_output: AfterOutput | None
    """What follows when a call breaks after text was shown; null: `restart`."""
    fallback_line: str
    """What the persona says when no model answers."""
    formatter: str | None
    """The formatter of its own; null: the agent's."""
    reply: ReplyStyle
    """What is done to a model's reply before anybody sees it."""
    system_prompt: str
    """Jinja2 template of the system message."""


class AgentSummary(_Described):
    """An agent, in a list."""

    name: str
    """What a client sends as `agent`."""
    description: str


@router.get("/personas", summary="The personas")
async def personas(application: App) -> Page[PersonaSummary]:
    """Return every persona."""
    return Page(items=[PersonaSummary.model_validate(_fields(persona)) for persona in application.personas])


@router.get("/personas/{persona_id}", summary="One persona")
async def persona(persona_id: PersonaId, application: App) -> PersonaDetail:
    """Return a persona with all its fields."""
    return PersonaDetail.model_validate(_fields(application.personas.get(persona_id)))


@router.get("/agents", summary="The agents, in the order in which ties are broken")
async def agents(application: App) -> Page[AgentSummary]:
    """Return every agent that may be selected by context, or forced by name."""
    names = application.agents.names()
    return Page(items=[AgentSummary(name=name, description=application.agents.get(name).description) for name in names])


def _fields(persona: PersonaConfig) -> dict[str, Any]:
    return {**persona.model_dump(), "version": persona.version}
