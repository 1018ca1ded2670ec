"""How an interaction is opened, and what comes of it."""

from dataclasses import dataclass, field

from core.orchestrator.contracts import CompletionRequest, InteractionRequest, InteractionStatus, MultitaskStrategy
from core.orchestrator.events import InteractionCreated
from core.orchestrator.interactions.said import Said
from core.orchestrator.workflow_ids import workflow_id_of


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What tells a repeated request from a new one."""

    key: str
    """Chosen by the client, once for each request."""
    fingerprint: str
    """Of what was asked, so that a key that is used for another request is noticed."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How an interaction is opened, beside what it asks."""

    watched: bool = False
    """Its events are logged as they come: somebody may watch."""
    key: IdempotencyKey | None = None
    strategy: MultitaskStrategy = MultitaskStrategy.ENQUEUE
    key_name: str | None = None
    """Of the API key that it was asked for with; None where keys are not asked for."""
    said: Said | None = None
    """What was said beyond the message itself; None: nothing."""
    is_new: bool = False
    """Its id was made for it just now: there can be no interaction of that id, nor have been one."""
    fingerprint: str | None = None
    """Of what was asked, where no key came with it: a client that says it asks again is known by that."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An interaction that is open now, or was before."""

    request: InteractionRequest | CompletionRequest
    """As it was accepted: of a repeated request, the first one's."""
    status: InteractionStatus = InteractionStatus.QUEUED
    replayed: bool = False
    """It was opened before: with the same key, or by the same request that has come again."""
    displaced: list[str] = field(default_factory=list)
    """The interactions that it is to cancel."""


def created_event(request: InteractionRequest | CompletionRequest) -> InteractionCreated:
    """Return the event that tells of an accepted interaction."""
    turn = request if isinstance(request, InteractionRequest) else None
    return InteractionCreated(
        interaction_id=request.interaction_id,
        session_id=turn and turn.session_id,
        persona_id=turn and turn.persona_id,
        workflow_id=workflow_id_of(request.interaction_id),
    )
