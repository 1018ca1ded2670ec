"""OpenAI's own types, as the judges of what the Responses API answers."""

from functools import cache
from typing import Any, get_args

from tests.lazily import lazily

responses = lazily("openai.types.responses")


def as_response(body: dict[str, Any]) -> Any:
    """Return a response, in which nothing has a form that OpenAI does not know."""
    return responses.Response.model_validate(body)


def as_event(event: dict[str, Any]) -> Any:
    """Return an event, in which nothing has a form that OpenAI does not know."""
    return _events()[event["type"]].model_validate(event)


@cache
def _events() -> dict[str, Any]:
    kinds = get_args(get_args(responses.ResponseStreamEvent)[0])
    return {get_args(kind.model_fields["type"].annotation)[0]: kind for kind in kinds}
