import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.orchestrator.providers.redaction import Redactor
from tests.core.orchestrator.providers.conftest import KEY

REPETITIVE = "aabaabaaab"


def read(key: str, pieces: list[str]) -> str:
    text = Redactor(key).text()
    return "".join([*(text.add(piece) for piece in pieces), text.end()])


@given(st.lists(st.sampled_from([KEY, KEY[:9], KEY[9:], "s", "sk-", "word ", ""]), max_size=8))
def test_no_whole_key_survives_and_nothing_else_is_lost(pieces: list[str]) -> None:
    said = "".join(pieces)
    shown = read(KEY, [*pieces, "."])
    assert KEY not in shown
    assert shown == f"{said}.".replace(KEY, "[redacted]")


@given(st.text(alphabet="ab", max_size=40), st.integers(1, 7))
def test_a_key_that_repeats_itself_is_found_in_any_cut(said: str, width: int) -> None:
    pieces = [said[start : start + width] for start in range(0, len(said), width)]
    assert read(REPETITIVE, [*pieces, "."]) == f"{said}.".replace(REPETITIVE, "[redacted]")


def test_only_what_may_be_the_beginning_of_the_key_waits() -> None:
    text = Redactor(KEY).text()
    assert text.add("All is well: ask") == "All is well: a"
    assert text.add("ed and answered") == "sked and answered"
    assert text.add("It is sk-or") == "It is "
    assert text.add("chid") == "sk-orchid"
    assert text.end() == ""


@pytest.mark.parametrize("length", range(len(KEY)))
def test_the_end_shows_at_most_half_of_the_key(length: int) -> None:
    shown = read(KEY, [KEY[:length]])
    assert shown == (KEY[:length] if length <= len(KEY) / 2 else "[redacted]")


@pytest.mark.parametrize("placeholder", ["", "x", "none", "EMPTY", "ollama"])
def test_a_placeholder_is_no_secret(placeholder: str) -> None:
    said = f"ollama serves {placeholder}, none EMPTY x"
    assert read(placeholder, [said]) == said
    assert Redactor(placeholder).line(said) == said
    assert Redactor(placeholder).identity(said) == said


def test_an_id_that_holds_a_part_of_the_key_is_none() -> None:
    assert Redactor(KEY).identity(f"gen-{KEY[3:15]}") is None
    assert Redactor(KEY).identity("gen-1") == "gen-1"
    assert Redactor(KEY).identity("") is None
