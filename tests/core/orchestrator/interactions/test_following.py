"""Whoever follows an interaction ends with its reply, whatever it saw before and whatever the log still holds."""

import pytest
from sqlalchemy import delete, select

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.contracts import InteractionStatus
from core.orchestrator.errors import UnknownResourceError
from core.orchestrator.events import TERMINAL_TYPES, TextDelta
from core.orchestrator.examples.reply_reducer import Reply
from core.orchestrator.interactions.following import Batch, ReplyFollower
from core.orchestrator.interactions.opening import Opening
from core.orchestrator.interactions.store import Ending, InteractionStore
from core.orchestrator.replies.log import append
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import interactions, reply_events
from tests.core.orchestrator.domain import answered, new_id, request

TEXT = "Hi there, Ada"


@pytest.fixture
def follower(database: Database) -> ReplyFollower:
    return ReplyFollower(database, batch=3)


async def opened(store: InteractionStore, *, watched: bool = True) -> str:
    asked = request(session_id=new_id())
    await store.open_turn(asked, Opening(watched=watched))
    return asked.interaction_id


async def say(database: Database, interaction_id: str, *pieces: str) -> None:
    for piece in pieces:
        async with database.write() as connection:
            await append(connection, TextDelta(interaction_id=interaction_id, attempt=1, delta=piece))


async def trim(database: Database, interaction_id: str) -> None:
    async with database.write() as connection:
        await connection.execute(
            delete(reply_events).where(
                reply_events.c.interaction_id == interaction_id, reply_events.c.type.not_in(TERMINAL_TYPES)
            )
        )


async def take_all(follower: ReplyFollower, interaction_id: str, reply: Reply) -> list[str]:
    """Read until nothing is left, and return the types of what came."""
    types = []
    batch = Batch([])
    while not batch.last:
        batch = await follower.read(interaction_id, reply.last_number)
        assert batch.events or batch.last
        for event in batch.events:
            head = {"sequence_number": event.sequence_number, "type": event.type, "interaction_id": interaction_id}
            assert reply.add(head | event.data)
            types.append(event.type)
    return types


async def ended(store: InteractionStore, ledger: AttemptLedger, *, watched: bool = True) -> str:
    interaction_id = await opened(store, watched=watched)
    await answered(store, ledger, interaction_id, TEXT)
    return interaction_id


async def test_an_open_interaction_has_more_to_come(store: InteractionStore, follower: ReplyFollower) -> None:
    interaction_id = await opened(store)
    batch = await follower.read(interaction_id, 0)
    assert [event.type for event in batch.events] == ["interaction.created"]
    assert not batch.last
    assert await follower.read(interaction_id, 1) == Batch([])
    assert await follower.read(interaction_id, 10**9) == Batch([])
    assert await follower.ended(interaction_id) is None


async def test_a_reader_takes_a_few_events_at_a_time(
    database: Database, store: InteractionStore, ledger: AttemptLedger, follower: ReplyFollower
) -> None:
    interaction_id = await opened(store)
    await say(database, interaction_id, "Hi", " there")
    first = await follower.read(interaction_id, 0)
    assert ([event.sequence_number for event in first.events], first.more, first.last) == ([1, 2, 3], True, False)
    await say(database, interaction_id, ", Ada")
    await answered(store, ledger, interaction_id, TEXT)
    reply = Reply()
    await take_all(follower, interaction_id, reply)
    assert reply.text == TEXT


async def test_the_terminal_event_holds_the_interaction_as_it_is_read(
    store: InteractionStore, ledger: AttemptLedger, follower: ReplyFollower
) -> None:
    interaction_id = await ended(store, ledger)
    reply = Reply()
    await take_all(follower, interaction_id, reply)
    assert reply.response == (await store.view(interaction_id)).model_dump(mode="json")
    assert await follower.ended(interaction_id) == await store.view(interaction_id)


async def test_after_the_end_nothing_is_left(
    store: InteractionStore, ledger: AttemptLedger, follower: ReplyFollower
) -> None:
    interaction_id = await ended(store, ledger)
    reply = Reply()
    await take_all(follower, interaction_id, reply)
    for after in (reply.last_number, reply.last_number + 1, 2**53):
        assert await follower.read(interaction_id, after) == Batch([], last=True)


