"""OpenAI's own types, as the judges of what the Responses API answers."""

from typing import Any, get_args

from openai.types.responses import Response, ResponseStreamEvent

_EVENTS = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(ResponseStreamEvent)[0])
}


def as_response(body: dict[str, Any]) -> Response:
    """Return a response, in which nothing has a form that OpenAI does not know."""
    return Response.model_validate(body)


def as_event(event: dict[str, Any]) -> Any:
    """Return an event, in which nothing has a form that OpenAI does not know."""
    return _EVENTS[event["type"]].model_validate(event)
