"""Talking to personas and models: `/api/llm`."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query, Response
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from api.dependencies import Service, SettingsOf
from api.fields import (
    ContentPart,
    Context,
    FallbackModels,
    Identifier,
    MaxTokens,
    ModelName,
    RequestBody,
    Temperature,
    Text,
)
from api.problems import InteractionFailedError
from api.service import new_id
from core.orchestrator.contracts import (
    CompletionRequest,
    CompletionView,
    InteractionRequest,
    InteractionStatus,
    InteractionView,
    OnFailure,
)
from core.orchestrator.interactions.prompting import DEFAULT_TEMPERATURE
from core.orchestrator.interactions.store import Prompt

router = APIRouter(prefix="/api/llm", tags=["llm"])


class InteractBody(RequestBody):
    """A user's message to a persona."""

    message: Annotated[Text, Field(min_length=1, max_length=100_000)]
    user_id: Identifier
    session_id: Identifier | None = Field(None, description="The conversation; made and returned when absent.")
    persona_id: Identifier | None = Field(None, description="Who answers; the setting's persona when absent.")
    model: ModelName | None = Field(None, description="`provider:model`, or a model of OpenRouter.")
    fallback_models: FallbackModels | None = Field(
        None, description="Tried in order after `model`. Absent: the persona's, else the setting's. Empty: none."
    )
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    context: Context = Field(
        default_factory=dict, description="Handed to agent selection and templates; at most 16 KiB."
    )
    agent: Identifier | None = Field(None, description="Forces an agent by name.")
    on_failure: Literal["reply", "error"] = Field(
        "reply", description="What comes when no model answered: the persona's fallback line, or a problem."
    )


class ChatMessage(RequestBody):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[Text, Field(min_length=1)] | Annotated[list[ContentPart], Field(min_length=1)]
    name: Identifier | None = None


Messages = Annotated[list[ChatMessage], Field(min_length=1, max_length=10_000)]


class DirectBody(RequestBody):
    """Messages to a model, with how it is to answer."""

    messages: Messages
    user_id: Identifier = "anonymous"
    model: ModelName | None = None
    fallback_models: FallbackModels | None = None
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None


class DirectParameters(BaseModel):
    """How the model is to answer, where the body is the bare array of messages."""

    model_config = ConfigDict(extra="forbid")

    user_id: Identifier | None = None
    model: ModelName | None = None
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None


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
    settings: SettingsOf,
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
        on_failure=OnFailure(body.on_failure),
    )
    await service.accept(request)
    view = await service.result(request.interaction_id)
    if view.message is None:
        raise InteractionFailedError(view)
    _add_headers(response, view)
    return view


@router.post("/direct", summary="Messages straight to a model")
async def direct(
    body: Annotated[
        Annotated[Messages, Tag("array")] | Annotated[DirectBody, Tag("object")],
        Discriminator(lambda body: "array" if isinstance(body, list) else "object"),
        Body(openapi_examples=_DIRECT_EXAMPLES),
    ],
    parameters: Annotated[DirectParameters, Query()],
    response: Response,
    service: Service,
) -> CompletionView:
    """Complete a chat without persona and memory; durable all the same."""
    asked = _with_parameters(body, parameters)
    request = CompletionRequest(
        interaction_id=new_id(),
        user_id=asked.user_id,
        model=asked.model,
        fallback_models=asked.fallback_models,
        temperature=asked.temperature,
        max_tokens=asked.max_tokens,
    )
    messages = [message.model_dump(exclude_none=True) for message in asked.messages]
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
    given = parameters.model_dump(exclude_none=True)
    if isinstance(body, DirectBody):
        return body.model_copy(
            update={name: value for name, value in given.items() if name not in body.model_fields_set}
        )
    return DirectBody(messages=list(body), **given)


def _add_headers(response: Response, view: InteractionView) -> None:
    response.headers["Location"] = f"/api/llm/interactions/{view.interaction_id}"
    response.headers["X-Interaction-Id"] = view.interaction_id
