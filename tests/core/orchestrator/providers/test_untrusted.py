import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.orchestrator.providers.untrusted import as_number, as_text, one_line, redact

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "text",
    [f"bad key {KEY}", f"Bearer{KEY}!", f"{KEY}{KEY}", f"cut: {KEY[:20]}", f"cut: {KEY[-12:]}", f"middle {KEY[9:20]}…"],
)
def test_no_identifying_part_of_a_key_survives(text: str) -> None:
    clean = redact(text, [KEY])
    assert "[redacted]" in clean
    assert not any(KEY[start : start + 8] in clean for start in range(len(KEY) - 7))


def test_what_is_no_secret_stays() -> None:
    assert redact(f"before {KEY} after", [KEY]) == "before [redacted] after"
    assert redact("nothing to hide", [KEY, ""]) == "nothing to hide"


def test_a_short_secret_is_redacted_as_a_whole() -> None:
    assert redact("the key is k1x, not k1", ["k1x"]) == "the key is [redacted], not k1"


def test_a_secret_is_redacted_in_any_case() -> None:
    key = "sk-proj-AbCdEfGhIjKl"
    for echoed in (key.lower(), key.upper(), key.swapcase(), key):
        assert redact(f"İ {echoed}: no", [key]) == "İ [redacted]: no"
    assert redact("the key is K1X", ["k1x"]) == "the key is [redacted]"


@given(before=st.text(), after=st.text(), start=st.integers(0, 30), length=st.integers(8, 41))
def test_a_part_of_a_key_is_found_in_any_surroundings(before: str, after: str, start: int, length: int) -> None:
    part = KEY[start : start + length]
    clean = redact(before + part + after, [KEY])
    assert not any(KEY[at : at + 8] in clean for at in range(len(KEY) - 7))


@given(text=st.text(), limit=st.integers(1, 50))
def test_one_line_is_printable_and_short(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert line.isprintable()
    assert len(line) <= limit


@pytest.mark.parametrize("value", [None, True, "x", "", [], {}, float("nan"), float("inf"), "1e999", 10**400])
def test_what_is_no_finite_number_is_none(value: object) -> None:
    assert as_number(value) is None


def test_halves_of_a_character_are_joined_and_a_lone_one_is_replaced() -> None:
    assert as_text("\ud83d\ude00\0 \ud83d") == "\U0001f600 \ufffd"
