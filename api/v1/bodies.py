"""What the bodies of `/v1` have in common: who sends them, in which conversation, and what is ignored in them."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from api.fields import Identifier, LongText, storable_json
from core.orchestrator.contracts import Message
from core.orchestrator.memory.chat_messages import text_of


def unsupported(why: str) -> BeforeValidator:
    """Return what refuses a field that cannot be honoured: saying nothing about it would be worse."""

    def refuse(value: Any) -> None:
        if value is not None:
            raise PydanticCustomError("unsupported_parameter", "{why}", {"why": f"is not supported: {why}"})

    return BeforeValidator(refuse)


MaybeIdentifier = Annotated[
    Annotated[str, BeforeValidator(storable_json), Field(max_length=128)] | None,
    AfterValidator(lambda name: name or None),
]
"""Clients send templates that come out empty, and mean nothing by it."""


EMPTY = "must not be empty: a persona answers only what is said, unlike OpenAI's models"


def says_nothing(message: Message) -> bool:
    """Return whether there is nothing in a message that a persona could answer: most models refuse such a one."""
    content = message["content"]
    parts = content if isinstance(content, list) else ()
    return not text_of(message).strip() and all(part["type"] == "text" for part in parts)


class LenientBody(BaseModel):
    """Base: strict types where something is known, and unknown fields are ignored: clients send many."""

    model_config = ConfigDict(extra="ignore", strict=True, use_attribute_docstrings=True)


class ConversationId(LenientBody):
    """A conversation, as the Responses API writes it."""

    id: Identifier
    """Chosen by the client."""


class IdentifyingBody(LenientBody):
    """A request of somebody in some conversation."""

    model: Annotated[LongText, Field(max_length=300)]
    """Who answers: a persona, or `persona@model` to have one model asked first."""
    user: MaybeIdentifier = None
    """For whom it is sent, unless the key settles that; `safety_identifier` goes first."""
    safety_identifier: MaybeIdentifier = None
    """For whom it is sent, unless the key settles that."""
    conversation: (
        Annotated[
            Annotated[Identifier, Tag("<text>")] | Annotated[ConversationId, Tag("<object>")],
            Discriminator(lambda value: "<object>" if isinstance(value, dict | ConversationId) else "<text>"),
        ]
        | None
    ) = None
    """The conversation, where no header says it."""
    metadata: Annotated[dict[str, Any], BeforeValidator(storable_json)] | None = None
    """The client's own; `conversation_id` in it is the conversation, where nothing else says it."""
