"""Any sequence of connections that leaves nothing out gives the same reply."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.orchestrator.examples.reply_reducer import Reply
from tests.core.orchestrator.examples.service import INTERACTION_ID, numbered, told

PIECES = st.lists(st.none() | st.text(min_size=1), max_size=20)


CONNECTIONS = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), max_size=10)
"""How many events each one repeats, and how many it brings before it breaks."""


@given(pieces=PIECES, connections=CONNECTIONS)
def test_any_cuts_and_repeats_give_the_whole_reply_once(
    pieces: list[str | None], connections: list[tuple[int, int]]
) -> None:
    events = told(*pieces)
    reply = Reply()
    new: list[dict[str, Any]] = []
    for repeated, brought in [*connections, (0, len(events))]:
        start = max(0, len(new) - repeated)
        new += [event for event in events[start : start + brought] if reply.add(event)]
    assert new == events
    assert reply.response == events[-1]["response"]
    assert reply.text == events[-1]["response"]["message"]


def test_a_break_is_followed_by_what_comes_after_the_last_number() -> None:
    events = told("Hello", " there")
    reply = Reply()
    for event in events[:2]:
        reply.add(event)
    assert (reply.interaction_id, reply.last_number, reply.text) == (INTERACTION_ID, 2, "Hello")
    assert reply.response is None


def test_numbers_need_not_be_without_gaps() -> None:
    reply = Reply()
    assert reply.add({**told("Hello")[1], "sequence_number": 70})
    assert not reply.add({**told("Hello")[1], "sequence_number": 69})
    assert reply.text == "Hello"


def test_events_of_unknown_types_change_nothing() -> None:
    reply = Reply()
    (event,) = numbered({"type": "tool.called", "delta": "not a text"})
    assert reply.add(event)
    assert (reply.text, reply.response) == ("", None)
