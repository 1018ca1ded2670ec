"""Clients that send less than the whole conversation: only news, only its end, or news that they have sent before."""

from typing import Any

import pytest

from core.orchestrator.contracts import InteractionStatus, Message
from core.orchestrator.interactions.opening import Opened
from core.orchestrator.interactions.store import Ending
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.interactions.talking import Talk, session_of, talk


@pytest.fixture
def client(database: Database) -> Talk:
    return Talk(database)


async def cancel(client: Talk, opened: Opened, reply: str | None = None) -> None:
    await client.store.end(opened.request.interaction_id, Ending(InteractionStatus.CANCELLED, reply=reply))


# --- only news, by a client that has sent more before ---


async def test_a_lone_new_message_goes_on_where_its_client_has_sent_everything_before(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    await client.turn("u: One", "a: 1", "u: Two", reply="2")
    lone = await client.say("u: Only new")
    assert session_of(lone) == "c"
    assert await client.memory(lone) == talk("u: One", "a: 1", "u: Two", "a: 2")


async def test_a_lone_message_that_repeats_the_first_one_is_the_first_one_again(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    await client.turn("u: One", "a: 1", "u: Two", reply="2")
    again = await client.turn("u: One", reply="one")
    assert session_of(again) == "c~2"
    assert await client.transcript("c~2") == ["u: One", "a: one"]


async def test_a_greeting_with_the_first_message_is_no_habit_of_sending_everything(client: Talk) -> None:
    await client.turn("a: Welcome!", "u: My name is Ada", reply="Hi")
    await client.turn("u: My name is Ada", reply="So you said")
    on = await client.say("u: Who am I?")
    assert session_of(on) == "c"
    assert (await client.memory(on))[0] == talk("a: Welcome!")[0]


async def test_examples_that_come_with_each_request_are_no_habit_of_sending_everything(client: Talk) -> None:
    await client.turn("u: 1+1?", "a: 2", "u: 2+2?", reply="4")
    await client.turn("u: 1+1?", "a: 2", "u: 3+3?", reply="6")
    assert session_of(await client.say("u: 1+1?")) == "c"


# --- only news, and again what nobody has answered ---


async def test_news_that_are_said_again_after_a_failure_are_remembered_once(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    for _ in range(2):
        await client.fail(await client.say("u: Two"))
    third = await client.turn("u: Two ", reply="2")
    last = await client.say("u: Three")
    assert session_of(third) == session_of(last) == "c"
    assert await client.memory(last) == talk("u: One", "a: 1", "u: Two ", "a: 2")
    assert (await client.transcript()).count("u: Two") == 2


async def test_other_news_after_a_failure_leave_it_in_memory(client: Talk) -> None:
    await client.fail(await client.say("u: One"))
    await client.fail(await client.say("u: Two"))
    assert await client.memory(await client.say("u: One")) == talk("u: One", "u: Two")


async def test_news_that_were_answered_are_news_when_they_are_said_again(client: Talk) -> None:
    await client.turn("u: Go on", reply="1")
    assert await client.memory(await client.say("u: Go on")) == talk("u: Go on", "a: 1")


# --- only the end of the conversation ---


def window(lines: list[str], size: int) -> list[str]:
    return lines[-size:]


@pytest.mark.parametrize("size", [2, 3, 4, 5])
async def test_a_client_that_keeps_only_the_end_stays_in_one_conversation(client: Talk, size: int) -> None:
    lines: list[str] = []
    for number in range(6):
        lines.append(f"u: {number}")
        opened = await client.turn(*window(lines, size), reply=f"r{number}")
        assert session_of(opened) == "c"
        lines.append(f"a: r{number}")
    assert await client.transcript() == lines


async def test_the_end_of_a_conversation_is_found_over_turns_that_failed_and_in_its_branch(client: Talk) -> None:
    lines: list[str] = []
    for number in range(4):
        lines.append(f"u: {number}")
        await client.fail(await client.say(*lines))
        await client.turn(*lines, reply=f"r{number}")
        lines.append(f"a: r{number}")
    branch = session_of(await client.turn(*lines[:6], "u: Other", reply="o"))
    on = await client.say(*lines[2:6], "u: Other", "a: o", "u: On")
    assert session_of(on) == branch == "c~2"
    assert session_of(await client.say(*lines[-4:], "u: On")) == "c"


async def test_the_end_of_a_conversation_with_what_is_open_is_the_same_request(client: Talk) -> None:
    for number in range(3):
        await client.turn(f"u: {number}", reply=f"r{number}")
    first = await client.say("u: 2", "a: r2", "u: Now")
    again = await client.say("u: 2", "a: r2", "u: Now")
    assert (again.replayed, again.request) == (True, first.request)


async def test_what_only_looks_like_the_end_is_a_branch(client: Talk) -> None:
    for number in range(4):
        await client.turn(f"u: {number}", reply=f"r{number}")
    assert session_of(await client.say("u: 2", "a: r2", "u: 3", "a: by hand", "u: On")) == "c~2"
    assert session_of(await client.say("u: 1", "a: r1", "u: 2", "a: r2", "u: On")) == "c~3"


async def test_another_greeting_is_a_branch_and_not_the_end_of_the_old_one(client: Talk) -> None:
    rest = ["u: One", "a: 1", "u: Two", "a: 2"]
    await client.turn("a: Welcome!", *rest, "u: Three", reply="3")
    other = await client.say("a: Hello!", *rest, "u: Three", "a: 3", "u: Four")
    assert session_of(other) == "c~2"
    assert (await client.memory(other))[0] == talk("a: Hello!")[0]


# --- stopped before anything was heard ---


async def test_a_client_that_stopped_before_the_first_word_goes_on_in_the_same_conversation(client: Talk) -> None:
    await client.turn("u: Zero", reply="0")
    lines = ["u: Zero", "a: 0", "u: First"]
    first = await client.say(*lines)
    second = await client.say(*lines, "u: Second")
    assert (second.displaced, session_of(second)) == ([first.request.interaction_id], "c")
    assert await client.transcript() == ["u: Zero", "a: 0", "u: First", "u: Second"]
    again = await client.say(*lines, "u: Second")
    assert (again.replayed, again.request) == (True, second.request)
    await cancel(client, first, "Once upon")
    assert (await client.say(*lines, "u: Second")).request == second.request
    await client.answer(second, "2")
    third = await client.say(*lines, "u: Second", "a: 2", "u: Third")
    assert session_of(third) == "c"
    assert await client.memory(third) == talk(*lines, "u: Second", "a: 2")
    said = await client.store.said(second.request.interaction_id)
    assert said is not None
    assert list(said.messages) == talk("u: Second")


@pytest.mark.parametrize("resends", [None, True])
async def test_stopping_before_the_first_word_of_all_is_no_other_conversation(
    client: Talk, resends: bool | None
) -> None:
    first = await client.say("u: First", resends=resends)
    second = await client.say("u: First", "u: Second", resends=resends)
    assert (second.displaced, session_of(second)) == ([first.request.interaction_id], "c")
    await cancel(client, first)
    await client.answer(second, "2")
    third = await client.say("u: First", "u: Second", "a: 2", "u: Third", resends=resends)
    assert session_of(third) == "c"
    assert await client.memory(third) == talk("u: First", "u: Second", "a: 2")


async def test_an_empty_reply_to_what_was_cut_off_is_nothing_heard(client: Talk) -> None:
    first = await client.say("u: First")
    second = await client.say("u: First", "a: ", "u: Second")
    await cancel(client, first, "Once upon")
    await client.answer(second, "2")
    third = await client.say("u: First", "a: ", "u: Second", "a: 2", "u: Third")
    assert session_of(third) == "c"
    assert await client.memory(third) == talk("u: First", "u: Second", "a: 2")


# --- the same messages, and yet another request ---


@pytest.mark.parametrize(
    "other",
    [
        {"parameters": {"tool_choice": "required"}},
        {"instructions": [{"role": "system", "content": "Be brief."}]},
        {"asked": {"temperature": 0.1}},
        {"asked": {"max_tokens": 5}},
    ],
)
async def test_the_same_messages_with_other_wishes_are_another_request(client: Talk, other: dict[str, Any]) -> None:
    sent = ("u: One", "a: 1", "u: Two")
    plain = await client.say(*sent)
    wishing = await client.say(*sent, **other)
    assert not wishing.replayed
    assert session_of(wishing) == "c~2"
    assert (await client.say(*sent)).request == plain.request
    assert (await client.say(*sent, **other)).request == wishing.request


def picture(data: str, text: str = "") -> Message:
    parts = [{"type": "text", "text": text}] if text else []
    return {"role": "user", "content": [*parts, {"type": "image_url", "image_url": {"url": f"data:{data}"}}]}


@pytest.mark.parametrize("text", ["What is it?", ""])
async def test_an_edited_picture_begins_a_branch_and_one_that_is_left_out_does_not(client: Talk, text: str) -> None:
    await client.turn(picture("AAAA", text), reply="A cat")
    await client.turn(picture("AAAA", text), "a: A cat", "u: Sure?", reply="Yes")
    edited = await client.say(picture("BBBB", text), "a: A cat", "u: Sure?")
    assert session_of(edited) == "c~2"
    assert (await client.memory(edited))[0] == picture("BBBB", text)
    assert session_of(await client.say(f"u: {text}", "a: A cat", "u: Sure?", "a: Yes", "u: On")) == "c"


async def test_the_branch_that_was_asked_for_wins_over_its_equals(client: Talk) -> None:
    said = ("u: One", "a: 1")
    await client.turn(*said, "u: Two", reply="2")
    await client.turn(*said, "u: Two", reply="2")
    assert session_of(await client.turn(*said, "u: Two", "a: 2", "u: On", reply="on")) == "c"
    await client.turn(*said, "u: Two", "a: 2", "u: On", reply="on", session_id="c~2")
    named = await client.say(*said, "u: Two", "a: 2", "u: On", "a: on", "u: Further", session_id="c~2")
    assert session_of(named) == "c~2"


async def test_a_request_is_found_in_its_branch_though_what_the_branch_left_has_failed(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    left = await client.say("u: One", "a: 1", "u: Two")
    edited = await client.say("u: One", "a: 1", "u: Two, please")
    await client.fail(left)
    assert (await client.say("u: One", "a: 1", "u: Two, please")).request == edited.request
