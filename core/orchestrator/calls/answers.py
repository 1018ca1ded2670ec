"""One answer, read from a provider to its end: timed, whole, and such that it can be stored and sent on."""

import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from core.orchestrator.calls.ledger import Timing
from core.orchestrator.calls.showing import Showing
from core.orchestrator.errors import ErrorType, LLMProviderServiceError, Posture
from core.orchestrator.events import TextDelta
from core.orchestrator.providers.base import CallAccepted, ChatCompletion
from core.orchestrator.providers.tool_calls import json_bytes
from core.orchestrator.providers.untrusted import REDACTED, TEXT_LIMIT, as_text, storable_text

_CALLS = "tool_calls"
"""The reason why an answer ended that calls tools."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """How far a call has come; written by the call, read by whoever reports it."""

    ordinal: int = 0
    characters: int = 0


@dataclass(slots=True)
class Heard:
    """What has been said so far; it outlives a call that breaks."""

    before: str = ""
    """By an earlier call, which this one continues."""
    pieces: list[str] = field(default_factory=list)
    secrets: Sequence[str] = ()
    """What no text may hold. A provider sees to that within its own; two may each have said a part."""
    shown_by: Showing | None = None
    """Shows the text while it comes; None: nobody may watch."""

    def take_in(self, piece: str) -> None:
        """Hear some more, and show it."""
        self.pieces.append(piece)
        if self.shown_by is not None:
            self.shown_by.add(piece)

    async def unshown(self) -> list[TextDelta]:
        """Stop showing, and return what has not been shown yet."""
        return [] if self.shown_by is None else await self.shown_by.rest()

    @property
    def said(self) -> str:
        """What this call said."""
        return "".join(self.pieces)

    @property
    def partial(self) -> str | None:
        """The whole text so far, if this call said any of it."""
        return storable_text(self.with_before(self.said)) if self.said.strip() else None

    def with_before(self, said: str) -> str:
        """Return the whole text, of which `said` is this call's part."""
        whole = self.before + said
        if self.before:
            for secret in self.secrets:
                whole = whole.replace(secret, REDACTED)
        return whole


class Stopwatch:
    """Times a call from its making."""

    def __init__(self) -> None:
        """Start."""
        self._started = time.monotonic()
        self._first_token_ms: int | None = None

    def first_token(self) -> None:
        """Note the moment of the first text; later ones change nothing."""
        if self._first_token_ms is None:
            self._first_token_ms = self._elapsed_ms()

    def timing(self) -> Timing:
        """Return how long it took so far."""
        return Timing(self._elapsed_ms(), self._first_token_ms)

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._started) * 1000)


async def read_answer(
    stream: AsyncGenerator[str | CallAccepted | ChatCompletion, None],
    heard: Heard,
    progress: Progress,
    watch: Stopwatch,
    accepted: Callable[[str], None],
    *,
    offers_tools: bool = False,
) -> ChatCompletion:
    """Read a provider's stream to its completion and close it: however it is left, the upstream call ends with ours.

    Args:
        stream: what the provider says.
        heard: takes in the text as it comes.
        progress: is written meanwhile.
        watch: times the first text.
        accepted: is told under which id the upstream knows the call.
        offers_tools: whether the model was offered any to call. A call of one that was not is nobody's to answer.

    Returns:
        The completion, with the text before it.

    Raises:
        LLMProviderServiceError: (`truncated`) there was no completion, (`empty`) there was neither text nor a call of
            a tool.
    """
    completion: ChatCompletion | None = None
    try:
        async with aclosing(stream):
            async for item in stream:
                if isinstance(item, ChatCompletion):
                    completion = item
                    break
                if isinstance(item, CallAccepted):
                    accepted(item.generation_id)
                    continue
                _take_in(item, heard, progress, watch)
                if len(heard.before) + progress.characters > TEXT_LIMIT:  # a model that does not stop is stopped here
                    completion = ChatCompletion(content=heard.said, finish_reason="length")
                    break
    except Exception:
        if completion is None:
            raise
        logger.warning("a provider failed after its answer", exc_info=True)
    if completion is None:
        raise LLMProviderServiceError(
            "the stream ended without a completion", error_type=ErrorType.TRUNCATED, may_be_billed=True
        )
    completion = _as_offered(completion, offers_tools=offers_tools)
    if not (completion.content.strip() or completion.tool_calls) and completion.finish_reason != "content_filter":
        raise LLMProviderServiceError(
            "the model returned no text", error_type=ErrorType.EMPTY, posture=Posture(tries=2), may_be_billed=True
        )
    return _storable(completion, heard)


def _take_in(piece: object, heard: Heard, progress: Progress, watch: Stopwatch) -> None:
    if not isinstance(piece, str):
        raise TypeError(f"a piece of text was of type {type(piece).__name__}")
    watch.first_token()
    heard.take_in(piece)
    progress.characters += len(piece)


def _as_offered(completion: ChatCompletion, *, offers_tools: bool) -> ChatCompletion:
    """Return the completion without calls of tools that nobody offered, and with a reason that fits what is left."""
    calls, reason = completion.tool_calls if offers_tools else None, completion.finish_reason
    if calls:
        reason = reason or _CALLS
    elif reason == _CALLS:
        reason = "stop"
    return completion.model_copy(update={"tool_calls": calls, "finish_reason": reason})


def _storable(completion: ChatCompletion, heard: Heard) -> ChatCompletion:
    """Return the completion with a text that can be stored and sent on; where that cuts it, it is told."""
    whole = heard.with_before(completion.content)
    text = storable_text(whole, beside=json_bytes(completion.tool_calls))
    cut = len(text) < len(as_text(whole) or "")
    return completion.model_copy(update={"content": text} | ({"finish_reason": "length"} if cut else {}))
