"""The agent port: who answers, decided by context, and what a model is asked.

Agents are synchronous and touch nothing outside: they run while a prompt is built, and may run again after a crash.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.orchestrator.contracts import Message
from core.orchestrator.personas.model import PersonaConfig


@dataclass(frozen=True)
class AgentContext:
    """One turn, as agents see it."""

    message: str
    """What the user said."""
    user_id: str
    session_id: str | None
    """None: the client keeps the conversation itself."""
    persona: PersonaConfig
    """In whose voice to answer."""
    history: Sequence[Message] = ()
    """Earlier messages of the session that fit the memory budget, oldest first; without one, all that were sent."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """The request's `context` object."""
    instructions: Sequence[Message] = ()
    """The client's own system and developer messages; they follow the persona's."""
    as_sent: Sequence[Message] = ()
    """What is new, where `message` is not all: several messages, parts such as pictures, results of tools."""

    @property
    def new_messages(self) -> list[Message]:
        """What is new, as messages: the end of the prompt."""
        return list(self.as_sent) or [{"role": "user", "content": self.message}]


class Agent(ABC):
    """Answers the turns it claims."""

    temperature: float | None = None
    """Sampling temperature, 0 to 2; the request's wins over it, and it over the persona's."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name it is known by."""

    @property
    def description(self) -> str:
        """One line for lists; the first of the class's docstring."""
        return (type(self).__doc__ or "").strip().partition("\n")[0]

    @abstractmethod
    def can_handle(self, context: AgentContext) -> float:
        """Return how well it suits this turn, from 0 (not at all) to 1. The best of all agents answers."""

    @abstractmethod
    def build_messages(self, context: AgentContext) -> list[Message]:
        """Return what the model is asked.

        Raises:
            PromptError: the prompt could not be written.
        """

    def format_reply(self, text: str, persona: PersonaConfig) -> str:  # noqa: ARG002 - for subclasses
        """Return the reply as the user sees it. Formatting twice must give what formatting once gives."""
        return text
