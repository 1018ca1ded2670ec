"""Clients that send everything again, clients that send only what is new, and clients that go back."""

import pytest

from core.orchestrator.contracts import InteractionStatus, MultitaskStrategy
from core.orchestrator.errors import SessionOwnershipError
from core.orchestrator.interactions.opening import Opening
from core.orchestrator.interactions.store import Ending
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.domain import LATER, request
from tests.core.orchestrator.interactions.talking import Talk, session_of, talk
from tests.core.orchestrator.plans import reads_whole_tables, statements, steps_of


@pytest.fixture
def client(database: Database) -> Talk:
    return Talk(database)


# --- the same conversation, however it is sent ---


async def test_a_client_that_sends_everything_again_leaves_one_clean_conversation(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    await client.turn("u: One", "a: 1", "u: Two", reply="2")
    third = await client.say("u: One", "a: 1", "u: Two", "a: 2", "u: Three")
    assert await client.transcript() == ["u: One", "a: 1", "u: Two", "a: 2", "u: Three"]
    assert await client.memory(third) == talk("u: One", "a: 1", "u: Two", "a: 2")
    assert list(await client.sessions()) == ["c"]


async def test_a_client_that_sends_only_what_is_new_leaves_the_same(client: Talk) -> None:
    for text, reply in (("One", "1"), ("Two", "2"), ("Two", "again 2")):
        await client.turn(f"u: {text}", reply=reply)
    assert await client.transcript() == ["u: One", "a: 1", "u: Two", "a: 2", "u: Two", "a: again 2"]
    assert list(await client.sessions()) == ["c"]


async def test_texts_that_read_the_same_are_the_same(client: Talk) -> None:
    await client.turn("u: One ", reply="\n1")
    parts = {"role": "assistant", "content": [{"type": "text", "text": "1"}]}
    await client.say(talk("u: One")[0], parts, "u: Two")
    assert list(await client.sessions()) == ["c"]


async def test_what_was_said_elsewhere_is_brought_in(client: Talk) -> None:
    opened = await client.turn(
        "a: Welcome!", "u: One", "a: 1", "u: Two", "u: Two and a half", "a: 2", "u: Three", reply="3"
    )
    everything = ["a: Welcome!", "u: One", "a: 1", "u: Two\n\nTwo and a half", "a: 2", "u: Three", "a: 3"]
    assert await client.transcript() == everything
    said = talk("a: Welcome!", "u: One", "a: 1", "u: Two", "u: Two and a half", "a: 2", "u: Three", "a: 3")
    again = await client.say(*said, "u: Four")
    assert session_of(again) == session_of(opened) == "c"
    assert await client.memory(again) == said
    assert (await client.sessions())["c"].turns == 5


async def test_what_was_said_elsewhere_in_between_is_brought_in_too(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    await client.say("u: One", "a: 1", "u: Elsewhere", "a: somebody else", "u: Two")
    assert await client.transcript() == ["u: One", "a: 1", "u: Elsewhere", "a: somebody else", "u: Two"]


async def test_a_turn_that_nobody_answered_is_passed_over_when_it_is_asked_again(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    await client.fail(await client.say("u: One", "a: 1", "u: Two"))
    again = await client.turn("u: One", "a: 1", "u: Two", reply="2")
    assert session_of(again) == "c"
    third = await client.say("u: One", "a: 1", "u: Two", "a: 2", "u: Three")
    assert session_of(third) == "c"
    assert await client.memory(third) == talk("u: One", "a: 1", "u: Two", "a: 2")


async def test_a_client_that_keeps_what_nobody_answered_says_it_with_the_next_message(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    await client.fail(await client.say("u: One", "a: 1", "u: Two"))
    await client.turn("u: One", "a: 1", "u: Two", "u: Hello?", reply="2")
    third = await client.say("u: One", "a: 1", "u: Two", "u: Hello?", "a: 2", "u: Three")
    assert session_of(third) == "c"
    assert await client.memory(third) == talk("u: One", "a: 1", "u: Two", "u: Hello?", "a: 2")


async def test_calls_of_tools_and_their_results_are_part_of_the_conversation(client: Talk) -> None:
    calls = [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}]
    first = await client.say("u: Rome?")
    await client.answer(first, "", tool_calls=calls)
    called = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{**calls[0], "id": "x", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}],
    }
    result = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
    second = await client.turn("u: Rome?", called, result, reply="Sunny")
    assert session_of(second) == "c"
    third = await client.say("u: Rome?", called, result, "a: Sunny", "u: Thanks")
    assert session_of(third) == "c"
    assert await client.memory(third) == [
        {"role": "user", "content": "Rome?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        result,
        {"role": "assistant", "content": "Sunny"},
    ]
    assert await client.transcript() == ["u: Rome?", "a: ", "t: sunny", "a: Sunny", "u: Thanks"]


# --- branches ---


async def test_an_edited_message_begins_a_branch_and_leaves_the_old_one_as_it_was(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    await client.turn("u: One", "a: 1", "u: Two", reply="2")
    edited = await client.turn("u: One", "a: 1", "u: Two, please", reply="2!")
    assert session_of(edited) == "c~2"
    assert await client.transcript("c") == ["u: One", "a: 1", "u: Two", "a: 2"]
    assert await client.transcript("c~2") == ["u: One", "a: 1", "u: Two, please", "a: 2!"]
    branch = (await client.sessions())["c~2"]
    assert (branch.conversation_id, branch.forked_from, branch.forked_at, branch.turns) == ("c", "c", 1, 2)
    assert (await client.sessions())["c"].forked_from is None


async def test_each_branch_goes_on_by_itself(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    await client.turn("u: One", "a: 1", "u: Two", reply="2")
    await client.turn("u: One", "a: 1", "u: Two, please", reply="2!")
    new = await client.say("u: One", "a: 1", "u: Two, please", "a: 2!", "u: Three")
    old = await client.say("u: One", "a: 1", "u: Two", "a: 2", "u: Three")
    assert (session_of(new), session_of(old)) == ("c~2", "c")
    assert await client.memory(new) == talk("u: One", "a: 1", "u: Two, please", "a: 2!")
    assert await client.memory(old) == talk("u: One", "a: 1", "u: Two", "a: 2")


async def test_a_reply_that_is_asked_for_anew_is_a_branch_each_time(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    await client.turn("u: One", "a: 1", "u: Two", reply="2")
    for number, reply in enumerate(("two", "zwei", "deux"), 2):
        again = await client.turn("u: One", "a: 1", "u: Two", reply=reply)
        assert session_of(again) == f"c~{number}"
    chosen = await client.say("u: One", "a: 1", "u: Two", "a: zwei", "u: Three")
    assert session_of(chosen) == "c~3"


async def test_a_first_message_that_is_edited_begins_a_branch_without_anything_in_common(client: Talk) -> None:
    await client.turn("u: One", reply="1", resends=True)
    await client.turn("u: One", "a: 1", "u: Two", reply="2", resends=True)
    edited = await client.turn("u: Other", reply="o", resends=True)
    assert session_of(edited) == "c~2"
    assert await client.transcript("c~2") == ["u: Other", "a: o"]
    assert (await client.sessions())["c~2"].forked_at == 0


async def test_a_branch_of_a_branch_belongs_to_the_same_conversation(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    await client.turn("u: One", "a: 1", "u: Two", reply="2")
    await client.turn("u: One", "a: 1", "u: B", reply="b")
    await client.turn("u: One", "a: 1", "u: B", "a: b", "u: C", reply="c")
    third = await client.turn("u: One", "a: 1", "u: B", "a: b", "u: D", reply="d")
    assert session_of(third) == "c~3"
    branch = (await client.sessions())["c~3"]
    assert (branch.conversation_id, branch.forked_from, branch.forked_at) == ("c", "c~2", 2)
    assert await client.transcript("c~3") == ["u: One", "a: 1", "u: B", "a: b", "u: D", "a: d"]


async def test_what_a_client_has_otherwise_is_kept_as_it_has_it(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    await client.turn("u: One", "a: 1", "u: Two", reply="2")
    other = await client.say("u: One", "a: 1", "u: Two", "a: edited by hand", "u: Three")
    assert session_of(other) == "c~2"
    assert await client.memory(other) == talk("u: One", "a: 1", "u: Two", "a: edited by hand")
    assert await client.transcript("c") == ["u: One", "a: 1", "u: Two", "a: 2"]


async def test_a_client_may_name_the_branch_it_goes_on_with(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    await client.turn("u: One", "a: 1", "u: Two", reply="2")
    branch = session_of(await client.turn("u: One", "a: 1", "u: Other", reply="o"))
    await client.turn("u: One", "a: 1", "u: Other", "a: o", "u: On", reply="on", session_id=branch)
    back = await client.turn("u: One", "a: 1", "u: Other", "a: o", "u: Back", reply="b", session_id=branch)
    assert session_of(back) == "c~3"
    on = await client.say("u: One", "a: 1", "u: Other", "a: o", "u: Back", "a: b", "u: Go", session_id=branch)
    assert session_of(on) == "c~3"


async def test_a_name_that_somebody_has_taken_or_that_grows_too_long_is_replaced(client: Talk) -> None:
    for number in (2, 3, 4):
        await client.turn("u: Mine", reply="m", session_id=f"c~{number}", asked={"user_id": "eve"})
    long = "x" * 127
    for name in ("c", long):
        await client.turn("u: One", reply="1", session_id=name)
        await client.turn("u: One", "a: 1", "u: Two", reply="2", session_id=name)
        branch = session_of(await client.say("u: One", "a: 1", "u: Other", session_id=name))
        assert len(branch) == 36
        assert (await client.sessions())[branch].conversation_id == name


async def test_a_conversation_is_its_users_own(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    with pytest.raises(SessionOwnershipError):
        await client.say("u: One", "a: 1", "u: Two", asked={"user_id": "eve"})


# --- what it costs ---


async def test_a_place_is_found_without_reading_whole_tables(client: Talk) -> None:
    with statements(client.database, "SELECT", "UPDATE", "INSERT", "DELETE") as seen:
        await client.turn("u: One", reply="1", opening={"fingerprint": "same"})
        await client.say("u: One", is_retry=True, opening={"fingerprint": "same"})
        await client.fail(await client.say("u: One", "a: 1", "u: Two"))
        last = await client.turn("u: One", "a: 1", "u: Two", reply="2")
        await client.turn("u: One", "a: 1", "u: Other", reply="o")
        await client.turn("u: One", "a: 1", "u: Other", "a: o", "u: On", reply="on", session_id="c~2")
        await client.say("u: One", "a: 1", "u: Other", "a: o", "u: Back", session_id="c~2")
        await client.say("u: Follow", answers=last.request.interaction_id)
    reading = [one for one in seen if "FROM " in one[0] or one[0].startswith("UPDATE")]
    assert len(reading) > 50
    for statement in {text: (text, parameters) for text, parameters in reading}.values():
        assert not reads_whole_tables(await steps_of(client.database, *statement)), statement


async def test_no_more_of_a_long_branch_is_read_than_the_client_has(client: Talk) -> None:
    said: list[str] = []
    for number in range(30):
        said += [f"u: {number}", f"a: {number}"]
    await client.turn(*said, "u: Last", reply="last")
    with statements(client.database, "SELECT") as seen:
        await client.say(*said[:2], "u: Other")
    [page] = [parameters for text, parameters in seen if "messages.content" in text]
    assert max(limit for limit in page if isinstance(limit, int)) <= 10
    assert await client.transcript("c~2") == [*said[:2], "u: Other"]


# --- what goes wrong ---


async def test_what_was_brought_in_survives_an_abandoned_turn_and_is_found_by_the_next(client: Talk) -> None:
    said = ("u: One", "a: 1", "u: Two")
    lost = await client.say(*said)
    await client.store.abandon(lost.request.interaction_id, LATER)
    assert await client.transcript() == ["u: One", "a: 1"]
    again = await client.say(*said)
    assert session_of(again) == "c"
    assert await client.memory(again) == talk("u: One", "a: 1")


async def test_a_branch_whose_first_turn_was_abandoned_takes_the_repeated_request(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    await client.turn("u: One", "a: 1", "u: Two", reply="2")
    lost = await client.say("u: One", "a: 1", "u: Other")
    await client.store.abandon(lost.request.interaction_id, LATER)
    again = await client.say("u: One", "a: 1", "u: Other")
    assert session_of(again) == session_of(lost) == "c~2"
    assert await client.transcript("c") == ["u: One", "a: 1", "u: Two", "a: 2"]


async def test_a_rollback_takes_back_only_its_own_words(client: Talk) -> None:
    first = await client.say("u: One", "a: 1", "u: Two")
    await client.store.open_turn(request("Now", session_id="c"), Opening(strategy=MultitaskStrategy.ROLLBACK))
    await client.store.end(first.request.interaction_id, Ending(InteractionStatus.COMPLETED, reply="2"))
    assert await client.transcript() == ["u: One", "a: 1", "u: Now"]
