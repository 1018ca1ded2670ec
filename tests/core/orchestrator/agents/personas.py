"""A persona to talk to, and a turn with it."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.orchestrator.agents.base import AgentContext
from core.orchestrator.contracts import Message
from core.orchestrator.personas.model import PersonaConfig


def persona(**fields: Any) -> PersonaConfig:
    required = {"id": "cherry", "name": "Cherry", "description": "a friend.", "fallback_line": "One moment."}
    return PersonaConfig.model_validate(required | fields)


def turn(
    message: str = "Hello",
    *,
    history: Sequence[Message] = (),
    context: Mapping[str, Any] | None = None,
    **fields: Any,
) -> AgentContext:
    return AgentContext(
        message=message,
        user_id="user123",
        session_id="session",
        persona=persona(**fields),
        history=history,
        context=context or {},
    )
