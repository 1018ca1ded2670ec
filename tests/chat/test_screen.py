"""What the chat says of a reply that has ended."""

import io
from typing import Any

import pytest
from rich.console import Console

from chat.screen import Screen, ending_of, facts_of
from tests.core.orchestrator.examples.service import USAGE, response

UNKNOWN = dict.fromkeys(USAGE)
TIMEOUT = {"type": "timeout", "detail": "nothing came"}


def test_what_a_reply_took_is_one_line() -> None:
    assert facts_of(response("Hello")) == "openai/gpt-4 · 7 + 5 tokens · 0.250000 USD · 1.2 s"


def test_what_is_unknown_is_no_zero() -> None:
    facts = facts_of(response("Hello", model=None, usage=UNKNOWN, response_time_ms=None))
    assert facts == "no model · tokens unknown · cost unknown"


@pytest.mark.parametrize(
    ("fields", "ending"),
    [
        ({}, None),
        ({"status": "cancelled"}, "cancelled"),
        ({"status": "incomplete", "error": TIMEOUT}, "incomplete: timeout: nothing came"),
        ({"status": "failed", "error": TIMEOUT}, "failed: timeout: nothing came"),
        ({"status": "failed", "degraded": True, "error": TIMEOUT}, "no model answered: timeout: nothing came"),
    ],
)
def test_a_reply_that_is_not_whole_is_marked(fields: dict[str, Any], ending: str | None) -> None:
    assert ending_of(response("Hello", **fields)) == ending


def test_nothing_that_comes_from_outside_is_markup_or_a_command() -> None:
    paper = io.StringIO()
    screen = Screen(Console(file=paper, force_terminal=True, width=200, color_system=None))
    hostile = "[red]x[/red] :smile: \x1b]0;owned\x07"
    screen.greet({"name": hostile, "description": hostile, "greeting": hostile})
    screen.personas([{"id": hostile, "name": hostile, "description": hostile}])
    screen.mark(hostile)
    screen.reply(hostile).end(hostile)
    assert paper.getvalue().count("[red]x[/red] :smile: ") == 9
    assert "owned" not in paper.getvalue()
