"""The events of a response, made of those of an interaction, and numbered so that a reader may come back at any time.

A number says where its event comes from: it is the logged event's own, times a constant, plus a place among those that
the logged one becomes. So nothing is counted, and whoever comes back with the last number it saw, at whatever process
and after whatever time, has said by it what it was shown: all that is needed to go on.

    0      created          n, 0   item added          t, 0       text done        (n: the number of a delta,
    2      queued           n, 2   part added          t, 2       part done         t: that of the end,
    4      in progress      n, 4   delta               t, 4       item done         r: that of a reset)
                            r, ERROR                   t, 6 + 8k  call k: added, + 2 delta, + 4 done, + 6 item done
                                                       t, END     completed, failed or incomplete

All of these are even. An odd number is that of an error that tells of no more than a stream that broke off behind the
event before it.

Nothing that was shown can be unsaid here. So where the log tells to forget a text (a call broke, and another one begins
anew), a reader that was shown some of it gets an error as the last event. One that has seen nothing of it yet is never
shown it. One that comes back after the error, or at any event once all is over, gets the end, which holds the whole
response: clients that raise the error never learn its number.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from api.v1.response_object import (
    RESPONSE,
    call_item,
    item_status,
    message_item,
    response_of,
    text_part,
)
from core.orchestrator.contracts import InteractionStatus, InteractionView, ToolCall
from core.orchestrator.events import (
    TERMINAL_TYPES,
    InteractionCreated,
    InteractionQueued,
    TextDelta,
    TextReset,
)
from core.orchestrator.replies.log import LoggedEvent

STEP = 2048
"""Between the numbers of two logged events: room for as many calls of tools as an answer may hold, and far from 2**31
even for the longest reply."""
_CREATED, _QUEUED, _IN_PROGRESS = 0, 2, 4
_ITEM_ADDED, _PART_ADDED, _DELTA = 0, 2, 4
_TEXT_DONE, _PART_DONE, _ITEM_DONE, _CALLS = 0, 2, 4, 6
_PER_CALL = 8
_ERROR = STEP - 4
_END = STEP - 2

Event = dict[str, Any]

_NOT_YET = (InteractionCreated.type, InteractionQueued.type)
_FINAL = {
    InteractionStatus.COMPLETED: "response.completed",
    InteractionStatus.FAILED: "response.failed",
}
"""Every other end leaves something out: OpenAI has no event for a cancellation of its own."""


class ResponseEvents:
    """Makes the events of one response for one reader."""

    def __init__(self, view: InteractionView, echo: Mapping[str, Any], after: int | None = None) -> None:
        """Tell what comes after the event `after`; None: everything.

        Args:
            view: the interaction, as it was at any time.
            echo: what its client wants to find in the response.
            after: the number of the event that the reader has seen last.
        """
        self._interaction_id = view.interaction_id
        self._bare = InteractionView(
            interaction_id=view.interaction_id,
            workflow_id=view.workflow_id,
            status=InteractionStatus.IN_PROGRESS,
            persona_id=view.persona_id,
        )
        self._echo = echo
        self._after = -1 if after is None else after
        self._seen, place = divmod(max(self._after, 0) & ~1, STEP)
        self._shown = self._seen > 0
        """The reader was shown some of the text that grows now, or may have been."""
        self._begins_again = self._shown and place < _DELTA
        """It has not seen all that the logged event became which it saw last."""
        self._in_progress = self._shown
        self._is_over = view.status.is_final
        self._in_vain = place == _ERROR
        """What it was shown is worth nothing any more: only the end is left to tell."""
        self.last = self._after
        """The number of the event told last."""
        self.over = False
        """Nothing more is to be told."""

    @property
    def is_new(self) -> bool:
        """Whether the reader has seen no text: then what the log forgot since need not be shown to it."""
        return not self._shown

    @property
    def logged_after(self) -> int:
        """The logged event after which to read; of a new reader, unless a later one tells to forget all before."""
        return self._seen if self._in_vain else max(self._seen - 1, 0)

    def begin(self) -> Iterator[Event]:
        """Yield what is true before anything has happened."""
        queued = bool(self._echo.get("background"))
        status = InteractionStatus.QUEUED if queued else InteractionStatus.IN_PROGRESS
        yield from self._standing("response.created", _CREATED, status)
        if queued:
            yield from self._standing("response.queued", _QUEUED, status)

    def tell(self, logged: LoggedEvent) -> Iterator[Event]:
        """Yield what a logged event becomes."""
        if not self._in_progress and logged.type not in _NOT_YET:
            self._in_progress = True
            yield from self._standing("response.in_progress", _IN_PROGRESS, InteractionStatus.IN_PROGRESS)
        number = logged.sequence_number * STEP
        if logged.type in TERMINAL_TYPES:
            yield from self._end(InteractionView.model_validate(logged.data["response"]), number)
        elif self._in_vain:
            return
        elif logged.type == TextDelta.type:
            yield from self._delta(logged.data["delta"], number)
        elif logged.type == TextReset.type and self._shown and self._is_over:
            self._in_vain = True  # the end is logged behind it, and holds what the error could only point to
        elif logged.type == TextReset.type and self._shown:
            yield from self._one(self._error(), number + _ERROR)
            self.over = True

    def broken(self) -> Event:
        """Return the error of a stream that ends before its time: whoever comes back misses nothing."""
        self.over = True
        self.last = max(self.last, 0) | 1
        words = (
            f"the stream broke off, and the response goes on: see {self._place}?stream=true&starting_after={self.last}"
        )
        return _error_event(words, "stream_broken") | {"sequence_number": self.last}

    @property
    def _place(self) -> str:
        return f"/v1/responses/{RESPONSE}{self._interaction_id}"

    def _standing(self, kind: str, number: int, status: InteractionStatus) -> Iterator[Event]:
        view = self._bare.model_copy(update={"status": status})
        yield from self._one({"type": kind, "response": response_of(view, self._echo)}, number)

    def _delta(self, delta: str, number: int) -> Iterator[Event]:
        item = message_item(self._interaction_id, None, "in_progress")
        if not self._shown or (self._begins_again and number == self._seen * STEP):
            self._shown = True
            yield from self._one(_at_item(item, 0, "added"), number + _ITEM_ADDED)
            part = {"type": "response.content_part.added", "part": text_part("")}
            yield from self._one(part | _in_item(item, content_index=0), number + _PART_ADDED)
        told = {"type": "response.output_text.delta", "delta": delta, "logprobs": []}
        yield from self._one(told | _in_item(item, content_index=0), number + _DELTA)

    def _end(self, view: InteractionView, number: int) -> Iterator[Event]:
        if not self._in_vain:
            if view.message:
                yield from self._text_done(view, view.message, number)
            for place, call in enumerate(view.tool_calls or ()):
                index = place + bool(view.message)
                yield from self._call(place, index, call, number + _CALLS + _PER_CALL * place)
        response = response_of(view, self._echo)
        kind = _FINAL.get(response["status"], "response.incomplete")
        yield from self._one({"type": kind, "response": response}, number + _END)
        self.over = True

    def _text_done(self, view: InteractionView, text: str, number: int) -> Iterator[Event]:
        item = message_item(self._interaction_id, text, item_status(view))
        done = {"type": "response.output_text.done", "text": text, "logprobs": []}
        yield from self._one(done | _in_item(item, content_index=0), number + _TEXT_DONE)
        part = {"type": "response.content_part.done", "part": text_part(text)}
        yield from self._one(part | _in_item(item, content_index=0), number + _PART_DONE)
        yield from self._one(_at_item(item, 0, "done"), number + _ITEM_DONE)

    def _call(self, place: int, index: int, call: ToolCall, number: int) -> Iterator[Event]:
        begun = call_item(self._interaction_id, place, call, "in_progress")
        whole = call_item(self._interaction_id, place, call)
        yield from self._one(_at_item(begun, index, "added"), number)
        arguments = {"type": "response.function_call_arguments.delta", "delta": whole["arguments"]}
        yield from self._one(arguments | _in_item(whole, index), number + 2)
        done = {"type": "response.function_call_arguments.done", "name": whole["name"], "arguments": whole["arguments"]}
        yield from self._one(done | _in_item(whole, index), number + 4)
        yield from self._one(_at_item(whole, index, "done"), number + 6)

    def _error(self) -> Event:
        words = (
            "what was said so far is no part of the reply any more, and the response goes on: "
            f"read it with GET {self._place}, or from its beginning with GET {self._place}?stream=true"
        )
        return _error_event(words, "reply_withdrawn")

    def _one(self, event: Event, number: int) -> Iterator[Event]:
        if number > self._after:
            self.last = number
            yield {"type": event["type"], "sequence_number": number} | event


def _at_item(item: dict[str, Any], index: int, what: str) -> Event:
    return {"type": f"response.output_item.{what}", "output_index": index, "item": item}


def _in_item(item: dict[str, Any], index: int = 0, **more: int) -> dict[str, Any]:
    return {"item_id": item["id"], "output_index": index, **more}


def _error_event(message: str, code: str) -> Event:
    """Return an error as the API's description has it, and within that as its clients raise it."""
    error = {"message": message, "type": "server_error", "code": code, "param": None}
    return {"type": "error", "code": code, "message": message, "param": None, "error": error}
