"""Talking to personas and models: `/api/llm`."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Response

from api.bodies import (
    DIRECT_EXAMPLES,
    INTERACT_EXAMPLES,
    ChatMessage,
    DirectBody,
    DirectForms,
    DirectParameters,
    InteractBody,
)
from api.delivery import AcceptedInteraction, Delivered
from api.dependencies import AppSettings, Asker, Service, made_here
from api.service import new_id
from api.streaming import STREAM_CONTENT
from api.strict_route import StrictRoute
from api.troubles import InteractionFailedError
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.contracts import (
    CompletionRequest,
    CompletionView,
    InteractionRequest,
    InteractionStatus,
    InteractionView,
)
from core.orchestrator.interactions.prompting import DEFAULT_TEMPERATURE

router = APIRouter(prefix="/api/llm", tags=["llm"], route_class=StrictRoute)

_ANYBODY = "anonymous"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The reply; with `stream`, its events as they come.", "content": STREAM_CONTENT},
    202: {"model": AcceptedInteraction, "description": "With `background`: accepted."},
}


@router.post(
    "/interact",
    summary="A message to a persona, a reply in character",
    response_model=InteractionView,
    responses=_RESPONSES,
)
async def interact(
    body: Annotated[InteractBody, Body(openapi_examples=INTERACT_EXAMPLES)],
    asker: Asker,
    delivery: Delivered,
    service: Service,
    settings: AppSettings,
) -> InteractionView | Response:
    """Run one interaction as a durable workflow and return its end, whichever process crashes meanwhile."""
    request = InteractionRequest(
        interaction_id=new_id(),
        user_id=asker.named(body.user_id),
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
    opened = await service.accept(request, delivery.opening(body, body, body.multitask_strategy))
    reply = await delivery.reply(opened, body)
    if isinstance(reply, Response):
        return reply
    # A cancellation is no failure: somebody wanted it, and the response says so.
    if reply.message is None and reply.status is not InteractionStatus.CANCELLED:
        raise InteractionFailedError(reply, replayed=opened.replayed)
    return reply


@router.post("/direct", summary="Messages straight to a model", response_model=CompletionView, responses=_RESPONSES)
async def direct(
    body: Annotated[DirectForms, Body(openapi_examples=DIRECT_EXAMPLES)],
    parameters: Annotated[DirectParameters, Depends(made_here(DirectParameters))],
    asker: Asker,
    delivery: Delivered,
    service: Service,
) -> CompletionView | Response:
    """Complete a chat without persona and memory; durable all the same."""
    parameters = replace(parameters, user_id=asker.named(parameters.user_id))
    asked = _with_parameters(body, parameters)
    request = CompletionRequest(
        interaction_id=new_id(),
        user_id=asker.named(asked.user_id) or _ANYBODY,
        model=asked.model,
        fallback_models=asked.fallback_models,
        temperature=asked.temperature,
        max_tokens=asked.max_tokens,
    )
    messages = [_as_sent(message) for message in asked.messages]
    temperature = DEFAULT_TEMPERATURE if asked.temperature is None else asked.temperature
    opening = delivery.opening(asked, [body, asdict(parameters)])
    opened = await service.accept_completion(request, Prompt(messages, temperature, asked.max_tokens), opening)
    reply = await delivery.reply(opened, asked)
    if isinstance(reply, Response):
        return reply
    if reply.message is None or reply.status is not InteractionStatus.COMPLETED:
        raise InteractionFailedError(reply, replayed=opened.replayed)
    return CompletionView(
        content=reply.message,
        **reply.model_dump(
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
