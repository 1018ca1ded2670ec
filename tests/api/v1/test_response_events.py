"""The events of a response, for readers that come, are cut off, and come back at any event."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from uuid6 import uuid7

from api.v1.response_events import Event, ResponseEvents
from core.orchestrator.contracts import InteractionError, InteractionStatus, InteractionView
from core.orchestrator.errors import ErrorType
from core.orchestrator.replies.log import NUMBERS_LEFT_FREE, LoggedEvent
from tests.api.v1.response_types import as_event, as_response

INTERACTION_ID = str(uuid7())
TIMEOUT = InteractionError(type=ErrorType.TIMEOUT, detail="too slow")
TEXTS = st.lists(st.sampled_from(["Hel", "lo", " there", "…"]), max_size=4)
CALLS = st.lists(st.sampled_from(["weather", "time"]), max_size=3)
OPENING = ["response.created", "response.in_progress"]
ITEM = ["response.output_item.added", "response.content_part.added"]
DELTA = "response.output_text.delta"
ITEM_DONE = ["response.output_text.done", "response.content_part.done", "response.output_item.done"]


def _call(name: str, number: int) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": '{"a":1}'}}


def _view(message: str | None, calls: list[str], status: InteractionStatus) -> InteractionView:
    return InteractionView(
        interaction_id=INTERACTION_ID,
        workflow_id="w",
        persona_id="cherry",
        status=status,
        message=message,
        tool_calls=[_call(name, number) for number, name in enumerate(calls)] or None,
        error=TIMEOUT if status is InteractionStatus.FAILED else None,
    )


class Log:
    """The events of an interaction, as they are logged."""

    def __init__(self, segments: list[list[str]], view: InteractionView) -> None:
        """Say the segments, the earlier ones in vain, and end as `view` says."""
        kinds: list[tuple[str, dict[str, Any]]] = [("interaction.created", {}), ("interaction.in_progress", {})]
        for number, segment in enumerate(segments):
            kinds += [("text.reset", {"attempt": number})] if number else []
            kinds += [("attempt.started", {}), *(("text.delta", {"delta": piece}) for piece in segment)]
        self.view = view
        self.events = [
            LoggedEvent(sequence_number=number, type=kind, data=data) for number, (kind, data) in enumerate(kinds, 1)
        ]
        self._end = len(kinds) + NUMBERS_LEFT_FREE + 1
        self.events.append(self._event(self._end, f"interaction.{view.status}", {"response": view.model_dump()}))

    @property
    def going_on(self) -> InteractionView:
        """How it stands before its end."""
        return self.view.model_copy(update={"status": InteractionStatus.IN_PROGRESS})

    def trimmed(self) -> list[LoggedEvent]:
        """What a reader finds when the log is gone."""
        whole = [self._event(self._end - 1, "text.delta", {"delta": self.view.message})] if self.view.message else []
        return [self._event(self._end - 2, "text.reset", {}), *whole, self.events[-1]]

    @staticmethod
    def _event(number: int, kind: str, data: dict[str, Any]) -> LoggedEvent:
        return LoggedEvent(sequence_number=number, type=kind, data=data)


def told(
    logged: list[LoggedEvent], view: InteractionView, after: int | None = None, echo: dict[str, Any] | None = None
) -> list[Event]:
    """What a reader is told that comes back after an event."""
    events = ResponseEvents(view, echo or {"model": "cherry"}, after)
    resets = [event.sequence_number for event in logged if event.type == "text.reset"]
    logged_after = max(resets, default=0) if events.is_new else events.logged_after
    found = list(events.begin())
    for event in logged:
        if event.sequence_number > logged_after and not events.over:
            found += events.tell(event)
    return found


def kinds_of(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def text_of(events: list[Event]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == DELTA)


@st.composite
def logs(draw: st.DrawFn, *, may_restart: bool) -> Log:
    segments = draw(st.lists(TEXTS, min_size=1, max_size=3 if may_restart else 1))
    status = draw(st.sampled_from([InteractionStatus.COMPLETED, InteractionStatus.INCOMPLETE]))
    calls = draw(CALLS) if status is InteractionStatus.COMPLETED else []
    return Log(segments, _view("".join(segments[-1]), calls, status))


def test_the_order_is_openais() -> None:
    view = _view("Hello", ["weather", "time"], InteractionStatus.COMPLETED)
    events = told(Log([["Hel", "lo"]], view).events, view)
    call = [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    assert kinds_of(events) == [*OPENING, *ITEM, DELTA, DELTA, *ITEM_DONE, *call, *call, "response.completed"]
    assert text_of(events) == "Hello"
    done = as_response(events[-1]["response"])
    assert done.output_text == "Hello"
    ids = [event["item"]["id"] for event in events if event["type"] == "response.output_item.done"]
    assert ids == [item.id for item in done.output]
    indexes = [event["output_index"] for event in events if event["type"] == "response.output_item.added"]
    assert indexes == [0, 1, 2]


@given(logs(may_restart=True))
def test_every_event_is_one_of_openais_with_a_larger_number_than_the_one_before(log: Log) -> None:
    events = told(log.events, log.view)
    for event in events:
        as_event(event)
    assert all(one["sequence_number"] < other["sequence_number"] for one, other in pairwise(events))
    assert events[-1]["sequence_number"] < 2**31


@given(logs(may_restart=True))
def test_a_stream_cut_anywhere_goes_on_without_a_gap_or_a_repetition(log: Log) -> None:
    whole = told(log.events, log.view)
    for cut, event in enumerate(whole, 1):
        assert whole[:cut] + told(log.events, log.view, event["sequence_number"]) == whole
        behind = event["sequence_number"] | 1  # the error of a stream that broke off there
        assert whole[:cut] + told(log.events, log.view, behind) == whole


@given(logs(may_restart=True))
def test_a_reader_who_comes_when_all_is_said_is_shown_the_reply_alone(log: Log) -> None:
    for logged in (log.events, log.trimmed()):
        events = told(logged, log.view)
        assert text_of(events) == log.view.message
        assert "error" not in kinds_of(events)


@given(logs(may_restart=True), st.data())
def test_whoever_reads_while_it_grows_ends_with_the_reply_or_is_told_that_it_is_another(
    log: Log, data: st.DataObject
) -> None:
    seen: list[Event] = []
    reached = 0
    while reached < len(log.events) and not (seen and seen[-1]["type"] == "error"):
        reached = data.draw(st.integers(reached + 1, len(log.events)))
        after = seen[-1]["sequence_number"] if seen else None
        fresh = told(log.events[:reached], log.view if reached == len(log.events) else log.going_on, after)
        seen += fresh[: data.draw(st.integers(0, len(fresh)))] if reached < len(log.events) else fresh
    kinds = kinds_of(seen)
    assert all(one["sequence_number"] < other["sequence_number"] for one, other in pairwise(seen))
    assert kinds.count("response.content_part.added") <= 1
    if kinds[-1] == "error":
        [end] = told(log.events, log.view, seen[-1]["sequence_number"])
        assert as_response(end["response"]).output_text == log.view.message
        assert told(log.events, log.view, end["sequence_number"]) == []
    else:
        assert text_of(seen) == log.view.message or ITEM_DONE[0] not in kinds  # then the end says it
        assert as_response(seen[-1]["response"]).output_text == log.view.message
        assert kinds[-1] in ("response.completed", "response.incomplete")


@given(logs(may_restart=False))
def test_when_the_log_is_gone_a_reader_amid_the_text_gets_the_whole_response_next(log: Log) -> None:
    whole = told(log.events, log.view)
    for cut, event in enumerate(whole, 1):
        rest = told(log.trimmed(), log.view, event["sequence_number"])
        assert "error" not in kinds_of(rest)
        if not text_of(whole[:cut]):
            assert text_of(rest) in ("", log.view.message)
        elif len(rest) > 1:
            assert whole[:cut] + rest == whole
        assert rest[-1:] == whole[-1:] or cut == len(whole)


def test_text_that_was_shown_is_not_shown_again_otherwise() -> None:
    view = _view("Good day", [], InteractionStatus.COMPLETED)
    log = Log([["Hel", "lo"], ["Good day"]], view)
    live = told([event for event in log.events if event.sequence_number < 6], log.going_on)
    assert text_of(live) == "Hello"
    rest = told(log.events[:-1], log.going_on, live[-1]["sequence_number"])
    assert kinds_of(rest) == ["error"]
    assert rest[0]["error"]["code"] == rest[0]["code"] == "reply_withdrawn"
    assert f"GET /v1/responses/resp_{INTERACTION_ID}" in rest[0]["message"]
    once_over = told(log.events, view, live[-1]["sequence_number"])
    assert kinds_of(once_over) == ["response.completed"]
    assert as_response(once_over[0]["response"]).output_text == "Good day"


def test_a_failure_is_told_as_it_is_where_nothing_was_shown() -> None:
    view = _view(None, [], InteractionStatus.FAILED)
    events = told(Log([[]], view).events, view)
    assert kinds_of(events) == [*OPENING, "response.failed"]
    failed = as_response(events[-1]["response"])
    assert failed.error is not None
    assert (failed.status, failed.error.code, failed.error.message) == ("failed", "server_error", "too slow")


def test_a_cancelled_response_ends_its_stream_and_says_so() -> None:
    view = _view("Hel", [], InteractionStatus.CANCELLED)
    events = told(Log([["Hel"]], view).events, view)
    assert kinds_of(events)[-1] == "response.incomplete"
    assert as_response(events[-1]["response"]).status == "cancelled"


def test_one_in_the_background_is_queued_first() -> None:
    view = _view("Hello", [], InteractionStatus.COMPLETED)
    events = told(Log([["Hello"]], view).events, view, echo={"model": "cherry", "background": True})
    assert kinds_of(events)[:3] == ["response.created", "response.queued", "response.in_progress"]
    assert [event["response"]["status"] for event in events[:3]] == ["queued", "queued", "in_progress"]


def test_while_it_waits_in_line_it_is_not_in_progress() -> None:
    view = _view("Hello", [], InteractionStatus.QUEUED)
    waiting = LoggedEvent(sequence_number=2, type="interaction.queued", data={"waiting_on": "x"})
    log = [*Log([[]], view).events[:1], waiting]
    assert kinds_of(told(log, view)) == ["response.created"]


def test_a_stream_that_breaks_off_says_where_it_goes_on() -> None:
    view = _view("Hello", [], InteractionStatus.COMPLETED)
    log = Log([["Hel", "lo"]], view)
    events = ResponseEvents(view, {})
    seen = [*events.begin(), *(told for event in log.events[:4] for told in events.tell(event))]
    error = events.broken()
    as_event(error)
    assert seen[-1]["sequence_number"] < error["sequence_number"]
    assert f"?stream=true&starting_after={error['sequence_number']}" in error["message"]
    rest = told(log.events, view, error["sequence_number"])
    assert text_of([*seen, *rest]) == "Hello"
