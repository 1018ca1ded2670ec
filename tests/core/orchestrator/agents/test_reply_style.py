from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.orchestrator.agents.formatter import ConversationFormatter
from tests.core.orchestrator.agents.personas import persona


def styled(text: str, name: str = "Cherry", **reply: Any) -> str:
    return ConversationFormatter().format_reply(text, persona(name=name, reply=reply))


# Pieces that styling acts on, so that chance puts them beside and inside each other.
markup = ["*", "**", "***", "#", "# ", "> ", "---", "[", "](", ")", "`", "```", "\n", "\n\n", " ", "\t", "\x1c"]
pictures = ["😀", "👍🏽", "👩‍🚀", "1️⃣", "❤️", "\ufe0f", "\u20e3", "\u200d"]
words = ["Cherry:", "**Cherry:**", "— C", "C", "a", "word"]
pieces = st.sampled_from([*markup, *pictures, *words])
texts = st.one_of(st.text(), st.lists(pieces, max_size=30).map("".join))
styles = st.fixed_dictionaries(
    {
        "emoji": st.sampled_from(["keep", "remove"]),
        "strip_markdown": st.booleans(),
        "sign_off": st.sampled_from([None, "— C", "C", "**C** 😀", "word\n\nword", "> C", "Cherry: C", "`C`"]),
    }
)


@settings(deadline=None)
@given(texts, styles)
def test_styling_twice_gives_what_styling_once_gives(text: str, style: dict[str, Any]):
    once = styled(text, **style)
    assert styled(once, **style) == once


@settings(deadline=None)
@given(texts, styles)
def test_a_reply_with_something_in_it_never_becomes_empty(text: str, style: dict[str, Any]):
    assert bool(styled(text, **style).strip()) == bool(text.strip())


@settings(deadline=None)
@given(texts)
def test_without_markup_or_speaker_styling_only_trims(text: str):
    if "cherry" not in text.lower():
        assert styled(text).strip() == text.strip()


@pytest.mark.parametrize(
    "echo",
    ["Cherry: ", "cherry : ", "**Cherry:** ", "**Cherry**: ", "*Cherry*: ", "__Cherry:__\n", "Cherry: Cherry: "],
)
def test_the_speaker_in_front_is_removed(echo: str):
    assert styled(f"{echo}*waves* Hello") == "*waves* Hello"


@pytest.mark.parametrize("text", ["Cherry pie: yes", "Black Cherry: no", "Cherry", "Cherry:", "I am Cherry: hello"])
def test_the_name_stays_where_it_is_no_echo(text: str):
    assert styled(text) == text


def test_a_name_with_signs_of_its_own_is_taken_literally():
    assert styled("C-3PO (droid).*: Oh my", name="C-3PO (droid).*") == "Oh my"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Hi 😀 there", "Hi there"),
        ("😀 Hi!", "Hi!"),
        ("Hi 👍🏽!", "Hi!"),
        ("Hi 👩‍🚀🇫🇷 you", "Hi you"),
        ("One\n🎉 Two", "One\nTwo"),
        ("- 🍞 bread\n- 🥛 milk", "- bread\n- milk"),
        ("Step 1️⃣ now", "Step 1 now"),
        ("I ❤️ you", "I you"),
        ("a → b ✓ © ½", "a → b ✓ © ½"),
        ("می‌خواهم، क्‍ष", "می‌خواهم، क्‍ष"),
        ("`'😀'` stays", "`'😀'` stays"),
        ("😀", "😀"),
    ],
)
def test_emoji_are_removed_with_the_space_around_them(text: str, plain: str):
    assert styled(text, emoji="remove") == plain
    assert styled(text, emoji="keep") == text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("# Title\nText", "Title\nText"),
        ("> quoted\n> > twice", "quoted\ntwice"),
        ("> ## Both", "Both"),
        ("**bold** and *italic* and ***both***", "bold and italic and both"),
        ("**bold with *italic* inside**", "bold with italic inside"),
        ("[docs](https://example.org/a_b)", "docs (https://example.org/a_b)"),
        ("![cat](cat.png)", "cat (cat.png)"),
        ("One\n\n---\n\nTwo", "One\n\nTwo"),
        ("2*3*4 and 2 * 3 * 4 and 2**8**2", "2*3*4 and 2 * 3 * 4 and 2**8**2"),
        ("the __init__ method of C# or #1", "the __init__ method of C# or #1"),
        ("* a list\n* stays", "* a list\n* stays"),
        ("Use `**kwargs**` here", "Use `**kwargs**` here"),
        ("```python\n# not a *title*\n```", "```python\n# not a *title*\n```"),
        ("```\n# cut *off*", "```\n# cut *off*"),
        ("---", "---"),
    ],
)
def test_markdown_becomes_plain_text_outside_code(text: str, plain: str):
    assert styled(text, strip_markdown=True) == plain
    assert styled(text) == text


def test_the_sign_off_closes_the_reply_once():
    assert styled("Done.", sign_off="— Karen") == "Done.\n\n— Karen"
    assert styled("Done.\n— Karen", sign_off="— Karen") == "Done.\n\n— Karen"
    assert styled("Done.\n\n— Karen\n\n— Karen\n", sign_off="— Karen") == "Done.\n\n— Karen"
    assert styled("— Karen", sign_off="— Karen") == "— Karen"


def test_a_word_that_ends_like_the_sign_off_stays_whole():
    assert styled("Good design", sign_off="sign") == "Good design\n\nsign"


def test_the_sign_off_itself_is_not_styled():
    assert styled("Bye 😀", emoji="remove", strip_markdown=True, sign_off="**C** 😀") == "Bye\n\n**C** 😀"


def test_nothing_stays_nothing():
    assert styled("", sign_off="— C") == ""
    assert styled(" \n", sign_off="— C") == " \n"


@pytest.mark.parametrize(
    "noise",
    [
        "Cherry: ",
        "[",
        "[a](",
        "**a ",
        "*a",
        "> # ",
        " ",
        "\n",
        "\n ",
        "😀",
        "😀 ",
        "`",
        "```",
        "\n— C",
        "-",
    ],
)
def test_a_model_that_repeats_itself_is_styled_in_no_time(noise: str):
    text = "a" + noise * 30_000 + "a"
    started = perf_counter()
    once = styled(text, emoji="remove", strip_markdown=True, sign_off="— C")
    assert perf_counter() - started < 5
    assert styled(once, emoji="remove", strip_markdown=True, sign_off="— C") == once


@pytest.mark.parametrize(("opening", "closing"), [("[", "](u)"), ("*a **b ", " b** a*")])
def test_marks_nested_beyond_reason_stay_as_they_are(opening: str, closing: str):
    noise = opening * 5_000 + "word" + closing * 5_000
    assert styled(noise, strip_markdown=True, sign_off="— C") == f"{noise}\n\n— C"
