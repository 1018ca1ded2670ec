"""Talking to personas and models: `/api/llm`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Query, Response
from pydantic import Discriminator, Field, Tag

from api.dependencies import AppSettings, Service
from api.fields import (
    ContentPart,
    Context,
    FallbackModels,
    Identifier,
    LongText,
    MaxTokens,
    Message,
    ModelName,
    RequestBody,
    Temperature,
)
from api.problems import InteractionFailedError
from api.service import new_id
from api.strict_route import StrictRoute
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.contracts import (
    AfterOutput,
    CompletionRequest,
    CompletionView,
    InteractionRequest,
    InteractionStatus,
    InteractionView,
    OnFailure,
)
from core.orchestrator.interactions.prompting import DEFAULT_TEMPERATURE

router = APIRouter(prefix="/api/llm", tags=["llm"], route_class=StrictRoute)

_ANYBODY = "anonymous"


class InteractBody(RequestBody):
    """A user's message to a persona."""

    message: Message
    """What the user says."""
    user_id: Identifier
    """Who says it."""
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
    """Who asks; `anonymous` when absent."""
    model: ModelName | None = None
    """`provider:model`, or a model of OpenRouter; absent: the setting's."""
    fallback_models: FallbackModels | None = None
    """Tried in order after `model`. Absent: the setting's. Empty: none."""
    temperature: Temperature | None = None
    """Sampling temperature; absent: 0.7."""
    max_tokens: MaxTokens | None = None
    """The longest answer, in tokens; absent: the model's own limit."""


@dataclass(frozen=True)
class DirectParameters:
    """How the model is to answer, where the body is the bare array of messages."""

    user_id: Annotated[Identifier | None, Query(description="Who asks; `anonymous` when absent.")] = None
    model: Annotated[ModelName | None, Query(description="The model, unless the body names one.")] = None
    temperature: Annotated[Temperature | None, Query(description="Sampling temperature; absent: 0.7.")] = None
    max_tokens: Annotated[MaxTokens | None, Query(description="The longest answer, in tokens.")] = None


_INTERACT_EXAMPLES: Any = {
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
_DIRECT_EXAMPLES: Any = {
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


@router.post("/interact", summary="A message to a persona, a reply in character")
async def interact(
    body: Annotated[InteractBody, Body(openapi_examples=_INTERACT_EXAMPLES)],
    response: Response,
    service: Service,
    settings: AppSettings,
) -> InteractionView:
    """Run one interaction as a durable workflow and return its end, whichever process crashes meanwhile."""
    request = InteractionRequest(
        interaction_id=new_id(),
        user_id=body.user_id,
        session_id=body.session_id or new_id(),
        persona_id=body.persona_id or settings.DEFAULT_PERSONA_ID,
        message=body.message,
        model=body.model,
        fallback_models=body.fallback_models,
        temperature=body.temperature,
        max_tokens=body.max_tokens,
        context=body.context,
        agent=body.agent,
        on_failure=body.on_failure,
        after_output=body.after_output,
    )
    await service.accept(request)
    view = await service.result(request.interaction_id)
    # A cancellation is no failure: somebody wanted it, and the response says so.
    if view.message is None and view.status is not InteractionStatus.CANCELLED:
        raise InteractionFailedError(view)
    _add_headers(response, view)
    return view


@router.post("/direct", summary="Messages straight to a model")
async def direct(
    body: Annotated[
        Annotated[Messages, Tag("<array>")] | Annotated[DirectBody, Tag("<object>")],
        Discriminator(lambda body: "<array>" if isinstance(body, list) else "<object>"),
        Body(openapi_examples=_DIRECT_EXAMPLES),
    ],
    parameters: Annotated[DirectParameters, Depends()],
    response: Response,
    service: Service,
) -> CompletionView:
    """Complete a chat without persona and memory; durable all the same."""
    asked = _with_parameters(body, parameters)
    request = CompletionRequest(
        interaction_id=new_id(),
        user_id=asked.user_id or _ANYBODY,
        model=asked.model,
        fallback_models=asked.fallback_models,
        temperature=asked.temperature,
        max_tokens=asked.max_tokens,
    )
    messages = [_as_sent(message) for message in asked.messages]
    temperature = DEFAULT_TEMPERATURE if asked.temperature is None else asked.temperature
    await service.accept_completion(request, Prompt(messages, temperature, asked.max_tokens))
    view = await service.result(request.interaction_id)
    if view.message is None or view.status is not InteractionStatus.COMPLETED:
        raise InteractionFailedError(view)
    _add_headers(response, view)
    return CompletionView(
        content=view.message,
        **view.model_dump(
            include={"model", "provider", "usage", "finish_reason", "response_time_ms", "interaction_id", "attempts"}
        ),
    )


def _with_parameters(body: DirectBody | Sequence[ChatMessage], parameters: DirectParameters) -> DirectBody:
    """Return one request, whichever form it came in; the body wins over the query."""
    whole = body if isinstance(body, DirectBody) else DirectBody(messages=list(body))
    return whole.model_copy(
        update={name: value for name, value in asdict(parameters).items() if getattr(whole, name) is None}
    )


def _as_sent(message: ChatMessage) -> dict[str, Any]:
    """Return a message as the client wrote it: a null inside a part may mean something to the model."""
    return message.model_dump(exclude={"name"} if message.name is None else None)


def _add_headers(response: Response, view: InteractionView) -> None:
    response.headers["Location"] = f"/api/llm/interactions/{view.interaction_id}"
    response.headers["X-Interaction-Id"] = view.interaction_id
