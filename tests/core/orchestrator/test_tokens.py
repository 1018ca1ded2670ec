from hypothesis import given
from hypothesis import strategies as st

from core.orchestrator.tokens import estimate_tokens


@given(st.text(alphabet=st.characters(codec=None)), st.text())
def test_more_text_is_never_fewer_tokens(text: str, more: str) -> None:
    assert 0 < estimate_tokens(text) <= estimate_tokens(text + more)


def test_four_letters_are_about_a_token() -> None:
    assert estimate_tokens("") == 4
    assert estimate_tokens("a" * 4000) == 1004


def test_other_scripts_are_not_underestimated() -> None:
    assert estimate_tokens("漢字" * 100) >= 150


def test_lone_surrogates_do_no_harm() -> None:
    assert estimate_tokens("\ud800") > 0
