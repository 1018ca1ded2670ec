"""The agent that talks: the persona's system message, the conversation so far, and what was just said."""

from core.orchestrator.agents.base import Agent, AgentContext
from core.orchestrator.agents.formatter import DEFAULT_FORMATTER, ConversationFormatter, formatters
from core.orchestrator.agents.guards import system_message_of
from core.orchestrator.contracts import Message
from core.orchestrator.errors import PromptError, UnknownResourceError
from core.orchestrator.personas.model import PersonaConfig


class LLMAgent(Agent):
    """Holds a conversation in the persona's voice."""

    formatter: str | type[ConversationFormatter] = DEFAULT_FORMATTER
    """A registered name, or a class. A persona that names a formatter has its way."""

    @property
    def name(self) -> str:
        """The name it is known by."""
        return "conversation"

    def can_handle(self, context: AgentContext) -> float:  # noqa: ARG002 - any turn will do
        """Suit every turn fairly well, so that specialists can do better."""
        return 0.5

    def instructions(self, context: AgentContext) -> str | None:  # noqa: ARG002 - for subclasses
        """Return what to add to the system message; None for nothing."""
        return None

    def build_messages(self, context: AgentContext) -> list[Message]:
        """Return system message, the client's instructions, history and what is new.

        Raises:
            PromptError: the formatter or the persona's template failed.
        """
        persona = context.persona.for_turn(context.user_id, context.context)
        formatter = self._formatter_for(persona)
        system = system_message_of(formatter, persona)
        if instructions := self.instructions(context):
            system["content"] = f"{system['content']}\n\n{instructions}"
        history = formatter.format_history(context.history)
        return [system, *context.instructions, *history, *context.new_messages]

    def format_reply(self, text: str, persona: PersonaConfig) -> str:
        """Return the reply in the persona's style, as its formatter applies it."""
        return self._formatter_for(persona).format_reply(text, persona)

    def _formatter_for(self, persona: PersonaConfig) -> ConversationFormatter:
        wanted = persona.formatter or self.formatter
        if not isinstance(wanted, str):
            return wanted()
        try:
            return formatters.get(wanted)
        except UnknownResourceError as error:
            # Nobody asked for it by name: the persona or the agent is what needs mending.
            raise PromptError(f"persona '{persona.id}': {error}") from error
