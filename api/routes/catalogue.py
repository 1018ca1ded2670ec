"""Who can be talked to: `/api/personas` and `/api/agents`."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from api.dependencies import App
from api.pages import Page
from core.orchestrator.personas.model import PersonaConfig

router = APIRouter(prefix="/api", tags=["catalogue"])


class PersonaSummary(BaseModel):
    """A persona, in a list."""

    id: str
    name: str
    description: str
    greeting: str
    version: str


class PersonaDetail(PersonaSummary):
    """A persona, whole."""

    background: str
    interaction_style: str
    traits: dict[str, int]
    style_rules: list[str]
    model: str | None
    fallback_models: list[str] | None
    temperature: float | None
    max_tokens: int | None
    fallback_line: str
    formatter: str | None
    reply: dict[str, Any]
    system_prompt: str


class AgentSummary(BaseModel):
    """An agent, in a list."""

    name: str
    description: str


@router.get("/personas", summary="The personas")
async def personas(application: App) -> Page[PersonaSummary]:
    """Return every persona."""
    return Page(items=[PersonaSummary.model_validate(_fields(persona)) for persona in application.personas])


@router.get("/personas/{persona_id}", summary="One persona")
async def persona(persona_id: str, application: App) -> PersonaDetail:
    """Return a persona with all its fields."""
    return PersonaDetail.model_validate(_fields(application.personas.get(persona_id)))


@router.get("/agents", summary="The agents, in the order in which ties are broken")
async def agents(application: App) -> Page[AgentSummary]:
    """Return every agent that may be selected by context, or forced by name."""
    names = application.agents.names()
    return Page(items=[AgentSummary(name=name, description=application.agents.get(name).description) for name in names])


def _fields(persona: PersonaConfig) -> dict[str, Any]:
    return {**persona.model_dump(), "version": persona.version}
