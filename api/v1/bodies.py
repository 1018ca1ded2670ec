"""What the bodies of `/v1` have in common: who sends them, in which conversation, and what is ignored in them."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from api.fields import Identifier, LongText, storable_json


def unsupported(why: str) -> BeforeValidator:
    """Return what refuses a field that cannot be honoured: saying nothing about it would be worse."""

    def refuse(value: Any) -> None:
        if value is not None:
            raise PydanticCustomError("unsupported_parameter", "{why}", {"why": f"is not supported: {why}"})

    return BeforeValidator(refuse)


def _null_where_empty(value: Any) -> Any:
    return None if value == "" else value


MaybeIdentifier = Annotated[Identifier | None, BeforeValidator(_null_where_empty)]
"""Clients send templates that come out empty, and mean nothing by it."""


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
