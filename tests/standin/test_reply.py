from typing import Any

from standin.reply import compose, tokens


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


def test_tokens_put_together_are_the_text() -> None:
    text = compose("m", [CHERRY, user("line one\n\n  line two")])

    assert "".join(tokens(text)) == text
    assert len(tokens(text)) > 10