@pytest.mark.parametrize("watched", [True, False])
async def test_whoever_comes_when_the_log_is_gone_gets_the_whole_reply(
    database: Database, store: InteractionStore, ledger: AttemptLedger, follower: ReplyFollower, watched: bool
) -> None:
    interaction_id = await ended(store, ledger, watched=watched)
    await trim(database, interaction_id)
    reply = Reply()
    types = await take_all(follower, interaction_id, reply)
    assert types == ["text.reset", "text.delta", "interaction.completed"]
    assert reply.text == TEXT


async def test_a_log_that_goes_while_it_is_read_leaves_no_reader_with_half_a_reply(
    database: Database, store: InteractionStore, ledger: AttemptLedger, follower: ReplyFollower
) -> None:
    interaction_id = await opened(store)
    await say(database, interaction_id, "Hi", " there", ", Ada")
    await answered(store, ledger, interaction_id, TEXT)
    everything = (await follower.read(interaction_id, 0)).events + (await follower.read(interaction_id, 3)).events
    end = everything[-1].sequence_number
    await trim(database, interaction_id)
    for seen in range(end):
        reply = Reply()
        for event in everything:
            if event.sequence_number <= seen:
                head = {"sequence_number": event.sequence_number, "type": event.type, "interaction_id": interaction_id}
                reply.add(head | event.data)
        # A reader that was given a part of what stands for the log comes back with a number in between.
        reply.last_number = max(reply.last_number, seen)
        if seen >= end - 2:
            reply.text = "" if seen == end - 2 else TEXT
        await take_all(follower, interaction_id, reply)
        assert (reply.text, reply.last_number) == (TEXT, end)


async def test_an_ending_without_a_text_is_told_to_a_late_reader_too(
    database: Database, store: InteractionStore, follower: ReplyFollower
) -> None:
    interaction_id = await opened(store, watched=False)
    await store.end(interaction_id, Ending(InteractionStatus.CANCELLED))
    reply = Reply()
    assert await take_all(follower, interaction_id, reply) == ["text.reset", "interaction.cancelled"]
    assert (reply.text, reply.last_number) == ("", 3)


async def test_what_ended_before_there_was_a_log_can_be_followed(
    database: Database, store: InteractionStore, ledger: AttemptLedger, follower: ReplyFollower
) -> None:
    interaction_id = await ended(store, ledger, watched=False)
    async with database.write() as connection:
        await connection.execute(delete(reply_events))
    reply = Reply()
    await take_all(follower, interaction_id, reply)
    assert reply.text == TEXT
    assert await follower.read(interaction_id, reply.last_number) == Batch([], last=True)


async def test_from_the_first_reader_on_events_are_logged(
    database: Database, store: InteractionStore, ledger: AttemptLedger, follower: ReplyFollower
) -> None:
    interaction_id = await opened(store, watched=False)
    assert await follower.attach(interaction_id)
    assert await watched(database, interaction_id)
    await say(database, interaction_id, "there")  # the beginning was said while nobody watched
    await answered(store, ledger, interaction_id, TEXT)
    reply = Reply()
    await take_all(follower, interaction_id, reply)
    assert reply.text == TEXT


async def test_a_reader_of_what_has_ended_changes_nothing(
    database: Database, store: InteractionStore, ledger: AttemptLedger, follower: ReplyFollower
) -> None:
    interaction_id = await ended(store, ledger, watched=False)
    assert not await follower.attach(interaction_id)
    assert not await watched(database, interaction_id)


async def test_nobody_follows_what_does_not_exist(follower: ReplyFollower) -> None:
    with pytest.raises(UnknownResourceError):
        await follower.attach("nobody")
    with pytest.raises(UnknownResourceError):
        await follower.read("nobody", 0)
    with pytest.raises(UnknownResourceError):
        await follower.ended("nobody")


async def watched(database: Database, interaction_id: str) -> bool:
    async with database.read() as connection:
        query = select(interactions.c.watched).where(interactions.c.interaction_id == interaction_id)
        found: bool = await connection.scalar(query)
    return found
