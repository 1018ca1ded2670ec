"""How a reply that grows, and sometimes begins again, is shown in a terminal."""

import re
from collections.abc import Callable
from typing import Any

_NOT_FOR_TERMINALS = re.compile(
    r"""
      (?:\x1b\[|\x9b) [0-?]* [ -/]* [@-~]?                         # colours, movements, …
    | (?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]) [^\x07\x1b\x9c\n]* (?:\x07|\x1b\\|\x9c)?  # titles, links, the clipboard, …
    | \x1b [ -/]* [0-~]?
    | [\x00-\x08\x0b-\x1f\x7f-\x9f]
    """,
    re.VERBOSE,
)


def clean(text: str) -> str:
    """Return text without what would command a terminal.

    An unfinished sequence is left out, too: a text that grows is never shown a part of one that is finished later.
    """
    return _NOT_FOR_TERMINALS.sub("", text)


def note_of(event: dict[str, Any]) -> str | None:
    """Return what a person who waits may like to know of an event, in one line, besides the text."""
    match event["type"]:
        case "interaction.queued":
            return "an earlier message of this session comes first"
        case "attempt.failed":
            return clean(f"{event['model']} failed: {event['error_type']}, {_what_follows(event)}")
    return None


def _what_follows(event: dict[str, Any]) -> str:
    if event["next"] == "give_up":
        return "giving up"
    wait = f"waiting {event['wait_ms'] / 1000:.1f} s" if event.get("wait_ms") else "asking again"
    return wait if event["next"] == "retry" else "asking the next model"


class GrowingText:
    """Shows a text that grows; also one that was forgotten and begins again, and only if it reads otherwise then."""

    def __init__(self, write: Callable[[str], None], note: Callable[[str], None]) -> None:
        """Begin with nothing.

        Args:
            write: Writes a piece of text where the last one ended.
            note: Writes a line that is no part of the text.
        """
        self._write = write
        self._note = note
        self._shown = ""
        self._mid_line = False

    def show(self, text: str) -> None:
        """Show what is new of the text so far."""
        text = clean(text)
        if self._shown.startswith(text):
            return  # it may become the same again
        if not text.startswith(self._shown):
            self.note("that was not the reply yet; again from the start:")
            self._shown = ""
        self._put(text[len(self._shown) :])
        self._shown = text

    def note(self, line: str) -> None:
        """Write a line between two pieces of the text."""
        self._end_line()
        self._note(line)

    def end(self, text: str) -> None:
        """Show the whole text, and end its line."""
        self.show(text)
        if text and self._shown != clean(text):
            self.note("that was too much; the reply is:")
            self._put(clean(text))
        self._end_line()

    def _put(self, piece: str) -> None:
        if piece:
            self._write(piece)
            self._mid_line = not piece.endswith("\n")

    def _end_line(self) -> None:
        if self._mid_line:
            self._put("\n")
