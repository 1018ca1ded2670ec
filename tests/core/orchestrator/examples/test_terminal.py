"""What a terminal is shown, and what it must not be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.orchestrator.examples.terminal import GrowingText, clean, note_of

HOSTILE = st.text(st.sampled_from("\x1b\x9b\x9d\x9c\x07\\[]0;31mPX^_(\n\r\té \u202ea"))


@given(text=HOSTILE, cut=st.integers(0, 40))
def test_what_was_shown_of_a_growing_text_never_has_to_be_taken_back(text: str, cut: int) -> None:
    assert clean(text).startswith(clean(text[:cut]))


@given(text=st.text() | HOSTILE)
def test_nothing_that_commands_a_terminal_is_left(text: str) -> None:
    shown = clean(text)
    assert not {character for character in shown if ord(character) < 32 or 127 <= ord(character) < 160} - {"\n", "\t"}
    assert clean(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with [brackets] and\na tab\t.", "plain, with [brackets] and\na tab\t."),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bcreset", "reset"),
        ("back\x08\x08 and bell\x07\r\n", "back and bell\n"),
    ],
)
def test_sequences_go_and_the_text_stays(text: str, shown: str) -> None:
    assert clean(text) == shown


class _Paper:
    """Notes and text as they stand on the screen."""

    def __init__(self) -> None:
        self.text = ""
        self.screen = GrowingText(self._write, lambda line: self._write(f"<{line}>\n"))

    def _write(self, piece: str) -> None:
        self.text += piece


def test_a_text_that_grows_is_written_once() -> None:
    paper = _Paper()
    for text in ("", "Hel", "Hello", "Hello\x1b[", "Hello\x1b[31m you"):
        paper.screen.show(text)
    paper.screen.end("Hello\x1b[31m you")
    assert paper.text == "Hello you\n"


def test_a_text_that_reads_otherwise_begins_on_a_new_line() -> None:
    paper = _Paper()
    for text in ("One two", "", "Three", "Three four"):
        paper.screen.show(text)
    paper.screen.end("Three four")
    assert paper.text == "One two\n<that was not the reply yet; again from the start:>\nThree four\n"


def test_a_text_that_begins_again_with_the_same_words_just_goes_on() -> None:
    paper = _Paper()
    for text in ("One two", "", "One", "One two three"):
        paper.screen.show(text)
    paper.screen.end("One two three")
    assert paper.text == "One two three\n"


def test_a_note_has_a_line_of_its_own() -> None:
    paper = _Paper()
    paper.screen.show("One")
    paper.screen.note("something failed")
    paper.screen.show("One two")
    paper.screen.end("One two")
    assert paper.text == "One\n<something failed>\n two\n"


def test_a_text_that_ends_earlier_than_shown_is_corrected() -> None:
    paper = _Paper()
    paper.screen.show("One two")
    paper.screen.end("One")
    assert paper.text == "One two\n<that was too much; the reply is:>\nOne\n"


@pytest.mark.parametrize(
    ("then", "wait_ms", "note"),
    [
        ("retry", 500, "openai/gpt-4 failed: rate_limit, waiting 0.5 s"),
        ("retry", None, "openai/gpt-4 failed: rate_limit, asking again"),
        ("next_model", None, "openai/gpt-4 failed: rate_limit, asking the next model"),
        ("give_up", None, "openai/gpt-4 failed: rate_limit, giving up"),
    ],
)
def test_a_failed_attempt_is_told_in_a_line(then: str, wait_ms: int | None, note: str) -> None:
    event = {"type": "attempt.failed", "model": "openai/gpt-4", "error_type": "rate_limit", "next": then}
    assert note_of({**event, "wait_ms": wait_ms}) == note
