"""The response object of OpenAI's Responses API: an interaction, and what its client said about it.

Everything in it is read from the store, so that it is the same whenever and wherever it is asked for.
"""

from collections.abc import Mapping
from typing import Any, NoReturn
from uuid import UUID

from api.v1.chat_objects import created_at
from core.orchestrator.contracts import InteractionStatus, InteractionView, ToolCall, Usage
from core.orchestrator.errors import ErrorType, UnknownResourceError

RESPONSE = "resp_"
MESSAGE = "msg_"
CALL = "fc_"
_COMPLETION = "chatcmpl-"

_DEFAULTS: Mapping[str, Any] = {
    "background": False,
    "conversation": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""What a response says of what its client did not."""
_ONLY_IF_SAID = ("max_tool_calls", "model", "prompt_cache_key", "safety_identifier", "service_tier")
_CUT_OFF = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why a model ended before it was done, by its finish reason."""
_ERROR_CODES = {ErrorType.RATE_LIMIT: "rate_limit_exceeded", ErrorType.INVALID_REQUEST: "invalid_prompt"}
"""Those that OpenAI has a word for; every other one is a `server_error`."""


def interaction_of_response(name: str) -> str:
    """Return the interaction that the id of a response names; that of a chat completion, or our own, will do.

    Raises:
        UnknownResourceError: it is none.
    """
    prefix = next((known for known in (RESPONSE, _COMPLETION) if name.startswith(known)), "")
    return _interaction(name.removeprefix(prefix)) or _unknown("response", name)


def interaction_of_item(name: str) -> str:
    """Return the interaction that the id of an item names.

    Raises:
        UnknownResourceError: it is none.
    """
    found = None
    if name.startswith(MESSAGE):
        found = _interaction(name.removeprefix(MESSAGE))
    elif name.startswith(CALL):
        found = _interaction(name.removeprefix(CALL).rpartition("_")[0])
    return found or _unknown("item", name)


def response_of(view: InteractionView, echo: Mapping[str, Any]) -> dict[str, Any]:
    """Return an interaction as a response; `echo` is what its client wants to find in it."""
    status, reason = _status(view)
    began = created_at(view.interaction_id)
    told = {**_DEFAULTS, **{name: said for name, said in echo.items() if name in _DEFAULTS or name in _ONLY_IF_SAID}}
    told["text"] = {**_DEFAULTS["text"], **told["text"]}
    if told["conversation"] is not None:
        told["conversation"] = {"id": told["conversation"]}
    seconds = (view.response_time_ms or 0) // 1000
    return {
        "id": f"{RESPONSE}{view.interaction_id}",
        "object": "response",
        "created_at": began,
        "completed_at": began + seconds if status == InteractionStatus.COMPLETED else None,
        "status": status,
        "error": _error(view),
        "incomplete_details": reason and {"reason": reason},
        "model": view.persona_id or view.model or "",
        "output": output_of(view),
        "usage": _usage(view.usage),
        **told,
    }


def output_of(view: InteractionView) -> list[dict[str, Any]]:
    """Return what came of an interaction, item by item."""
    items = []
    if view.message:
        items.append(message_item(view.interaction_id, view.message, item_status(view)))
    items += [call_item(view.interaction_id, number, call) for number, call in enumerate(view.tool_calls or ())]
    return items


def item_status(view: InteractionView) -> str:
    """Return whether the text of an interaction is whole."""
    whole = (InteractionStatus.COMPLETED, InteractionStatus.FAILED)
    return "completed" if _status(view)[0] in whole else "incomplete"


def message_item(interaction_id: str, text: str | None, status: str) -> dict[str, Any]:
    """Return the item that is the text of a reply; without a text, as it begins."""
    content = [] if text is None else [text_part(text)]
    item_id = f"{MESSAGE}{interaction_id}"
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def text_part(text: str) -> dict[str, Any]:
    """Return the part that a text is."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(interaction_id: str, number: int, call: ToolCall, status: str = "completed") -> dict[str, Any]:
    """Return the item that the call of a tool is; while it is in progress, as it begins."""
    function = call["function"]
    return {
        "id": f"{CALL}{interaction_id}_{number}",
        "type": "function_call",
        "status": status,
        "call_id": call["id"],
        "name": function["name"],
        "arguments": function["arguments"] if status == "completed" else "",
    }


def _interaction(text: str) -> str | None:
    """Return a text if it is written as the ids of interactions are."""
    try:
        return text if str(UUID(text)) == text else None
    except ValueError:
        return None


def _unknown(kind: str, name: str) -> NoReturn:
    raise UnknownResourceError(kind, name)


def _status(view: InteractionView) -> tuple[InteractionStatus, str | None]:
    """Return where a response stands, and why it is incomplete where that has a name."""
    reason = _CUT_OFF.get(view.finish_reason or "")
    if view.status is InteractionStatus.COMPLETED and reason is not None:
        return InteractionStatus.INCOMPLETE, reason
    return view.status, None


def _error(view: InteractionView) -> dict[str, str | None] | None:
    """Return why there is no reply; one that broke off is there as far as it goes."""
    if view.status is not InteractionStatus.FAILED or view.error is None:
        return None
    code = _ERROR_CODES.get(view.error.type, "server_error")
    return {"code": code, "type": view.error.type, "param": None, "message": view.error.detail}


def _usage(usage: Usage) -> dict[str, Any] | None:
    """Return the tokens; None where nobody knows how many they are."""
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    total = usage.prompt_tokens + usage.completion_tokens
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": total if usage.total_tokens is None else usage.total_tokens,
    }
