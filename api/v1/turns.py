"""From what a client of `/v1` says to an interaction like any other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from fastapi import Request

from api.idempotency import fingerprint
from api.service import InteractionService, new_id
from api.troubles import REPLAYED
from api.v1.errors import tell_in_errors
from api.v1.identity import Identity
from api.v1.models import ChosenModel
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.contracts import CompletionRequest, InteractionRequest, Message, OnFailure
from core.orchestrator.interactions.opening import IdempotencyKey, Opened, Opening
from core.orchestrator.interactions.prompting import DEFAULT_TEMPERATURE
from core.orchestrator.interactions.said import Said
from core.orchestrator.memory.chat_messages import is_plain, text_of

_MAX_MESSAGE_CHARACTERS = 100_000
"""So much of a message travels with the request; the whole is in the store."""
_TASK = "### Task:"
"""So Open WebUI begins what it asks for itself, such as for a title."""
_READABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of whom."""

    identity: Identity
    chosen: ChosenModel
    said: Said
    temperature: float | None = None
    """None: the agent's, the persona's or the default."""
    max_tokens: int | None = None
    watched: bool = False
    """Somebody may watch the reply while it comes."""
    as_written: bool = False
    """The reply stays as the model wrote it: it is shown so while it comes, or has a form that was asked for."""

    @property
    def is_task(self) -> bool:
        """Whether the client asks for itself: that is no turn of any conversation."""
        messages = self.said.messages
        alone = len(messages) == 1 and messages[0]["role"] == "user" and self.said.answers is None
        return self.identity.is_task or (alone and text_of(messages[0]).startswith(_TASK))


async def accept(service: InteractionService, wish: Wish, *asked: Any) -> Opened:
    """Open an interaction and start its workflow; `asked` is what the client sent, and where.

    Raises:
        OrchestratorError: it was not accepted: see `InteractionService.accept`.
    """
    identity, said = wish.identity, replace(wish.said, resends=wish.said.resends or wish.identity.resends)
    said = replace(said, is_retry=identity.is_retry)
    digits = fingerprint(*asked, identity.conversation_id)
    opening = Opening(
        watched=wish.watched,
        key=None if identity.idempotency_key is None else IdempotencyKey(identity.idempotency_key, digits),
        key_name=identity.key_name,
        said=said,
        is_new=True,
        fingerprint=digits,
    )
    if wish.is_task:
        return await service.accept_completion(_completion(wish), _prompt(wish), opening)
    return await service.accept(_turn(wish, said), opening)


def tell(request: Request, opened: Opened) -> dict[str, str]:
    """Return the headers that tell which interaction a request became, in which conversation.

    Should there be an error instead of a reply, they stand there as well.
    """
    headers = {"X-Interaction-Id": opened.request.interaction_id}
    session_id = opened.request.session_id if isinstance(opened.request, InteractionRequest) else None
    if session_id is not None:
        headers["X-Session-Id"] = quote(session_id, safe=_READABLE)  # it may be anything, and a header may not
    if opened.replayed:
        headers |= REPLAYED
    tell_in_errors(request, headers)
    return headers


def _turn(wish: Wish, said: Said) -> InteractionRequest:
    session_id = wish.identity.conversation_id
    spoken = [text_of(message) for message in said.messages if message["role"] == "user"]
    return InteractionRequest(
        interaction_id=new_id(),
        user_id=wish.identity.user_id,
        session_id=session_id,
        persona_id=wish.chosen.persona.id,
        message=spoken[-1][:_MAX_MESSAGE_CHARACTERS] if spoken else "",
        has_input=_is_more_than_text(said, said.messages if session_id is None else said.new),
        model=wish.chosen.model,
        temperature=wish.temperature,
        max_tokens=wish.max_tokens,
        on_failure=OnFailure.ERROR,
        reply_as_written=wish.as_written,
    )


def _is_more_than_text(said: Said, messages: Sequence[Message]) -> bool:
    """Return whether a text that travels with the request does not say it all."""
    if said.instructions or said.parameters or said.echo or not is_plain(messages, "user"):
        return True
    return len(text_of(messages[0])) > _MAX_MESSAGE_CHARACTERS


def _completion(wish: Wish) -> CompletionRequest:
    persona = wish.chosen.persona
    return CompletionRequest(
        interaction_id=new_id(),
        user_id=wish.identity.user_id,
        model=wish.chosen.model or persona.model,
        fallback_models=persona.fallback_models,
        temperature=wish.temperature,
        max_tokens=wish.max_tokens,
    )


def _prompt(wish: Wish) -> Prompt:
    return Prompt(
        [*wish.said.instructions, *wish.said.messages],
        DEFAULT_TEMPERATURE if wish.temperature is None else wish.temperature,
        wish.max_tokens,
        dict(wish.said.parameters),
    )
