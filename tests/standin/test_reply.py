from typing import Any

import pytest

from standin.reply import compose, pieces, tokens


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def user(text: object) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


CHERRY = system("You are Cherry, a poet who loves rain.")


def test_the_answer_shows_persona_message_and_memory() -> None:
    messages = [CHERRY, user("Hello"), assistant("Hi"), user("How are you?"), assistant("Fine"), user("And now?")]

    assert compose("openai/gpt-4", messages) == (
        "Cherry here (a stand-in for openai/gpt-4 speaking). "
        'You said: "And now?". I remember 4 earlier messages. Before that you said: "How are you?".'
    )


def test_one_earlier_message_is_singular() -> None:
    assert "I remember 1 earlier message." in compose("m", [CHERRY, assistant("Welcome"), user("Thanks")])


def test_no_system_message_is_said_so() -> None:
    assert compose("m", [user("Hello")]).startswith("Nobody (no system message) here")


def test_a_system_message_without_a_name_is_said_so() -> None:
    assert compose("m", [system("Be brief."), user("Hello")]).startswith("Somebody (the system message gives no name)")


def test_a_name_may_have_several_words() -> None:
    assert compose("m", [system("You are Sophia Loren.\nBe wise."), user("Hi")]).startswith("Sophia Loren here")


def test_the_text_parts_of_a_message_are_joined() -> None:
    parts = [
        {"type": "text", "text": "Look "},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "here"},
    ]

    assert 'You said: "Look here".' in compose("m", [CHERRY, user(parts)])


def test_long_messages_are_cut_in_the_quotes() -> None:
    text = compose("m", [CHERRY, user("a" * 300), assistant("Hm"), user("b" * 300)])

    assert f'"{"b" * 200}…"' in text
    assert f'"{"a" * 80}…"' in text


def test_a_conversation_without_a_user_is_answered_all_the_same() -> None:
    assert "You said nothing. I remember 1 earlier message." in compose("m", [CHERRY, assistant("Hello?")])


ASKED = [CHERRY, user("Hello"), assistant("Hi"), user("And now?")]
GO_ON = user("Your answer broke off. Continue it exactly where it stopped, without repeating anything.")
WHOLE = compose("maker/one", ASKED)


@pytest.mark.parametrize("spoken", range(len(tokens(WHOLE))))
def test_another_model_goes_on_where_the_first_one_stopped(spoken: int) -> None:
    begun = "".join(tokens(WHOLE)[:spoken])
    rest = "".join(pieces("maker/two", [*ASKED, assistant(begun), GO_ON]))

    assert (begun + rest).replace("maker/two", "maker/one") == WHOLE


def test_an_answer_that_stopped_within_a_word_is_continued_within_it() -> None:
    begun = WHOLE[: WHOLE.index("remember") + 3]
    assert begun + "".join(pieces("maker/two", [*ASKED, assistant(begun), GO_ON])) == WHOLE


def test_what_a_continuation_left_open_is_continued_too() -> None:
    half = "".join(tokens(WHOLE)[:9])
    more = "".join(pieces("maker/two", [*ASKED, assistant(half), GO_ON])[:4])
    assert half + more + "".join(pieces("maker/three", [*ASKED, assistant(half + more), GO_ON])) == WHOLE


@pytest.mark.parametrize(
    "conversation",
    [
        [*ASKED, assistant(WHOLE), GO_ON],
        [*ASKED, assistant(WHOLE[:50]), user("And then?")],
        [*ASKED, assistant("Something else."), GO_ON],
        [*ASKED[:1], GO_ON],
        [GO_ON],
    ],
    ids=["a whole answer", "no request to go on", "somebody else's words", "no answer", "nothing before"],
)
def test_what_is_no_broken_answer_is_answered_as_a_turn_of_its_own(conversation: list[dict[str, Any]]) -> None:
    assert "".join(pieces("maker/two", conversation)) == compose("maker/two", conversation)


def test_tokens_put_together_are_the_text() -> None:
    text = compose("m", [CHERRY, user("line one\n\n  line two")])

    assert "".join(tokens(text)) == text
    assert len(tokens(text)) > 10
