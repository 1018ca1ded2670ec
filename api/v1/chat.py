"""Talking to personas as OpenAI's clients do: `POST /v1/chat/completions`."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse

from api.dependencies import App, Service
from api.streaming import UnbufferedResponse
from api.troubles import InteractionFailedError
from api.v1.chat_body import ChatBody
from api.v1.chat_objects import ChatCompletionObject, chat_completion, has_reply
from api.v1.chat_stream import KEEP_ALIVE, ChatStream
from api.v1.errors import ERROR_RESPONSES, PREFIX
from api.v1.identity import SentBy
from api.v1.models import choose
from api.v1.route import LenientRoute
from api.v1.turns import Wish, accept, tell

router = APIRouter(prefix=PREFIX, tags=["openai"], route_class=LenientRoute, responses=ERROR_RESPONSES)

_CHUNK = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "data": {
            "type": "string",
            "description": "A chunk of the completion, an `error` that ends the stream, or `[DONE]` after the last.",
        }
    },
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The reply; with `stream`, in chunks.",
        "content": {EventSourceResponse.media_type: {"itemSchema": _CHUNK}},
    },
}
_EXAMPLES: Any = {
    "chat": {
        "summary": "A message to Cherry",
        "value": {
            "model": "cherry",
            "messages": [{"role": "user", "content": "Tell me about artificial intelligence"}],
        },
    }
}


@router.post(
    "/chat/completions",
    summary="Messages to a persona, a reply in character",
    response_model=ChatCompletionObject,
    responses=_RESPONSES,
)
async def complete(
    body: Annotated[ChatBody, Body(openapi_examples=_EXAMPLES)],
    sender: SentBy,
    application: App,
    service: Service,
    client: Request,
) -> Response:
    """Run one interaction as a durable workflow; a client that leaves finds its reply when it asks again."""
    wish = Wish(
        identity=sender.identify(body),
        chosen=choose(application.personas, body.model),
        said=body.said,
        temperature=body.temperature,
        max_tokens=body.length,
        watched=bool(body.stream),
        as_written=bool(body.stream) or body.wants_a_form,
    )
    opened = await accept(service, wish, client.url.path, body)
    headers = tell(client, opened)
    interaction_id = opened.request.interaction_id
    if body.stream:
        events = await service.stream(interaction_id, keep_alive=KEEP_ALIVE)
        chunks = ChatStream(events, body.model, tells_usage=body.tells_usage).chunks()
        await anext(chunks)  # from here on the status is sure
        return UnbufferedResponse(chunks, headers)
    view = await service.result(interaction_id)
    if not has_reply(view):
        raise InteractionFailedError(view, replayed=opened.replayed)
    return JSONResponse(chat_completion(view, body.model).model_dump(), headers=headers)
