"""The log is numbered without a gap that a reader could fall into, and adds up to the stored reply."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.orchestrator.contracts import InteractionStatus, InteractionView
from core.orchestrator.events import TERMINAL_TYPES
from core.orchestrator.interactions.store import Ending, InteractionStore
from core.orchestrator.replies.log import NUMBERS_LEFT_FREE, LoggedEvent, append, append_wake, read_events, shown_text
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.domain import opened, opened_watched
from tests.core.orchestrator.replies.events import delta, reset


async def logged(database: Database, interaction_id: str, after: int = 0, limit: int = 1000) -> Sequence[LoggedEvent]:
    async with database.read() as connection:
        return await read_events(connection, interaction_id, after, limit)


def reduced(events: Sequence[LoggedEvent]) -> str:
    text = ""
    for event in events:
        text = "" if event.type == "text.reset" else text + event.data.get("delta", "")
    return text


async def test_events_are_numbered_from_one_for_each_interaction(database: Database, store: InteractionStore) -> None:
    first, second = await opened(store), await opened(store)
    for interaction_id in (first, second, first):
        async with database.write() as connection:
            await append(connection, delta(interaction_id, "a"), delta(interaction_id, "b"))
    assert [event.sequence_number for event in await logged(database, first)] == [1, 2, 3, 4]
    assert [event.sequence_number for event in await logged(database, second)] == [1, 2]


async def test_a_reader_gets_what_comes_after_a_number_so_much_at_a_time(
    database: Database, store: InteractionStore
) -> None:
    interaction_id = await opened(store)
    async with database.write() as connection:
        await append(connection, *(delta(interaction_id, str(number)) for number in range(10)))
    assert [event.data["delta"] for event in await logged(database, interaction_id, after=3, limit=2)] == ["3", "4"]
    assert await logged(database, interaction_id, after=10) == []


async def test_a_wake_is_no_event(database: Database, store: InteractionStore) -> None:
    interaction_id = await opened(store)
    async with database.write() as connection:
        await append_wake(connection, interaction_id)
        await append(connection, delta(interaction_id, "Hi"))
    assert [event.type for event in await logged(database, interaction_id)] == ["text.delta"]


async def test_the_terminal_event_leaves_numbers_for_a_reader_who_comes_late(
    database: Database, store: InteractionStore
) -> None:
    interaction_id = await opened(store)
    await store.end(interaction_id, Ending(InteractionStatus.COMPLETED, reply="Hi"))
    [terminal] = await logged(database, interaction_id)
    assert terminal == LoggedEvent(sequence_number=NUMBERS_LEFT_FREE + 1, type="interaction.completed", data={})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (InteractionStatus.COMPLETED, "interaction.completed"),
        (InteractionStatus.INCOMPLETE, "interaction.incomplete"),
        (InteractionStatus.CANCELLED, "interaction.cancelled"),
        (InteractionStatus.FAILED, "interaction.failed"),
    ],
)
async def test_every_end_has_its_event(
    database: Database, store: InteractionStore, status: InteractionStatus, kind: str
) -> None:
    interaction_id = await opened(store)
    await store.end(interaction_id, Ending(status))
    await store.end(interaction_id, Ending(InteractionStatus.COMPLETED))
    assert [event.type for event in await logged(database, interaction_id)] == [kind]
    assert kind in TERMINAL_TYPES


@pytest.mark.parametrize(
    ("shown", "reply", "appended"),
    [
        (["Hello", " there"], "Hello there", []),
        (["Hello"], "Hello there", ["text.delta"]),
        (["Hello "], "Hello", ["text.reset", "text.delta"]),
        (["Hello"], None, ["text.reset"]),
        ([], "Hello", ["text.delta"]),
        ([], None, []),
        (["Hel", None, "Good"], "Good day", ["text.delta"]),
    ],
)
async def test_the_end_appends_no_more_than_is_missing(
    database: Database, store: InteractionStore, shown: Sequence[str | None], reply: str | None, appended: list[str]
) -> None:
    interaction_id = await opened_watched(store)
    async with database.write() as connection:
        for text in shown:
            await append(connection, reset(interaction_id) if text is None else delta(interaction_id, text))
    before = len(await logged(database, interaction_id))
    await store.end(interaction_id, Ending(InteractionStatus.COMPLETED, reply=reply))
    events = await logged(database, interaction_id)
    assert [event.type for event in events[before:-1]] == appended
    assert reduced(events) == (reply or "")


# Others are taken out of every answer before it comes here: see `as_text`.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shown=st.lists(st.none() | TEXTS, max_size=6), reply=st.none() | TEXTS)
async def test_whatever_was_shown_the_log_adds_up_to_the_reply(
    database: Database, store: InteractionStore, shown: list[str | None], reply: str | None
) -> None:
    interaction_id = await opened_watched(store)
    async with database.write() as connection:
        for text in shown:
            await append(connection, reset(interaction_id) if text is None else delta(interaction_id, text))
        assert await shown_text(connection, interaction_id) == reduced(
            await read_events(connection, interaction_id, 0, 100)
        )
    view: InteractionView = (await store.end(interaction_id, Ending(InteractionStatus.COMPLETED, reply=reply))).view
    assert reduced(await logged(database, interaction_id)) == (view.message or "")
