"""Turns a persona and a conversation into messages, and a model's text into the persona's reply.

Subclass it to prompt differently, register the class, and name it in a persona's `formatter:`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Dict  # noqa: UP035 - the signature below is documented with it

from core.orchestrator.agents.reply_style import style_reply
from core.orchestrator.contracts import Message
from core.orchestrator.errors import ConfigurationError
from core.orchestrator.personas.model import PersonaConfig
from core.orchestrator.registry import Registry

_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id")


class ConversationFormatter:
    """The default way to write a prompt and to dress a reply. Holds no state: one instance serves every turn."""

    @staticmethod
    def create_system_message(persona: PersonaConfig) -> Dict[str, str]:  # noqa: UP006
        """Return the message that makes a model this persona.

        Raises:
            PromptError: the persona's template failed over this turn's context.
        """
        return {"role": "system", "content": persona.render_system_prompt()}

    def format_history(self, history: Sequence[Message]) -> list[Message]:
        """Return stored messages as a model takes them; those that say nothing are left out, some models refuse them.

        Beside `role` and `content` a message may have `tool_calls`, which its results follow, each with the
        `tool_call_id` that it belongs to, or a `name`.
        """
        return [
            {key: stored[key] for key in _FIELDS if key in stored}
            for stored in history
            if stored.get("content") or stored.get("tool_calls") or stored["role"] == "tool"
        ]

    def format_reply(self, text: str, persona: PersonaConfig) -> str:
        """Return a model's text in the persona's reply style.

        Formatting twice must give what formatting once gives: a reply may be formatted again after a retry.
        """
        return style_reply(text, persona)


DEFAULT_FORMATTER = "default"

formatters: Registry[ConversationFormatter] = Registry("formatter", ConversationFormatter)
"""The process's formatters; plugins add to it while they are imported."""

formatters.register(DEFAULT_FORMATTER, ConversationFormatter)


def register_formatter(name: str, cls: Callable[[], ConversationFormatter]) -> None:
    """Make a formatter available to personas as `formatter: name`.

    Raises:
        ConfigurationError: the name is empty or `cls` cannot be called.
    """
    formatters.register(name, cls)


def check_formatters(personas: Iterable[PersonaConfig], registry: Registry[ConversationFormatter] = formatters) -> None:
    """Check, once plugins are imported, that every formatter a persona names is registered.

    Raises:
        ConfigurationError: one line for each persona that names an unknown one.
    """
    unknown = [
        f"persona '{persona.id}': formatter: no formatter is registered as '{persona.formatter}'"
        for persona in personas
        if persona.formatter is not None and persona.formatter not in registry
    ]
    if unknown:
        raise ConfigurationError("\n".join(unknown))
