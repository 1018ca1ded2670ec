from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.orchestrator.memory.chat_messages import (
    is_plain,
    text_of,
    text_of_all,
    tokens_of,
    with_answered_calls,
    with_known_results,
)


def calling(*ids: str, content: str | None = None) -> dict[str, Any]:
    calls = [{"id": one, "type": "function", "function": {"name": "f", "arguments": "{}"}} for one in ids]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def result(of: str, content: str = "done") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": of, "content": content}


HELLO = {"role": "user", "content": "Hello"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}

anything = st.lists(
    st.one_of(
        st.just(HELLO),
        st.just({"role": "assistant", "content": "Hi"}),
        st.builds(
            lambda ids, text: calling(*ids, content=text),
            st.sets(st.sampled_from("xyz"), min_size=1),
            st.sampled_from(["", "Hm"]),
        ),
        st.builds(result, st.sampled_from("xyz")),
    ),
    max_size=10,
)


def spoken(messages: list[dict[str, Any]]) -> list[str]:
    return [text_of(one) for one in messages if one["role"] != "tool" and text_of(one)]


@given(history=anything, new=anything)
def test_each_call_is_followed_by_its_results_and_each_result_follows_its_call(
    history: list[dict[str, Any]], new: list[dict[str, Any]]
) -> None:
    kept = with_answered_calls(history, new)
    together = [*kept, *new]
    waiting: set[str] = set()
    for message in together[: len(kept)]:
        if message["role"] == "tool":
            assert message["tool_call_id"] in waiting
            waiting.discard(message["tool_call_id"])
        else:
            assert not waiting
            waiting = {call["id"] for call in message.get("tool_calls") or ()}
    leading = set()
    for message in new:
        if message["role"] != "tool":
            break
        leading.add(message["tool_call_id"])
    assert waiting <= leading
    assert spoken(kept) == spoken(history)


@given(history=anything, new=anything.map(lambda messages: [one for one in messages if one["role"] != "assistant"]))
def test_what_is_sent_has_a_result_for_each_call_and_a_call_for_each_result(
    history: list[dict[str, Any]], new: list[dict[str, Any]]
) -> None:
    kept = with_answered_calls(history, new)
    sent = [*kept, *with_known_results(kept, new)]
    if sent[len(kept) :] == new and any(one["role"] == "tool" for one in new):
        return  # nothing but results of nothing: there is nothing better to send
    waiting: set[str] = set()
    for message in sent:
        if message["role"] == "tool":
            assert message["tool_call_id"] in waiting
            waiting.discard(message["tool_call_id"])
        else:
            assert not waiting
            waiting = {call["id"] for call in message.get("tool_calls") or ()}
    assert not waiting


def test_of_several_calls_those_with_a_result_stay() -> None:
    history = [HELLO, calling("x", "y")]
    assert with_answered_calls(history, [result("y")]) == [HELLO, calling("y")]
    assert with_known_results([HELLO, calling("y")], [result("z"), result("y"), HELLO]) == [result("y"), HELLO]
    assert with_known_results([HELLO], [result("z")]) == [result("z")]


def test_a_history_in_which_every_call_was_answered_stays_as_it_is() -> None:
    history = [HELLO, calling("x", "y"), result("x"), result("y"), calling("z", content="Hm"), result("z")]
    assert with_answered_calls(history, [HELLO]) == history


def test_results_that_come_again_count_once() -> None:
    assert with_answered_calls([HELLO, calling("x", "y"), result("x", "failed")], [result("x"), result("y")]) == [
        HELLO,
        calling("x", "y"),
    ]


def test_the_words_of_a_message_are_those_of_its_parts() -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "One"}, PICTURE, {"type": "text", "text": "Two"}]}
    assert text_of(message) == "One\nTwo"
    assert text_of_all([message, calling("x"), result("x"), HELLO]) == "One\nTwo\n\ndone\n\nHello"
    assert text_of({"role": "assistant", "content": None}) == ""


def test_a_picture_costs_no_more_for_its_bytes() -> None:
    with_picture = {"role": "user", "content": [{"type": "text", "text": "Hello"}, PICTURE]}
    assert tokens_of(HELLO) < tokens_of(with_picture) < 3000


def test_calls_of_tools_cost_something() -> None:
    assert tokens_of(calling("x", content="Hm")) > tokens_of({"role": "assistant", "content": "Hm"})


def test_plain_is_one_text_of_one_role_and_nothing_else() -> None:
    assert is_plain([HELLO], "user")
    assert not is_plain([HELLO], "assistant")
    assert not is_plain([HELLO, HELLO], "user")
    assert not is_plain([HELLO | {"name": "ada"}], "user")
    assert not is_plain([HELLO | {"content": [{"type": "text", "text": "Hello"}]}], "user")
