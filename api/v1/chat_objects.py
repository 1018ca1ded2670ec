"""What `POST /v1/chat/completions` answers: a completion, whole or in chunks."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from core.orchestrator.contracts import InteractionStatus, InteractionView, Usage

_MILLISECONDS_FROM_BIT = 80
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
_KNOWN: dict[str, FinishReason] = {"length": "length", "content_filter": "content_filter"}


class _Described(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class PromptTokens(_Described):
    """What is known of the tokens of a prompt."""

    cached_tokens: int


class CompletionTokens(_Described):
    """What is known of the tokens of a reply."""

    reasoning_tokens: int


class ChatUsage(_Described):
    """Tokens, where the upstream told them all."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens | None
    """Null: unknown."""
    completion_tokens_details: CompletionTokens | None
    """Null: unknown."""


class ChatReply(_Described):
    """The persona's message."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    """Null where it only asks the client to do something."""
    refusal: None = None
    tool_calls: Annotated[list[dict[str, Any]] | None, Field(exclude_if=lambda calls: calls is None)] = None
    """What the client is asked to do."""


class ChatChoice(_Described):
    """The only reply."""

    index: Literal[0] = 0
    message: ChatReply
    logprobs: None = None
    finish_reason: FinishReason
    """`length` also where the reply is not whole for another reason: it broke off, or was cancelled."""


class ChatCompletionObject(_Described):
    """A reply, as OpenAI's chat API writes it."""

    id: str
    """`chatcmpl-` and the interaction's id."""
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    """When the interaction was accepted; seconds since 1970."""
    model: str
    """As the client wrote it; `/api/llm/interactions/{id}` tells which model answered."""
    choices: list[ChatChoice]
    usage: ChatUsage | None
    """Null: the upstream did not tell."""


def chat_id(interaction_id: str) -> str:
    """Return the id of a completion."""
    return f"chatcmpl-{interaction_id}"


def created_at(interaction_id: str) -> int:
    """Return when an interaction was accepted, in seconds since 1970: its id says so."""
    return (UUID(interaction_id).int >> _MILLISECONDS_FROM_BIT) // 1000


def chat_completion(view: InteractionView, model: str) -> ChatCompletionObject:
    """Return an interaction that ended with a reply."""
    return ChatCompletionObject(
        id=chat_id(view.interaction_id),
        created=created_at(view.interaction_id),
        model=model,
        choices=[
            ChatChoice(
                message=ChatReply(
                    content=view.message or (None if view.tool_calls else ""), tool_calls=view.tool_calls
                ),
                finish_reason=finish_reason(view),
            )
        ],
        usage=chat_usage(view.usage),
    )


def has_reply(view: InteractionView) -> bool:
    """Return whether an interaction that has ended left something to show."""
    return view.status is InteractionStatus.COMPLETED or bool(view.message)


def finish_reason(view: InteractionView) -> FinishReason:
    """Return why a reply ended where it does."""
    if view.status is not InteractionStatus.COMPLETED:
        return "length"
    if view.tool_calls:
        return "tool_calls"
    return _KNOWN.get(view.finish_reason or "", "stop")


def chat_usage(usage: Usage) -> ChatUsage | None:
    """Return tokens as OpenAI's clients count them, who know no unknown ones."""
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    total = usage.prompt_tokens + usage.completion_tokens if usage.total_tokens is None else usage.total_tokens
    return ChatUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=total,
        prompt_tokens_details=None if usage.cached_tokens is None else PromptTokens(cached_tokens=usage.cached_tokens),
        completion_tokens_details=None
        if usage.reasoning_tokens is None
        else CompletionTokens(reasoning_tokens=usage.reasoning_tokens),
    )
