import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
KEY = "sk-or-v1-0123456789abcdef"
PREAMBLE = f"""
import logging
from core.orchestrator.logs import configure_logging, log_events
KEY = {KEY!r}
logger = logging.getLogger("orchestrator.test")
"""
LEAKS = """
class Holder:
    def __repr__(self):
        return f"<holder of {KEY}>"

logger.warning("message %s", KEY)
logger.warning("extra", extra={"key": KEY, "nested": {"list": [KEY]}, "holder": Holder(), "raw": KEY.encode()})
logger.warning("both ends: %s%s", KEY, KEY)

def fail(argument):
    try:
        raise KeyError(f"the cause holds {argument}")
    except KeyError as error:
        raise ValueError(f"bad key {argument}") from error

try:
    fail(KEY)
except ValueError:
    logger.exception("failed")
logger.warning("the last line")
"""


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", PREAMBLE + code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "", "standard output belongs to the commands"
    return done.stderr


def records(code: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(code).splitlines()]


def run_in_terminal(code: str) -> str:
    with terminal() as (ours, theirs):
        process = subprocess.Popen([sys.executable, "-c", PREAMBLE + code], cwd=ROOT, stderr=theirs)
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # how a pseudo-terminal says that nobody holds the other end any more
            pass
        assert process.wait(30) == 0
    return shown.decode()


def test_a_record_is_one_json_object_a_line_with_its_extras() -> None:
    [record] = records('configure_logging("info"); logger.info("two\\nlines %d", 7, extra={"count": 3, "who": None})')
    assert record.pop("timestamp").endswith("Z")
    assert record == {
        "event": "two\nlines 7",
        "level": "info",
        "logger": "orchestrator.test",
        "count": 3,
        "who": None,
    }


def test_the_level_decides_what_is_shown() -> None:
    code = """
for level in ("debug", "info", "warning", "error"):
    configure_logging(level)
    for say in (logger.debug, logger.info, logger.warning, logger.error):
        say(level)
"""
    shown = [record["event"] for record in records(code)]
    assert {level: shown.count(level) for level in shown} == {"debug": 4, "info": 3, "warning": 2, "error": 1}


def test_libraries_that_chatter_are_quiet_even_at_debug() -> None:
    code = (
        'configure_logging("debug")\n'
        'for name in ("httpx", "alembic", "asyncio", "uvicorn.access"):\n'
        '    logging.getLogger(name).info("x"); logging.getLogger(name).warning("y")'
    )
    assert [record["event"] for record in records(code)] == ["y"] * 4


def test_configuring_twice_shows_nothing_twice() -> None:
    assert len(records('configure_logging("info"); configure_logging("info"); logger.info("x")')) == 1


def test_a_secret_is_nowhere_in_a_record() -> None:
    said = run(f"configure_logging('info', [KEY])\n{LEAKS}")
    assert KEY not in said
    message, extra, both, failed, last = [json.loads(line) for line in said.splitlines()]
    assert message["event"] == "message [redacted]"
    assert both["event"] == "both ends: [redacted][redacted]"
    assert extra["key"] == "[redacted]"
    assert "ValueError: bad key [redacted]" in failed["exception"]
    assert "the cause holds [redacted]" in failed["exception"]
    assert last["event"] == "the last line"


def test_a_secret_is_nowhere_in_a_terminal() -> None:
    said = run_in_terminal(f"configure_logging('info', [KEY])\n{LEAKS}")
    assert KEY not in said
    assert "[redacted]" in said
    assert "ValueError" in said
    assert "the last line" in said


def test_a_secret_with_quotes_and_backslashes_is_found_inside_a_structure() -> None:
    code = """
secret = "sk-a'b\\\\c\\"d"
configure_logging("info", [secret])
logger.info("x", extra={"nested": {"secret": secret}, "listed": [secret], "plain": secret})
"""
    [record] = records(code)
    assert record["nested"] == {"secret": "[redacted]"}
    assert record["listed"] == ["[redacted]"]
    assert record["plain"] == "[redacted]"


def test_the_longer_of_two_secrets_is_redacted_whole() -> None:
    code = 'configure_logging("info", ["secret-one", "secret-one-and-more"]); logger.info("a secret-one-and-more b")'
    assert records(code)[0]["event"] == "a [redacted] b"


def test_a_word_that_stands_in_for_a_key_is_no_secret() -> None:
    assert (
        records('configure_logging("info", ["", "none", "ollama"]); logger.info("ask ollama")')[0]["event"]
        == "ask ollama"
    )


def test_what_cannot_be_written_as_json_is_written_all_the_same() -> None:
    code = 'configure_logging("info"); logger.info("x\\ud800", extra={"odd": object(), "set": {1}, "path": b"\\xff"})'
    [record] = records(code)
    assert record["odd"].startswith("<object")


def test_every_event_is_a_line_and_troubles_are_warnings_but_no_words_are_logged() -> None:
    code = """
from core.orchestrator.contracts import InteractionStatus, InteractionView
from core.orchestrator.errors import ErrorType
from core.orchestrator.events import AttemptFailed, AttemptStarted, EventBus, InteractionCompleted, TextDelta
configure_logging("info")
bus = EventBus()
log_events(bus)
bus.publish(AttemptStarted(interaction_id="i", attempt=1, model="m"))
bus.publish(AttemptFailed(interaction_id="i", attempt=1, model="m", error_type=ErrorType.TIMEOUT, next="retry"))
bus.publish(TextDelta(interaction_id="i", attempt=1, delta="private words"))
view = InteractionView(
    interaction_id="i", workflow_id="w", status=InteractionStatus.COMPLETED, message="private words", model="m"
)
bus.publish(InteractionCompleted(interaction_id="i", response=view))
"""
    said = records(code)
    assert [(record["event"], record["level"], record["interaction_id"]) for record in said] == [
        ("attempt.started", "info", "i"),
        ("attempt.failed", "warning", "i"),
        ("interaction.completed", "info", "i"),
    ]
    assert said[1]["error_type"] == "timeout"
    assert said[2]["model"] == "m"
    assert "private words" not in json.dumps(said)
