"""Streams in one process: what they tell, when they show that they live, and what ends them."""

import asyncio
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

from api.streaming import ReplyStream
from core.orchestrator.application import Application
from core.orchestrator.config import Settings
from core.orchestrator.contracts import (
    InteractionStatus,
)
from core.orchestrator.events import TextDelta
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.replies.log import append
from core.orchestrator.storage.database import open_database
from tests.api.house import NOW, House, ScriptedRuns
from tests.core.orchestrator.agents.personas import persona


async def test_a_stream_that_has_nothing_to_tell_shows_that_it_lives(house: House) -> None:
    interaction_id = await house.opened()
    stream = ReplyStream(house.follower, house.waits(), interaction_id, 1, keep_alive=timedelta(milliseconds=20))
    async with aclosing(stream.chunks()) as chunks:
        assert [await anext(chunks) for _ in range(3)] == [b": ping\n\n"] * 3
        assert not stream.over
        await house.end(interaction_id)
        rest = b"".join([chunk async for chunk in chunks]).replace(b": ping\n\n", b"")
    assert rest.startswith(b"event: text.delta\ndata: {")
    assert rest.endswith(b"}\nid: 5\n\n")
    assert stream.over


async def test_one_write_after_the_other_keeps_no_sign_of_life_back(house: House) -> None:
    interaction_id = await house.opened()
    waits = house.waits()
    stream = ReplyStream(house.follower, waits, interaction_id, 1, keep_alive=timedelta(milliseconds=50))
    async with aclosing(stream.events()) as events, asyncio.timeout(5):
        waiting = asyncio.create_task(anext(events))
        while not waiting.done():
            house.application.database.changes.tell([f"reply:{interaction_id}"])  # wakes that come to nothing
            await asyncio.sleep(0.01)
        assert await waiting is None


async def test_what_is_written_is_told_at_once(house: House) -> None:
    interaction_id = await house.opened()
    stream = ReplyStream(house.follower, house.waits(), interaction_id)
    async with aclosing(stream.events()) as events, asyncio.timeout(5):
        created = await anext(events)
        assert created is not None
        assert created.type == "interaction.created"
        for number, piece in enumerate(["Hi", " there"], 2):
            waiting = asyncio.create_task(anext(events))
            await asyncio.sleep(0)
            async with house.application.database.write() as connection:
                await append(connection, TextDelta(interaction_id=interaction_id, attempt=1, delta=piece))
            event = await waiting
            assert event is not None
            assert (event.sequence_number, event.data["delta"]) == (number, piece)


async def test_a_stream_ends_when_the_process_does(house: House) -> None:
    interaction_id = await house.opened()
    waits = house.waits()
    stream = ReplyStream(house.follower, waits, interaction_id, 1)
    async with aclosing(stream.chunks()) as chunks, asyncio.timeout(5):
        waiting = asyncio.create_task(anext(chunks, b"the end"))
        await asyncio.sleep(0)
        waits.end_streams()
        assert await waiting == b"the end"
    assert stream.over


async def test_streams_end_before_those_who_wait_for_an_answer(house: House) -> None:
    interaction_id = await house.opened()
    waits = house.waits()
    waiting = asyncio.create_task(house.service(waits=waits).result(interaction_id))
    stream = ReplyStream(house.follower, waits, interaction_id)
    waits.end_streams()
    assert [chunk async for chunk in stream.chunks()] == []
    await house.end(interaction_id)
    assert (await asyncio.wait_for(waiting, 5)).status is InteractionStatus.COMPLETED


async def test_a_stream_that_is_about_to_be_ended_takes_no_client_for_gone(house: House) -> None:
    interaction_id = await house.opened()
    waits = house.waits()
    stream = ReplyStream(house.follower, waits, interaction_id, 1, keep_alive=NOW)
    async with aclosing(stream.chunks()) as chunks:
        await anext(chunks)
        assert not stream.ends_with_us
        waits.end_streams()
    assert (stream.over, stream.ends_with_us) == (False, True)


async def test_a_stream_whose_interaction_is_erased_breaks_off(house: House) -> None:
    stream = ReplyStream(house.follower, house.waits(), "erased")
    assert [chunk async for chunk in stream.chunks()] == []
    assert stream.over


async def test_a_stream_outlives_a_temporal_that_is_away(house: House) -> None:
    interaction_id = await house.opened()
    house.runs.away = True
    stream = ReplyStream(house.follower, house.waits(NOW), interaction_id, 1, keep_alive=timedelta(milliseconds=50))
    async with aclosing(stream.events()) as events, asyncio.timeout(5):
        assert [await anext(events), await anext(events)] == [None, None]
        await house.end(interaction_id)
        types = [event.type async for event in events if event is not None]
    assert types[-1] == "interaction.completed"


async def test_a_crowd_of_streams_leaves_the_database_to_others_and_is_refused_nothing(tmp_path: Path) -> None:
    database = open_database(tmp_path / "orchestrator.db", connections=5, wait=timedelta(milliseconds=200))
    await database.migrate()
    settings = Settings(_env_file=None, DATA_DIR=tmp_path)
    house = House(Application(settings, database, PersonaLibrary([persona()])), ScriptedRuns(), [])
    interaction_id = await house.opened()
    follower, waits = house.follower, house.waits()
    streams = [ReplyStream(follower, waits, interaction_id) for _ in range(500)]

    async def whole(stream: ReplyStream) -> list[str]:
        return [event.type async for event in stream.events() if event is not None]

    reading = [asyncio.create_task(whole(stream)) for stream in streams]
    await asyncio.sleep(0)
    await house.application.store.view(interaction_id)
    await house.end(interaction_id)
    told = await asyncio.wait_for(asyncio.gather(*reading), 30)
    assert {types[-1] for types in told} == {"interaction.completed"}
    await database.close()
