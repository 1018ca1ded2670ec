"""Clients that go on before a reply has ended, that ask twice at once, and that ask again."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from core.orchestrator.contracts import InteractionStatus
from core.orchestrator.interactions.opening import IdempotencyKey
from core.orchestrator.interactions.store import Ending
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import interactions
from tests.core.orchestrator.interactions.talking import Talk, session_of, talk

RETRY: dict[str, Any] = {"is_retry": True, "opening": {"fingerprint": "same"}}


@pytest.fixture
def client(database: Database) -> Talk:
    return Talk(database)


# --- clients that do not wait ---


async def test_a_client_that_heard_only_a_part_goes_on_from_that_part(client: Talk) -> None:
    await client.turn("u: Count", reply="One, two, three")
    second = await client.say("u: Count", "a: One, two", "u: Go on")
    assert session_of(second) == "c"
    assert await client.memory(second) == talk("u: Count", "a: One, two")
    await client.answer(second, "Three")
    third = await client.say("u: Count", "a: One, two", "u: Go on", "a: Three", "u: Thanks")
    assert session_of(third) == "c"
    assert (await client.transcript())[:2] == ["u: Count", "a: One, two, three"]


async def test_a_part_that_others_went_on_from_in_full_is_another_branch(client: Talk) -> None:
    await client.turn("u: Count", reply="One, two, three")
    await client.turn("u: Count", "a: One, two, three", "u: Thanks", reply="Sure")
    assert session_of(await client.say("u: Count", "a: One, two", "u: Go on")) == "c~2"


async def test_a_client_that_goes_on_before_the_end_interrupts_the_reply(client: Talk) -> None:
    first = await client.say("u: Count")
    await client.store.take_place(first.request.interaction_id, 0)
    second = await client.say("u: Count", "a: One, t", "u: Stop")
    assert second.displaced == [first.request.interaction_id]
    assert session_of(second) == "c"
    await client.store.end(first.request.interaction_id, Ending(InteractionStatus.CANCELLED, reply="One, two"))
    await client.answer(second, "All right")
    third = await client.say("u: Count", "a: One, t", "u: Stop", "a: All right", "u: Thanks")
    assert session_of(third) == "c"


async def test_the_same_request_while_it_is_open_is_one_turn(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    first = await client.say("u: One", "a: 1", "u: Two")
    again = await client.say("u: One", "a: 1", "u: Two")
    assert again.replayed
    assert again.request == first.request
    await client.answer(first, "2")
    anew = await client.say("u: One", "a: 1", "u: Two")
    assert not anew.replayed
    assert session_of(anew) == "c~2"


async def test_requests_with_keys_of_their_own_are_two_however_alike_they_are(client: Talk) -> None:
    keys = [{"key": IdempotencyKey(name, "same"), "fingerprint": "same"} for name in ("k1", "k2")]
    first, other = [await client.say("u: One", opening=key) for key in keys]
    assert not other.replayed
    assert await client.transcript() == ["u: One", "u: One"]
    again = await client.say("u: One", opening=keys[0])
    assert (again.replayed, again.request) == (True, first.request)


async def test_two_models_that_are_asked_side_by_side_have_a_branch_each(client: Talk) -> None:
    sides = [await client.say("u: One", resends=True, asked={"model": model}) for model in ("a/model", "b/model")]
    for side, reply in zip(sides, ("1a", "1b"), strict=True):
        await client.answer(side, reply)
    assert [session_of(side) for side in sides] == ["c", "c~2"]
    on = [await client.say("u: One", f"a: {reply}", "u: Two", resends=True) for reply in ("1a", "1b")]
    assert [session_of(side) for side in on] == ["c", "c~2"]


async def test_another_message_while_one_is_open_is_a_branch(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    first = await client.say("u: One", "a: 1", "u: Two")
    other = await client.say("u: One", "a: 1", "u: Two, please")
    assert (session_of(first), session_of(other)) == ("c", "c~2")
    assert other.displaced == []
    assert (await client.store.take_place(other.request.interaction_id, 0)).waiting_on is None


async def test_a_branch_that_begins_after_an_open_turn_has_what_its_client_heard(client: Talk) -> None:
    first = await client.say("u: Count")
    await client.say("u: Count", "a: One", "u: Two")
    other = await client.say("u: Count", "a: One", "u: Other")
    assert session_of(other) == "c~2"
    assert await client.memory(other) == talk("u: Count", "a: One")
    await client.store.end(first.request.interaction_id, Ending(InteractionStatus.CANCELLED, reply="One, two"))
    assert await client.memory(other) == talk("u: Count", "a: One")


@pytest.mark.parametrize("said", [("u: One",), ("u: One", "a: 1", "u: Two")])
async def test_of_many_that_ask_the_same_at_once_one_is_a_turn(client: Talk, said: tuple[str, ...]) -> None:
    opening = {"fingerprint": "same"}
    opened = await asyncio.gather(*(client.say(*said, opening=opening) for _ in range(8)))
    assert len({one.request.interaction_id for one in opened}) == 1
    assert sorted(one.replayed for one in opened) == [False] + [True] * 7
    assert await client.transcript() == [*said]


async def test_of_many_that_go_on_differently_at_once_none_sees_anothers_words(client: Talk) -> None:
    await client.turn("u: One", reply="1")
    await client.turn("u: One", "a: 1", "u: Two", reply="2")
    opened = await asyncio.gather(*(client.say("u: One", "a: 1", "u: Two", "a: 2", f"u: {n}") for n in range(6)))
    assert len({session_of(one) for one in opened}) == 6
    for number, one in enumerate(opened):
        assert await client.transcript(session_of(one)) == ["u: One", "a: 1", "u: Two", "a: 2", f"u: {number}"]


async def test_of_many_that_say_only_what_is_new_all_have_their_turn(client: Talk) -> None:
    opened = await asyncio.gather(
        *(client.say(f"u: {number}", opening={"fingerprint": f"{number}"}) for number in range(6))
    )
    assert {session_of(one) for one in opened} == {"c"}
    assert sorted(await client.transcript()) == [f"u: {number}" for number in range(6)]


# --- requests that come again ---


@pytest.mark.parametrize("session_id", ["c", None])
async def test_a_retry_finds_what_is_open_or_was_answered(client: Talk, session_id: str | None) -> None:
    first = await client.say("u: One", session_id=session_id, opening={"fingerprint": "same"})
    retried = await client.say("u: One", session_id=session_id, **RETRY)
    assert (retried.replayed, retried.request) == (True, first.request)
    await client.answer(first, "1")
    retried = await client.say("u: One", session_id=session_id, **RETRY)
    assert (retried.replayed, retried.status) == (True, InteractionStatus.COMPLETED)


async def test_a_retry_after_a_failure_or_by_somebody_else_is_a_new_request(client: Talk) -> None:
    await client.fail(await client.say("u: One", session_id=None, opening={"fingerprint": "same"}))
    again = await client.say("u: One", session_id=None, **RETRY)
    assert not again.replayed
    other = await client.say("u: One", session_id=None, asked={"user_id": "eve"}, **RETRY)
    assert not other.replayed


async def test_only_a_client_that_says_so_is_given_an_old_reply(client: Talk) -> None:
    await client.turn("u: One", reply="1", session_id=None, opening={"fingerprint": "same"})
    again = await client.say("u: One", session_id=None, opening={"fingerprint": "same"})
    assert not again.replayed


async def test_a_retry_finds_what_is_open_however_long_ago_it_began(client: Talk) -> None:
    old = {"interaction_id": "01900000-0000-7000-8000-000000000000"}
    first = await client.say("u: One", session_id=None, asked=old, opening={"fingerprint": "same"})
    assert (await client.say("u: One", session_id=None, **RETRY)).request == first.request


@pytest.mark.parametrize("session_id", ["c", None])
async def test_a_retry_long_after_the_end_is_a_new_request(client: Talk, session_id: str | None) -> None:
    first = await client.turn("u: One", reply="1", session_id=session_id, opening={"fingerprint": "same"})
    assert (await client.say("u: One", session_id=session_id, **RETRY)).replayed
    async with client.database.write() as connection:
        this = interactions.c.interaction_id == first.request.interaction_id
        ended_at = datetime.now(UTC) - timedelta(seconds=61)
        await connection.execute(update(interactions).where(this).values(ended_at=ended_at))
    assert not (await client.say("u: One", session_id=session_id, **RETRY)).replayed


async def test_words_that_are_said_again_later_are_a_turn_even_if_their_first_try_was_refused(client: Talk) -> None:
    first = await client.turn("u: Yes", reply="1", opening={"fingerprint": "same"})
    await client.turn("u: What else?", reply="2", opening={"fingerprint": "other"})
    again = await client.say("u: Yes", **RETRY)
    assert not again.replayed
    assert await client.transcript() == ["u: Yes", "a: 1", "u: What else?", "a: 2", "u: Yes"]
    assert (await client.say("u: Yes", **RETRY)).request == again.request != first.request
