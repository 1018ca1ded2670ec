"""Agents and formatters are other people's code: what they hand back is checked here, and nowhere else.

A bad score counts as none and a bad reply format is left out, both with a warning. A bad prompt is an error, for there
is nothing to ask a model with; only a formatter that returns None, as an unfinished one does, gets the default prompt.
"""

import json
import logging
from collections.abc import Mapping

from core.orchestrator.agents.base import Agent, AgentContext
from core.orchestrator.agents.formatter import ConversationFormatter
from core.orchestrator.contracts import Message
from core.orchestrator.errors import PromptError
from core.orchestrator.foreign import must_go_on
from core.orchestrator.personas.model import PersonaConfig
from core.orchestrator.providers.untrusted import storable_text

logger = logging.getLogger(__name__)

_MAX_TEMPERATURE = 2


def score_of(name: str, agent: Agent, context: AgentContext) -> float:
    """Return the agent's score for a turn; 0, with a warning, where it has no honest one."""
    try:
        score = agent.can_handle(context)
    except BaseException as error:
        if must_go_on(error):
            raise
        logger.warning("agent '%s' failed to score a turn and is passed over", name, exc_info=True)
        return 0.0
    if not isinstance(score, int | float) or not 0 <= score <= 1:  # not a number is in no range
        logger.warning("agent '%s' scored %r, not a number from 0 to 1, and is passed over", name, score)
        return 0.0
    return float(score)


def messages_of(agent: Agent, context: AgentContext) -> list[Message]:
    """Return what the agent asks the model.

    Raises:
        PromptError: the agent failed, or returned no list of messages.
    """
    try:
        messages = agent.build_messages(context)
    except PromptError:
        raise
    except BaseException as error:
        if must_go_on(error):
            raise
        raise PromptError(f"agent '{agent.name}' failed to build a prompt: {error}") from error
    if not isinstance(messages, list) or not messages or not all(_is_message(message) for message in messages):
        raise PromptError(f"agent '{agent.name}' built no list of messages with role and content")
    try:
        json.dumps(messages, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise PromptError(f"agent '{agent.name}' built messages that are not JSON: {error}") from error
    return messages


def temperature_of(agent: Agent) -> float | None:
    """Return the sampling temperature the agent asks for; None, with a warning, where it is none from 0 to 2."""
    wanted = agent.temperature
    if wanted is None or (isinstance(wanted, int | float) and 0 <= wanted <= _MAX_TEMPERATURE):
        return wanted
    logger.warning("agent '%s' wants the temperature %r, which is none from 0 to 2; it is left out", agent.name, wanted)
    return None


def reply_of(agent: Agent, text: str, persona: PersonaConfig) -> str:
    """Return the reply as the agent formats it; as the model wrote it where formatting fails or leaves nothing."""
    try:
        reply = agent.format_reply(text, persona)
    except BaseException as error:
        if must_go_on(error):
            raise
        logger.warning("agent '%s' failed to format a reply, which stays as it is", agent.name, exc_info=True)
        return text
    if not isinstance(reply, str) or (text.strip() and not reply.strip()):
        logger.warning("agent '%s' formatted a reply into nothing; it stays as it is", agent.name)
        return text
    return storable_text(reply)


def system_message_of(formatter: ConversationFormatter, persona: PersonaConfig) -> dict[str, str]:
    """Return the formatter's system message, or the default one where it returns None.

    Raises:
        PromptError: the formatter failed, or returned something else than a message.
    """
    name = type(formatter).__name__
    try:
        message: object = formatter.create_system_message(persona)
    except PromptError:
        raise
    except BaseException as error:
        if must_go_on(error):
            raise
        raise PromptError(f"formatter {name} failed to create a system message: {error}") from error
    if message is None:
        logger.warning("formatter %s created no system message; the default one is used", name)
        return ConversationFormatter.create_system_message(persona)
    match message:
        case {"role": str(role), "content": str(content), **rest} if not rest:
            return {"role": role, "content": content}
    raise PromptError(f"formatter {name} must return a dict of 'role' and 'content', both strings")


def _is_message(message: object) -> bool:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        return False
    # What a tool returned may be nothing, and a model may have called one without a word.
    return bool(message.get("content") or message.get("tool_calls")) or message["role"] == "tool"
