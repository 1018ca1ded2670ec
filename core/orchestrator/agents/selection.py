"""Which agent answers a turn: the one that claims it most, whatever the others do."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from core.orchestrator.agents.base import Agent, AgentContext
from core.orchestrator.agents.code_agent import CodeAgent
from core.orchestrator.agents.guards import score_of
from core.orchestrator.agents.llm_agent import LLMAgent
from core.orchestrator.errors import ConfigurationError
from core.orchestrator.registry import Registry

logger = logging.getLogger(__name__)

CONVERSATION = "conversation"

agents: Registry[Agent] = Registry("agent", Agent)  # type: ignore[type-abstract]
"""The process's agents; plugins add to it while they are imported."""

agents.register(CONVERSATION, LLMAgent)
agents.register("code", CodeAgent)


def register_agent(name: str, factory: Callable[[], Agent]) -> None:
    """Let an agent compete for turns. A class is a factory; a name in use is taken over.

    Raises:
        ConfigurationError: the name is empty or the factory cannot be called.
    """
    agents.register(name, factory)


@dataclass(frozen=True)
class AgentChoice:
    """Who answers, and why."""

    name: str
    """The name it is registered under: what a client may force."""
    agent: Agent
    scores: dict[str, float] = field(default_factory=dict)
    """What every agent claimed, by name; empty where the client chose."""
    forced: bool = False
    """Whether the client chose."""


def select_agent(context: AgentContext, forced: str | None = None, registry: Registry[Agent] = agents) -> AgentChoice:
    """Return the agent that claims the turn most; the earliest registered of equals, `conversation` if none does.

    Args:
        context: the turn.
        forced: the name of the agent the client wants, whatever it claims.
        registry: the agents to choose from.

    Raises:
        UnknownResourceError: no agent is registered under the forced name.
        ConfigurationError: the chosen agent could not be made.
    """
    if forced is not None:
        return AgentChoice(forced, registry.get(forced), forced=True)
    scores = {name: _score(name, context, registry) for name in registry.names()}
    best = max(scores, key=scores.__getitem__, default=CONVERSATION)  # the first of equals
    if not scores.get(best):
        best = CONVERSATION
    return AgentChoice(best, registry.get(best), scores)


def _score(name: str, context: AgentContext, registry: Registry[Agent]) -> float:
    try:
        agent = registry.get(name)
    except ConfigurationError as error:
        logger.warning("%s; it is passed over", error)
        return 0.0
    return score_of(name, agent, context)
