"""How much of a conversation fits beside everything else that a model has to take: its answer, persona and message."""

import json
from dataclasses import dataclass

from core.orchestrator.contracts import InteractionRequest
from core.orchestrator.errors import PromptError, UnknownResourceError
from core.orchestrator.interactions.said import Said
from core.orchestrator.memory.chat_messages import tokens_of
from core.orchestrator.models.planning import ModelPlanner
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.personas.model import PersonaConfig
from core.orchestrator.tokens import estimate_tokens

_ANSWER_SHARE = 4
_LONGEST_ANSWER = 4096


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """What memory may take in one turn."""

    tokens: int
    """Estimated."""
    reason: str | None = None
    """Why no more, in one line; None: the setting says so."""


class MemoryBudget:
    """Gives memory the setting's share, or less where the model asked first has no room for it."""

    def __init__(self, setting: int, planner: ModelPlanner, personas: PersonaLibrary) -> None:
        """Give at most `setting` estimated tokens."""
        self._setting = setting
        self._planner = planner
        self._personas = personas

    async def of(self, request: InteractionRequest, said: Said | None = None) -> TokenBudget:
        """Return the budget of a turn, with what came beside its message; never below 0.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        if request.session_id is None:
            return TokenBudget(0, "there is no session: the client sends what is to be remembered")
        by_setting = TokenBudget(self._setting)
        try:
            persona = self._personas.get(request.persona_id)
            call = await self._planner.first_call(request, persona)
            if call.context_length is None:
                return by_setting
            system = estimate_tokens(persona.for_turn(request.user_id, request.context).render_system_prompt())
        except (UnknownResourceError, PromptError):
            return by_setting  # there will be no prompt, and whoever is to build it says why
        message = estimate_tokens(request.message) if said is None else _cost(said)
        answer = _answer_reserve(request, persona, call.context_length)
        left = max(0, call.context_length - answer - message - system)
        if left >= self._setting:
            return by_setting
        return TokenBudget(
            left,
            f"'{call.model}' takes {call.context_length} tokens, less {answer} for the answer, {system} for the persona"
            f" and {message} for the message",
        )


def _cost(said: Said) -> int:
    """Return the estimated tokens of what a client said, and of the tools that it offers."""
    messages = sum(map(tokens_of, (*said.instructions, *said.new)))
    tools = said.parameters.get("tools")
    return messages + (estimate_tokens(json.dumps(tools)) if tools else 0)


def _answer_reserve(request: InteractionRequest, persona: PersonaConfig, context_length: int) -> int:
    wanted = request.max_tokens or persona.max_tokens
    return wanted or min(context_length // _ANSWER_SHARE, _LONGEST_ANSWER)
