"""One transaction decides who is let in: repeated requests, busy sessions, and what happens to earlier turns."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from core.orchestrator.contracts import CompletionRequest, InteractionStatus, MultitaskStrategy
from core.orchestrator.errors import IdempotencyConflictError, SessionBusyError, SessionOwnershipError
from core.orchestrator.interactions.opening import IdempotencyKey, Opening
from core.orchestrator.interactions.store import Abandonment, Ending, InteractionStore
from core.orchestrator.replies.log import read_events
from core.orchestrator.storage.changes import cancel_topic
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import interactions, messages
from tests.core.orchestrator.domain import ANY_BUDGET, LATER, PROMPT, SettableClock, opened, opened_watched, request

KEY = Opening(key=IdempotencyKey("k", "abc"))
DONE = Ending(InteractionStatus.COMPLETED, reply="Done")


async def texts(database: Database) -> list[str]:
    async with database.read() as connection:
        return list(await connection.scalars(select(messages.c.content).order_by(messages.c.sequence)))


async def status_of(store: InteractionStore, interaction_id: str) -> tuple[InteractionStatus, str | None]:
    view = await store.view(interaction_id)
    return view.status, view.message


# --- idempotency ---


async def test_of_fifty_requests_with_one_key_one_is_opened(store: InteractionStore, database: Database) -> None:
    asked = [request("Hello") for _ in range(50)]
    results = await asyncio.gather(*(store.open_turn(one, KEY) for one in asked))
    assert len({opening.request.interaction_id for opening in results}) == 1
    assert sorted(opening.replayed for opening in results) == [False] + [True] * 49
    assert await texts(database) == ["Hello"]


async def test_a_repeated_request_runs_as_the_first_one_was_accepted(store: InteractionStore) -> None:
    first = request("Hello", session_id="made-for-the-first")
    await store.open_turn(first, KEY)
    again = await store.open_turn(request("Hello", session_id="made-for-the-second"), KEY)
    assert again.request == first
    assert again.status is InteractionStatus.QUEUED
    await store.end(first.interaction_id, DONE)
    assert (await store.open_turn(request("Hello"), KEY)).status is InteractionStatus.COMPLETED


async def test_a_key_that_came_with_something_else_is_refused(store: InteractionStore, database: Database) -> None:
    await store.open_turn(request("Hello"), KEY)
    with pytest.raises(IdempotencyConflictError):
        await store.open_turn(request("Bye"), Opening(key=IdempotencyKey("k", "xyz")))
    assert await texts(database) == ["Hello"]


async def test_a_key_is_its_users_own(store: InteractionStore) -> None:
    first = await store.open_turn(request("Hello"), KEY)
    other = await store.open_turn(request("Hello", user_id="eve", session_id="eves"), KEY)
    assert not other.replayed
    assert other.request != first.request


async def test_a_key_goes_for_completions_too(store: InteractionStore) -> None:
    first = CompletionRequest(interaction_id="first", user_id="ada")
    await store.open_completion(first, PROMPT, KEY)
    again = await store.open_completion(CompletionRequest(interaction_id="second", user_id="ada"), PROMPT, KEY)
    assert again.replayed
    assert again.request == first


async def test_the_key_of_an_abandoned_turn_opens_another(store: InteractionStore) -> None:
    abandoned = await store.open_turn(request("Hello"), KEY)
    assert await store.abandon(abandoned.request.interaction_id, LATER) is Abandonment.ENDED
    again = await store.open_turn(request("Hello"), KEY)
    assert not again.replayed
    assert again.request != abandoned.request


async def test_a_turn_that_is_offered_anew_is_not_abandoned(database: Database) -> None:
    clock = SettableClock()
    store = InteractionStore(database, clock)
    interaction_id = (await store.open_turn(request("Hello"), KEY)).request.interaction_id
    offered = await store.offered_at(interaction_id)
    clock.advance(seconds=10)
    await store.open_turn(request("Hello"), KEY)
    assert await store.abandon(interaction_id, offered) is Abandonment.OFFERED_ANEW
    assert (await store.view(interaction_id)).status is InteractionStatus.QUEUED
    assert await store.abandon(interaction_id, await store.offered_at(interaction_id)) is Abandonment.ENDED


# --- strategies ---


def strategy(name: str, **fields: Any) -> Opening:
    return Opening(strategy=MultitaskStrategy(name), **fields)


async def test_a_busy_session_refuses_and_keeps_nothing(store: InteractionStore, database: Database) -> None:
    first = await opened(store)
    with pytest.raises(SessionBusyError) as busy:
        await store.open_turn(request("Again"), strategy("reject"))
    assert busy.value.interaction_id == first
    assert await texts(database) == ["Hello"]
    await store.end(first, DONE)
    await store.open_turn(request("Again"), strategy("reject"))
    assert await texts(database) == ["Hello", "Done", "Again"]  # the refused one took no number


@pytest.mark.parametrize("name", MultitaskStrategy)
async def test_an_idle_session_takes_a_turn_under_any_strategy(store: InteractionStore, name: str) -> None:
    await store.end(await opened(store), DONE)
    result = await store.open_turn(request("Next"), strategy(name))
    assert result.displaced == []
    assert (await store.take_place(result.request.interaction_id, ANY_BUDGET)).waiting_on is None


async def test_another_users_session_is_refused_before_it_is_disturbed(store: InteractionStore) -> None:
    first = await opened(store)
    with pytest.raises(SessionOwnershipError):
        await store.open_turn(request("Mine!", user_id="eve"), strategy("rollback"))
    assert not await store.is_cancelling(first)


@pytest.mark.parametrize("name", ["interrupt", "rollback"])
async def test_every_earlier_turn_is_displaced_and_its_call_woken(
    store: InteractionStore, database: Database, name: str
) -> None:
    ended = await opened(store)
    await store.end(ended, DONE)
    running, in_line = await opened(store), await opened(store)
    async with database.changes.watch(cancel_topic(running)) as watch:
        result = await store.open_turn(request("Now"), strategy(name))
        assert await watch.changed(0)
    assert result.displaced == [running, in_line]
    assert await store.is_cancelling(running)
    assert not await store.is_cancelling(ended)
    assert not await store.is_cancelling(result.request.interaction_id)


async def test_a_displaced_turn_in_line_is_not_begun(store: InteractionStore) -> None:
    running = await opened(store)
    in_line = await opened(store)
    await store.open_turn(request("Now"), strategy("interrupt"))
    assert (await store.take_place(in_line, ANY_BUDGET)).ended
    assert (await store.take_place(running, ANY_BUDGET)).ended


async def test_an_interrupted_turn_is_cancelled_however_it_fails_and_keeps_its_message(
    store: InteractionStore, database: Database
) -> None:
    first = await opened(store)
    await store.open_turn(request("Now"), strategy("interrupt"))
    line = Ending(InteractionStatus.FAILED, reply="I cannot answer.", degraded=True)
    assert (await store.end(first, line)).view.status is InteractionStatus.CANCELLED
    assert await status_of(store, first) == (InteractionStatus.CANCELLED, None)
    assert await texts(database) == ["Hello", "Now"]


async def test_an_interrupt_that_comes_after_the_answer_leaves_it(store: InteractionStore, database: Database) -> None:
    first = await opened(store)
    await store.open_turn(request("Now"), strategy("interrupt"))
    await store.end(first, DONE)
    assert await status_of(store, first) == (InteractionStatus.COMPLETED, "Done")
    assert await texts(database) == ["Hello", "Done", "Now"]


async def test_a_turn_that_is_rolled_back_leaves_no_message_even_if_it_was_answered(
    store: InteractionStore, database: Database
) -> None:
    first = await opened(store)
    await store.open_turn(request("Now"), strategy("rollback"))
    await store.end(first, DONE)
    assert await status_of(store, first) == (InteractionStatus.CANCELLED, None)
    assert await texts(database) == ["Now"]


async def test_an_interrupt_after_a_rollback_does_not_bring_the_turn_back(
    store: InteractionStore, database: Database
) -> None:
    first = await opened(store)
    await store.open_turn(request("Now"), strategy("rollback"))
    await store.open_turn(request("And now"), strategy("interrupt"))
    await store.end(first, DONE)
    assert await texts(database) == ["Now", "And now"]


# --- the log ---


async def test_a_turn_that_may_be_watched_tells_of_itself_and_of_whom_it_waits_for(
    store: InteractionStore, database: Database
) -> None:
    first = await opened_watched(store)
    second = await opened_watched(store)
    async with database.read() as connection:
        alone = await read_events(connection, first, 0, 10)
        waiting = await read_events(connection, second, 0, 10)
    assert [event.type for event in alone] == ["interaction.created"]
    assert alone[0].data == {"session_id": "s1", "persona_id": "cherry", "workflow_id": f"interaction-{first}"}
    assert [(event.type, event.data.get("waiting_on")) for event in waiting] == [
        ("interaction.created", None),
        ("interaction.queued", first),
    ]


async def test_a_turn_that_nobody_watches_writes_no_log(store: InteractionStore, database: Database) -> None:
    interaction_id = await opened(store)
    async with database.read() as connection:
        assert await read_events(connection, interaction_id, 0, 10) == []
        watched = select(interactions.c.watched).where(interactions.c.interaction_id == interaction_id)
        assert await connection.scalar(watched) is False
