"""What `/api/llm` is asked with: bodies, their examples, and what a client may send beside them."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import ConfigDict, Discriminator, Field, Tag

from api.fields import (
    Background,
    ContentPart,
    Context,
    FallbackModels,
    Identifier,
    LongText,
    MaxTokens,
    Message,
    ModelName,
    OnDisconnect,
    RequestBody,
    Stream,
    Temperature,
    WhenClientLeaves,
)
from core.orchestrator.contracts import AfterOutput, MultitaskStrategy, OnFailure


def _user_may_be_settled(schema: dict[str, Any]) -> None:
    schema["required"].remove("user_id")


class InteractBody(RequestBody):
    """A user's message to a persona."""

    model_config = ConfigDict(json_schema_extra=_user_may_be_settled)

    message: Message
    """What the user says."""
    user_id: Identifier
    """Who says it. Required, unless the key is bound to a user; then nobody else is allowed: 403."""
    session_id: Identifier | None = None
    """The conversation, chosen by the client; made and returned when absent. One of another user's is refused: 403."""
    persona_id: Identifier | None = None
    """Who answers; the setting's persona when absent. An unknown one is refused: 404."""
    model: ModelName | None = None
    """`provider:model`, or a model of OpenRouter; absent: the persona's, else the setting's."""
    fallback_models: FallbackModels | None = None
    """Tried in order after `model`. Absent: the persona's, else the setting's. Empty: none."""
    temperature: Temperature | None = None
    """Sampling temperature; absent: the agent's, else the persona's, else 0.7."""
    max_tokens: MaxTokens | None = None
    """The longest reply, in tokens; absent: the persona's, else the model's own limit."""
    context: Context = Field(default_factory=dict)
    """Handed to agent selection and templates; at most 16 KiB of JSON."""
    agent: Identifier | None = None
    """Forces an agent by name. An unknown one is refused: 404."""
    on_failure: Annotated[OnFailure, Field(strict=False)] = OnFailure.REPLY
    """What comes when no model answered: the persona's own fallback line, or a problem."""
    after_output: Annotated[AfterOutput | None, Field(strict=False)] = None
    """What follows when a call breaks after some of its text came: forget the text and ask again, keep it as an
    incomplete reply, or have it continued; absent: the persona's, else `restart`."""
    multitask_strategy: Annotated[MultitaskStrategy, Field(strict=False)] = MultitaskStrategy.ENQUEUE
    """What happens when earlier messages of the session are not answered yet: this one waits for them, is refused
    (409), or has them cancelled; interrupted ones keep what was said by then, those rolled back leave no message."""
    stream: Stream = False
    background: Background = False
    on_disconnect: WhenClientLeaves = OnDisconnect.CONTINUE


class ChatMessage(RequestBody):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    """Who speaks."""
    content: Annotated[
        Annotated[LongText, Tag("<text>")] | Annotated[list[ContentPart], Field(min_length=1), Tag("<parts>")],
        Discriminator(lambda content: "<parts>" if isinstance(content, list) else "<text>"),
    ]
    """A text, or OpenAI-style parts."""
    name: Identifier | None = None
    """Tells speakers of the same role apart."""


Messages = Annotated[list[ChatMessage], Field(min_length=1)]


class DirectBody(RequestBody):
    """Messages to a model, with how it is to answer."""

    messages: Messages
    """The chat so far, oldest first."""
    user_id: Identifier | None = None
    """Who asks. Absent: the user of the key, else `anonymous`."""
    model: ModelName | None = None
    """`provider:model`, or a model of OpenRouter; absent: the setting's."""
    fallback_models: FallbackModels | None = None
    """Tried in order after `model`. Absent: the setting's. Empty: none."""
    temperature: Temperature | None = None
    """Sampling temperature; absent: 0.7."""
    max_tokens: MaxTokens | None = None
    """The longest answer, in tokens; absent: the model's own limit."""
    stream: Stream = False
    background: Background = False
    on_disconnect: WhenClientLeaves = OnDisconnect.CONTINUE


@dataclass(frozen=True)
class DirectParameters:
    """How the model is to answer, where the body is the bare array of messages."""

    user_id: Annotated[
        Identifier | None, Query(description="Who asks. Absent: the user of the key, else `anonymous`.")
    ] = None
    model: Annotated[ModelName | None, Query(description="The model, unless the body names one.")] = None
    temperature: Annotated[Temperature | None, Query(description="Sampling temperature; absent: 0.7.")] = None
    max_tokens: Annotated[MaxTokens | None, Query(description="The longest answer, in tokens.")] = None


INTERACT_EXAMPLES: Any = {
    "interaction": {
        "summary": "A message to Cherry",
        "value": {
            "message": "Tell me about artificial intelligence",
            "user_id": "user123",
            "persona_id": "cherry",
            "model": "openai/gpt-4",
        },
    }
}
DIRECT_EXAMPLES: Any = {
    "array": {
        "summary": "The messages alone",
        "value": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Tell me about artificial intelligence"},
        ],
    },
    "object": {
        "summary": "Messages and a model",
        "value": {
            "messages": [{"role": "user", "content": "Tell me about artificial intelligence"}],
            "model": "openai/gpt-4",
        },
    },
}


DirectForms = Annotated[
    Annotated[Messages, Tag("<array>")] | Annotated[DirectBody, Tag("<object>")],
    Discriminator(lambda body: "<array>" if isinstance(body, list) else "<object>"),
]
"""The bare messages, or an object that holds them."""
