"""Where prompts are built: agents, a scripted provider, and a persona."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from core.orchestrator.agents.base import Agent, AgentContext
from core.orchestrator.agents.llm_agent import LLMAgent
from core.orchestrator.contracts import CallLimits, MemoryWindow, Message
from core.orchestrator.events import EVERY_EVENT, EventBus, InteractionEvent
from core.orchestrator.interactions.prompting import PromptBuilder
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.memory.conversations import Conversations
from core.orchestrator.models.catalogue import ModelCatalogue
from core.orchestrator.models.cooldowns import Cooldowns
from core.orchestrator.models.planning import ModelPlanner
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.personas.model import PersonaConfig
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.agents.personas import persona
from tests.core.orchestrator.domain import ScriptedProvider

LIMITS = CallLimits(deadline_seconds=7, call_seconds=5, heartbeat_seconds=2)


class Specialist(LLMAgent):
    """Claims riddles, and is told how to build its messages."""

    temperature = 0.1

    def __init__(self, build: Callable[[AgentContext], Any] | None = None) -> None:
        self._build = build

    def can_handle(self, context: AgentContext) -> float:
        return 0.9 if "riddle" in context.message else 0

    def build_messages(self, context: AgentContext) -> list[Message]:
        return super().build_messages(context) if self._build is None else self._build(context)


@dataclass
class Desk:
    database: Database
    events: list[InteractionEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = InteractionStore(self.database)
        self.conversations = Conversations(self.database)
        self.cooldowns = Cooldowns(self.database, 1, timedelta(seconds=30))

    async def build(
        self,
        interaction_id: str,
        window: MemoryWindow | None = None,
        *,
        cherry: PersonaConfig | None = None,
        specialist: Callable[[AgentContext], Any] | None = None,
    ) -> Any:
        agents: Registry[Agent] = Registry("agent", Agent)  # type: ignore[type-abstract]
        agents.register("conversation", LLMAgent)
        agents.register("riddles", lambda: Specialist(specialist))
        providers: Registry[LLMProvider] = Registry("provider", LLMProvider)  # type: ignore[type-abstract]
        providers.register("openrouter", ScriptedProvider)
        bus = EventBus()
        bus.subscribe(EVERY_EVENT, self.events.append)
        builder = PromptBuilder(
            store=self.store,
            conversations=self.conversations,
            personas=PersonaLibrary([cherry or persona()]),
            agents=agents,
            planner=ModelPlanner(
                "a/model",
                ["b/model"],
                providers=providers,
                catalogue=ModelCatalogue(self.database, providers, timedelta(hours=1)),
                cooldowns=self.cooldowns,
            ),
            events=bus,
            limits=LIMITS,
        )
        return await builder.build(interaction_id, window)
