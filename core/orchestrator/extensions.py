"""Everything a plugin may use. A plugin is any module named in `PLUGINS`, or an entry point of the group
`ai_orchestrator.plugins`; it is imported once, when a process starts. See docs/extending.md.

    LLMProvider             a service that completes chats; one method to implement
    ChatCompletion          what that method may return (a mapping or the text alone will do too)
    CallAccepted, Usage     what it may tell besides: the id of a call, and its bill; ModelInfo, what is on offer
    register_llm_provider   (name, factory): makes it available as `name:any-model`
    LLMProviderError …      what a provider raises; the kinds say what the caller should do about it
    Posture, NextStep       … and these, how often to try again and who comes next; ErrorType, why
    Agent, LLMAgent         decides whether a message is its own, and what the model is told
    AgentContext            what an agent sees; register_agent (name, factory)
    ConversationFormatter   turns a persona into a system message and a reply into the persona's style
    register_formatter      (name, cls): a persona's `formatter:` names it
    PersonaConfig           a persona, as read from its file
    subscribe               (event_type, callback): be told what happens to interactions; `*` for everything
"""  # noqa: D205 - the first paragraph is the summary

from core.orchestrator.agents.base import Agent, AgentContext
from core.orchestrator.agents.formatter import ConversationFormatter, register_formatter
from core.orchestrator.agents.llm_agent import LLMAgent
from core.orchestrator.agents.selection import register_agent
from core.orchestrator.contracts import ModelInfo, Usage
from core.orchestrator.errors import (
    ErrorType,
    LLMProviderAuthenticationError,
    LLMProviderConnectionError,
    LLMProviderError,
    LLMProviderInvalidRequestError,
    LLMProviderModelError,
    LLMProviderRateLimitError,
    LLMProviderResourceExhaustedError,
    LLMProviderServiceError,
    LLMProviderTimeoutError,
    NextStep,
    Posture,
)
from core.orchestrator.events import subscribe
from core.orchestrator.personas.model import PersonaConfig
from core.orchestrator.providers.base import CallAccepted, ChatCompletion, LLMProvider
from core.orchestrator.providers.registry import get_llm_provider, register_llm_provider

__all__ = [
    "Agent",
    "AgentContext",
    "CallAccepted",
    "ChatCompletion",
    "ConversationFormatter",
    "ErrorType",
    "LLMAgent",
    "LLMProvider",
    "LLMProviderAuthenticationError",
    "LLMProviderConnectionError",
    "LLMProviderError",
    "LLMProviderInvalidRequestError",
    "LLMProviderModelError",
    "LLMProviderRateLimitError",
    "LLMProviderResourceExhaustedError",
    "LLMProviderServiceError",
    "LLMProviderTimeoutError",
    "ModelInfo",
    "NextStep",
    "PersonaConfig",
    "Posture",
    "Usage",
    "get_llm_provider",
    "register_agent",
    "register_formatter",
    "register_llm_provider",
    "subscribe",
]
