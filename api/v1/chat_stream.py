"""A reply as a stream of chunks, as OpenAI's chat API writes it.

Nothing that stands in it can be taken back, and its status is sent before it: so the first chunk is kept back until
there is text, for some seconds. An interaction that fails before is an ordinary error, and a fallback before it is
seen by nobody. What happens later ends the stream with an error that clients raise; the interaction goes on.
"""

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from time import monotonic
from typing import Any

from api.streaming import ReplyStream
from api.troubles import InteractionFailedError, trouble_of
from api.v1.chat_objects import chat_id, chat_usage, created_at, finish_reason, has_reply
from api.v1.errors import OpenAIError, error_of
from core.orchestrator.contracts import InteractionView
from core.orchestrator.errors import OrchestratorError, WorkflowServiceUnavailableError
from core.orchestrator.events import TERMINAL_TYPES, TextDelta, TextReset
from core.orchestrator.replies.log import LoggedEvent

logger = logging.getLogger("orchestrator.api")

KEEP_ALIVE = timedelta(seconds=2.5)
_PATIENCE = timedelta(seconds=7.5)
"""Together no more than ten seconds: a sign of life, too, is a moment to look at the clock."""
_COMMENT = b": keep-alive\n\n"
_DONE = b"data: [DONE]\n\n"


class _WithdrawnError(OrchestratorError):
    """Text that was shown is no part of the reply."""


class ChatStream:
    """The chunks of one reply."""

    def __init__(
        self, stream: ReplyStream, model: str, *, tells_usage: bool = False, patience: timedelta = _PATIENCE
    ) -> None:
        """Write down what `stream` tells.

        Args:
            stream: the interaction's events.
            model: as the client wrote it.
            tells_usage: a last chunk tells the tokens.
            patience: how long the first chunk may be kept back; beside the stream's signs of life.
        """
        self._stream = stream
        self._head = {
            "id": chat_id(stream.interaction_id),
            "object": "chat.completion.chunk",
            "created": created_at(stream.interaction_id),
            "model": model,
        }
        self._tells_usage = tells_usage
        self._patience = patience.total_seconds()
        self._shown = False
        self._ended = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield nothing, once, when the status is sure, and then the stream as it stands on the wire.

        Raises:
            InteractionFailedError: before anything was yielded: there is no reply.
            WorkflowServiceUnavailableError: before anything was yielded: the process is about to stop.
            StorageUnavailableError: before anything was yielded: the database did not answer.
        """
        began = monotonic()
        is_sure = False
        try:
            async with aclosing(self._stream.events()) as events:
                async for event in events:
                    pieces = [] if event is None else self._pieces(event)
                    if not is_sure:
                        if not pieces and monotonic() - began < self._patience:
                            continue
                        is_sure = True
                        yield b""
                        yield self._chunk({"role": "assistant", "content": ""})
                    for piece in pieces:
                        yield piece
                    if event is None:
                        yield _COMMENT
            if not self._ended:
                raise WorkflowServiceUnavailableError(
                    "this process is stopping; the interaction goes on", interaction_id=self._stream.interaction_id
                )
        except OrchestratorError as error:
            if not is_sure:
                raise
            logger.warning("a stream of %s broke off: %s", self._stream.interaction_id, error)
            yield _data({"error": self._error(error).model_dump()})

    def _pieces(self, event: LoggedEvent) -> list[bytes]:
        if event.type == TextDelta.type:
            self._shown = True
            return [self._chunk({"content": event.data["delta"]})]
        if event.type == TextReset.type and self._shown:
            raise _WithdrawnError("what was said so far is no part of the reply any more, and the interaction goes on")
        if event.type not in TERMINAL_TYPES:
            return []
        view = InteractionView.model_validate(event.data["response"])
        if not has_reply(view):
            raise InteractionFailedError(view)
        self._ended = True
        return self._last_pieces(view)

    def _last_pieces(self, view: InteractionView) -> list[bytes]:
        calls = [
            self._chunk({"tool_calls": [{"index": place, **call}]}) for place, call in enumerate(view.tool_calls or ())
        ]
        usage = chat_usage(view.usage)
        told = [_data(self._head | {"choices": [], "usage": usage and usage.model_dump()})] if self._tells_usage else []
        return [*calls, self._chunk({}, finish_reason(view)), *told, _DONE]

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _data(self._head | {"choices": [choice]} | ({"usage": None} if self._tells_usage else {}))

    def _error(self, error: OrchestratorError) -> OpenAIError:
        place = f"/api/llm/interactions/{self._stream.interaction_id}"
        if isinstance(error, _WithdrawnError):
            return OpenAIError(message=f"{error}: see {place}", type="server_error", param=None, code="reply_withdrawn")
        told = error_of(trouble_of(error, f"a stream of {self._stream.interaction_id}"))
        return told.model_copy(update={"message": f"{told.message}: see {place}"})


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
