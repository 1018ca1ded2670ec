"""`previous_response_id`: a turn that follows a reply, whether that had a session or not."""

import asyncio

import pytest

from core.orchestrator.contracts import CompletionRequest, InteractionStatus
from core.orchestrator.errors import SessionBusyError, UnknownResourceError
from core.orchestrator.interactions.opening import Opened
from core.orchestrator.interactions.store import Ending
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.domain import ANY_BUDGET, PROMPT, new_id
from tests.core.orchestrator.interactions.talking import Talk, session_of, talk


@pytest.fixture
def client(database: Database) -> Talk:
    return Talk(database)


def after(opened: Opened) -> dict[str, str | None]:
    return {"answers": opened.request.interaction_id, "session_id": None}


async def test_what_follows_the_last_reply_of_a_session_goes_on_in_it(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    last = await client.turn("u: Two", reply="2")
    next_ = await client.say("u: Three", **after(last))
    assert session_of(next_) == "c"
    assert await client.memory(next_) == talk("u: One", "a: 1", "u: Two", "a: 2")


async def test_what_follows_an_earlier_reply_is_a_branch(client: Talk) -> None:
    first = await client.turn("u: One", reply="1")
    await client.turn("u: Two", reply="2")
    branches = [await client.turn(f"u: {text}", reply="o", **after(first)) for text in ("Other", "Another")]
    assert [session_of(one) for one in branches] == ["c~2", "c~3"]
    assert await client.transcript("c~3") == ["u: One", "a: 1", "u: Another", "a: o"]
    on = await client.say("u: On", **after(branches[0]))
    assert await client.memory(on) == talk("u: One", "a: 1", "u: Other", "a: o")


async def test_a_reply_without_a_session_gets_one_with_all_that_was_sent(client: Talk) -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]
    sent = talk("a: Welcome", "u: One", "a: 1", "u: Two")
    first = await client.say(*sent, session_id=None)
    await client.answer(first, "Let me see", tool_calls=calls)
    assert await client.sessions() == {}
    result = {"role": "tool", "tool_call_id": "1", "content": "sunny"}
    second = await client.say(result, **after(first))
    session_id = session_of(second)
    assert session_id == first.request.interaction_id
    assert (await client.store.view(first.request.interaction_id)).session_id == session_id
    assert await client.memory(second) == [*sent, *talk("a: Let me see")]
    await client.answer(second, "Sunny")
    third = await client.say("u: Thanks", **after(second))
    assert session_of(third) == session_id
    other = await client.say("u: Instead", **after(first))
    assert session_of(other) == f"{session_id}~2"
    assert await client.memory(other) == [*sent, *talk("a: Let me see")]


async def test_what_follows_a_reply_that_has_not_ended_waits_for_it(client: Talk) -> None:
    first = await client.say("u: One", session_id=None)
    second = await client.say("u: Two", **after(first))
    assert (await client.store.take_place(second.request.interaction_id, 0)).waiting_on == first.request.interaction_id
    await client.answer(first, "1")
    window = await client.store.take_place(second.request.interaction_id, ANY_BUDGET)
    assert await client.conversations.history(session_of(second), window) == talk("u: One", "a: 1")


async def test_a_second_thing_that_follows_an_open_reply_has_to_wait_outside(client: Talk) -> None:
    first = await client.say("u: One", session_id=None)
    await client.say("u: Two", **after(first))
    with pytest.raises(SessionBusyError) as busy:
        await client.say("u: Other", **after(first))
    assert busy.value.interaction_id == first.request.interaction_id
    await client.answer(first, "1")
    assert session_of(await client.say("u: Other", **after(first))).endswith("~2")


async def test_a_reply_ends_as_the_turn_it_has_become_meanwhile(client: Talk) -> None:
    first = await client.say("u: One", session_id=None)
    second = await client.say("u: Two", **after(first))
    ended = await client.store.end(first.request.interaction_id, Ending(InteractionStatus.COMPLETED, reply="1"))
    assert ended.following == second.request.interaction_id
    assert await client.transcript(session_of(second)) == ["u: One", "a: 1", "u: Two"]


async def test_of_many_that_follow_the_same_reply_at_once_each_has_it_before(client: Talk) -> None:
    first = await client.turn("u: One", reply="1", session_id=None)
    opened = await asyncio.gather(*(client.say(f"u: {number}", **after(first)) for number in range(6)))
    assert len({session_of(one) for one in opened}) == 6
    for number, one in enumerate(opened):
        assert await client.transcript(session_of(one)) == ["u: One", "a: 1", f"u: {number}"]


async def test_a_reply_whose_id_names_a_conversation_already_gets_another_name(client: Talk) -> None:
    first = await client.turn("u: One", reply="1", session_id=None)
    await client.turn("u: Mine", reply="m", session_id=first.request.interaction_id, asked={"user_id": "eve"})
    second = await client.turn("u: 2", reply="2", **after(first))
    last = await client.turn("u: 3", reply="3", **after(second))
    assert session_of(last) != first.request.interaction_id
    assert await client.transcript(session_of(last)) == ["u: One", "a: 1", "u: 2", "a: 2", "u: 3", "a: 3"]


async def test_nothing_follows_what_is_not_there_or_not_ones_own(client: Talk) -> None:
    first = await client.turn("u: One", reply="1", session_id=None)
    bare = CompletionRequest(interaction_id=new_id(), user_id="ada")
    await client.store.open_completion(bare, PROMPT)
    said = []
    for answers, user_id in ((new_id(), "ada"), (first.request.interaction_id, "eve"), (bare.interaction_id, "ada")):
        with pytest.raises(UnknownResourceError) as unknown:
            await client.say("u: Two", answers=answers, session_id=None, asked={"user_id": user_id})
        assert unknown.value.kind == "response"
        said.append(str(unknown.value).replace(answers, "…"))
    assert set(said) == {"unknown response '…'"}
    assert await client.sessions() == {}
