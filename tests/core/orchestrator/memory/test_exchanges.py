"""What reads the same is the same, and nothing that anybody sends or has stored makes comparing fail."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.orchestrator.memory.chat_messages import text_of, tokens_of, with_answered_calls, with_known_results
from core.orchestrator.memory.exchanges import Exchange, Reply, ask_the_same, read_alike, reply_of
from tests.core.orchestrator.interactions.talking import talk


def reply(text: str) -> Reply:
    return reply_of(talk(f"a: {text}"))


@given(st.lists(st.sampled_from(["one", "two", " ", "\n", "\r\n", "\t"]), max_size=8), st.integers(0, 20))
def test_a_part_of_a_text_is_a_part_however_its_lines_are_broken(pieces: list[str], length: int) -> None:
    whole = "".join(pieces)
    part = reply_of([{"role": "assistant", "content": whole[:length].replace("\n", "\r\n")}])
    assert part == reply("") or part.begins(reply(whole))
    assert reply(whole) == reply(whole.replace("\r\n", "\n").replace(" ", "\n\n "))
    assert ask_the_same(talk(f"u: {whole}"), talk(f"u: {' '.join(whole.split())}"))


def test_words_that_are_joined_are_others() -> None:
    assert reply("one two") != reply("onetwo")
    assert not ask_the_same(talk("u: one two"), talk("u: onetwo"))
    assert not ask_the_same(talk("u: one", "u: two"), talk("u: one two"))
    assert read_alike("one\r\n two ", "one two")


GARBAGE: list[Any] = [
    ["1"],
    "calls",
    7,
    {"id": "1"},
    [None],
    [{"id": ["1"], "function": {"name": "f", "arguments": "{}"}}],
    [{"id": {"a": 1}, "function": {"name": "f", "arguments": "{}"}}],
    [{"id": 1, "function": {"name": "f", "arguments": "{}"}}],
    [{"id": "1", "function": "f"}],
    [{"id": "1", "function": ["f"]}],
    [{"id": "1", "function": {"name": ["f"], "arguments": ["x"]}}],
]


@pytest.mark.parametrize("calls", GARBAGE)
@pytest.mark.parametrize("answered", ["1", ["1"], {"a": 1}, None])
def test_calls_that_are_none_are_told_to_nobody_and_stand_in_nobodys_way(calls: Any, answered: Any) -> None:
    called = {"role": "assistant", "content": "Hm", "tool_calls": calls}
    result = {"role": "tool", "tool_call_id": answered, "content": "done"}
    asked = talk("u: Hello")
    assert reply_of([called]) == reply_of([called])
    assert Exchange(asked, [called]).reply.text == "Hm"
    assert tokens_of(called) > 0
    assert with_answered_calls([*asked, called, result, *asked], [result]) == talk("u: Hello", "a: Hm", "u: Hello")
    assert with_known_results(with_answered_calls([*asked, called], [result, *asked]), [result, *asked]) == asked


def test_arguments_that_are_too_deep_to_be_read_are_compared_as_they_are() -> None:
    def deep(opening: str) -> Reply:
        function = {"name": "f", "arguments": opening * 100_000}
        return reply_of([{"role": "assistant", "tool_calls": [{"id": "1", "function": function}]}])

    assert deep("[") == deep("[") != deep('{"a":')


@pytest.mark.parametrize("content", [7, {"a": 1}, ["text"], [None], [{"type": "text", "text": 7}]])
def test_contents_that_are_none_say_nothing(content: Any) -> None:
    message = {"role": "user", "content": content}
    assert text_of(message) == ""
    assert tokens_of(message) >= 0
    assert ask_the_same([message], [message])
