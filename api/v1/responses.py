"""Talking to personas by OpenAI's Responses API: `/v1/responses`."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse
from pydantic import BeforeValidator

from api.dependencies import App, Asker, Service
from api.fields import Identifier, digits
from api.streaming import UnbufferedResponse
from api.troubles import InteractionFailedError
from api.v1.chat_objects import has_reply
from api.v1.errors import ERROR_RESPONSES, PREFIX
from api.v1.identity import SentBy
from api.v1.models import choose
from api.v1.response_body import ResponseBody
from api.v1.response_events import ResponseEvents
from api.v1.response_object import interaction_of_response, response_of
from api.v1.response_source import Source, not_followed
from api.v1.response_stream import ResponseStream
from api.v1.route import LenientRoute
from api.v1.turns import Wish, accept, tell
from core.orchestrator.contracts import InteractionStatus
from core.orchestrator.errors import UnknownResourceError
from core.orchestrator.log_context import handling

router = APIRouter(prefix=f"{PREFIX}/responses", tags=["openai"], route_class=LenientRoute, responses=ERROR_RESPONSES)

_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "description": "Such as `response.output_text.delta`."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "type": "object",
                "required": ["type", "sequence_number"],
                "properties": {"type": {"type": "string"}, "sequence_number": {"type": "integer"}},
            },
        },
    },
}
_OBJECT = {
    "type": "object",
    "required": ["id", "object", "created_at", "status", "model", "output"],
    "properties": {
        "id": {"type": "string", "description": "`resp_` and the interaction's id."},
        "object": {"const": "response"},
        "created_at": {"type": "integer", "description": "Seconds since 1970."},
        "status": {"enum": [status.value for status in InteractionStatus]},
        "model": {"type": "string", "description": "As the client wrote it."},
        "output": {"type": "array", "items": {"type": "object"}, "description": "Messages and calls of functions."},
    },
}
_CONTENT: dict[str, Any] = {
    "application/json": {"schema": _OBJECT},
    EventSourceResponse.media_type: {"itemSchema": _EVENT},
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The response; with `stream`, its events.", "content": _CONTENT}
}
_EXAMPLES: Any = {
    "response": {
        "summary": "A message to Cherry",
        "value": {"model": "cherry", "input": "Tell me about artificial intelligence"},
    }
}


async def _visible(
    response_id: Annotated[Identifier, Path(description="`resp_…`, as the response gave it.")],
    asker: Asker,
    application: App,
) -> str:
    interaction_id = interaction_of_response(response_id)
    handling(interaction_id)
    asker.check_owner(await application.store.owner(interaction_id), "response", response_id)
    return interaction_id


VisibleResponse = Annotated[str, Depends(_visible)]
"""The interaction that a response is; another user's is as unknown as one that nobody has."""


@router.post("", summary="A message to a persona, as a response", response_class=Response, responses=_RESPONSES)
async def respond(
    body: Annotated[ResponseBody, Body(openapi_examples=_EXAMPLES)],
    sender: SentBy,
    application: App,
    service: Service,
    client: Request,
) -> Response:
    """Run one interaction as a durable workflow; with `background` or a broken stream, its reply is found by its id."""
    chosen = choose(application.personas, body.model)
    identity, said = await Source(application.store, sender, body).read()
    watched = bool(body.stream or body.background)
    wish = Wish(
        identity=identity,
        chosen=chosen,
        said=said,
        temperature=body.temperature,
        max_tokens=body.max_output_tokens,
        watched=watched,
        as_written=watched or not body.wants_text,
    )
    try:
        opened = await accept(service, wish, client.url.path, body)
    except UnknownResourceError as error:
        if error.kind == "response":  # it is there, and nothing that could be followed
            raise not_followed(body.previous_response_id) from None
        raise
    headers = tell(client, opened)
    interaction_id = opened.request.interaction_id
    if body.stream:
        return await _stream(application, service, interaction_id, None, headers)
    if body.background:
        view = await application.store.view(interaction_id)
        if not view.status.is_final:  # told as it was accepted, however quick a worker is
            view = view.model_copy(update={"status": opened.status})
    else:
        view = await service.result(interaction_id)
        # A cancellation is no failure: somebody wanted it, and the response says so.
        if not has_reply(view) and view.status is not InteractionStatus.CANCELLED:
            raise InteractionFailedError(view, replayed=opened.replayed)
    return JSONResponse(response_of(view, await _echo(application, interaction_id)), headers=headers)


@router.get(
    "/{response_id}",
    summary="A response, at any time, or its events from any of them on",
    response_class=Response,
    responses=_RESPONSES,
)
async def read(
    interaction_id: VisibleResponse,
    application: App,
    service: Service,
    *,
    stream: Annotated[bool, Query(description="True: server-sent events, as they come.")] = False,
    starting_after: Annotated[
        int | None,
        BeforeValidator(digits),
        Query(ge=0, le=2**53, description="The number of the last event seen; absent: all events."),
    ] = None,
) -> Response:
    """Return the response as it stands, or stream what follows the last event that was seen."""
    headers = _named(interaction_id)
    if stream:
        return await _stream(application, service, interaction_id, starting_after, headers)
    view = await service.current(interaction_id)
    return JSONResponse(response_of(view, await _echo(application, interaction_id)), headers=headers)


@router.post("/{response_id}/cancel", summary="End a response", response_class=Response, responses=_RESPONSES)
async def cancel(interaction_id: VisibleResponse, application: App, service: Service) -> Response:
    """Cancel the response and return it as it is then; one that has ended stays as it is."""
    view = await service.cancel(interaction_id)
    return JSONResponse(response_of(view, await _echo(application, interaction_id)), headers=_named(interaction_id))


async def _stream(
    application: App, service: Service, interaction_id: str, after: int | None, headers: dict[str, str]
) -> Response:
    view = await application.store.view(interaction_id)
    events = ResponseEvents(view, await _echo(application, interaction_id), after)
    logged_after = await service.last_reset(interaction_id) if events.is_new else events.logged_after
    stream = await service.stream(interaction_id, logged_after)
    return UnbufferedResponse(ResponseStream(stream, events).chunks(), headers)


async def _echo(application: App, interaction_id: str) -> Mapping[str, Any]:
    """Return what the client wants to find in a response."""
    said = await application.store.said(interaction_id)
    return said.echo if said else {}


def _named(interaction_id: str) -> dict[str, str]:
    return {"X-Interaction-Id": interaction_id}
