"""The service in one process: what it waits for, and for how long; what it starts, and what it tells."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Body, FastAPI

from api.problems import add_problem_handlers
from api.service import InteractionService
from api.streaming import ReplyStream
from api.strict_route import StrictRoute
from api.waiting import Waits
from core.orchestrator.application import Application
from core.orchestrator.config import Settings
from core.orchestrator.contracts import (
    CompletionRequest,
    InteractionRequest,
    InteractionStatus,
    MultitaskStrategy,
)
from core.orchestrator.errors import SessionBusyError, UnknownResourceError, WorkflowServiceUnavailableError
from core.orchestrator.events import EventBus, TextDelta
from core.orchestrator.interactions.following import ReplyFollower
from core.orchestrator.interactions.opening import IdempotencyKey, Opening
from core.orchestrator.interactions.store import Ending
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.replies.log import append
from core.orchestrator.runs import RunState
from core.orchestrator.storage.database import open_database
from tests.core.orchestrator.agents.personas import persona
from tests.core.orchestrator.domain import FakeRuns, new_id, request

NOW = timedelta(0)
NEVER = timedelta(days=1)
DONE = Ending(InteractionStatus.COMPLETED, reply="Hi")


@dataclass
class ScriptedRuns(FakeRuns):
    """A Temporal that can be away."""

    away: bool = False
    started: list[str] = field(default_factory=list)
    was_cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    asked_at: list[float] = field(default_factory=list)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    def _answer(self) -> None:
        if self.away:
            raise WorkflowServiceUnavailableError("Temporal does not answer")

    async def start(self, asked: InteractionRequest | CompletionRequest) -> None:
        self._answer()
        self.started.append(asked.interaction_id)
        self.states[f"interaction-{asked.interaction_id}"] = RunState.RUNNING

    async def state(self, workflow_id: str) -> RunState:
        self.asked_at.append(monotonic())
        self.was_asked.set()
        await self.may_answer.wait()
        self._answer()
        return await super().state(workflow_id)

    async def cancel(self, workflow_id: str) -> None:
        self._answer()
        await super().cancel(workflow_id)
        self.was_cancelled.set()


@dataclass
class House:
    """The service on a database of its own."""

    application: Application
    runs: ScriptedRuns
    told: list[str]

    def service(self, first_look: timedelta = NEVER, waits: Waits | None = None) -> InteractionService:
        runs: Any = self.runs
        return InteractionService(self.application, runs, self.follower, waits or self.waits(first_look))

    def waits(self, first_look: timedelta = NEVER) -> Waits:
        settlement = self.application.settlement(self.runs)
        return Waits(self.follower, settlement, first_look=first_look, rarely=NEVER, once_more=NOW)

    @property
    def follower(self) -> ReplyFollower:
        return ReplyFollower(self.application.database)

    async def opened(self) -> str:
        asked = request(session_id=new_id())
        await self.application.store.open_turn(asked, Opening(watched=True))
        self.runs.states[f"interaction-{asked.interaction_id}"] = RunState.RUNNING
        return asked.interaction_id

    async def end(self, interaction_id: str) -> None:
        await self.application.store.end(interaction_id, DONE)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    database = open_database(tmp_path / "orchestrator.db")
    await database.migrate()
    events = EventBus()
    told: list[str] = []
    events.subscribe("interaction.created", lambda event: told.append(event.interaction_id))
    settings = Settings(_env_file=None, DATA_DIR=tmp_path)
    yield House(Application(settings, database, PersonaLibrary([persona()]), events=events), ScriptedRuns(), told)
    await database.close()


# --- streams ---


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


# --- waiting ---


async def test_whoever_waits_is_told_of_a_workflow_that_was_ended_from_outside(house: House) -> None:
    interaction_id = await house.opened()
    house.runs.states[f"interaction-{interaction_id}"] = RunState.CLOSED
    view = await asyncio.wait_for(house.service(NOW).result(interaction_id), 5)
    assert (view.status, view.degraded) == (InteractionStatus.FAILED, True)


async def test_without_temporal_a_caller_is_told_where_to_look_later(house: House) -> None:
    interaction_id = await house.opened()
    house.runs.away = True
    with pytest.raises(WorkflowServiceUnavailableError) as failure:
        await asyncio.wait_for(house.service(NOW).result(interaction_id), 5)
    assert failure.value.interaction_id == interaction_id


async def test_a_process_that_stops_tells_its_callers_where_to_look(house: House) -> None:
    interaction_id = await house.opened()
    service = house.service()
    waiting = asyncio.create_task(service.result(interaction_id))
    reading = asyncio.create_task(service.current(interaction_id, 60))
    await asyncio.sleep(0)
    service.leave()
    with pytest.raises(WorkflowServiceUnavailableError) as failure:
        await asyncio.wait_for(waiting, 5)
    assert failure.value.interaction_id == interaction_id
    assert (await asyncio.wait_for(reading, 5)).status is InteractionStatus.QUEUED


# --- looking ---


async def test_those_who_wait_for_the_same_share_its_looks(house: House) -> None:
    interactions = [await house.opened() for _ in range(3)]
    waits = house.waits(timedelta(milliseconds=300))
    async with AsyncExitStack() as stack, asyncio.timeout(10):
        waiting = [
            await stack.enter_async_context(waits.on(interaction_id, resumable=resumable))
            for resumable in [True] * 20 + [False] * 5
            for interaction_id in interactions
        ]
        await asyncio.gather(*[wait.changed() for wait in waiting])
        assert sorted(house.runs.asked) == sorted(f"interaction-{interaction_id}" for interaction_id in interactions)


async def test_streams_that_came_together_do_not_look_together(house: House) -> None:
    waits = house.waits(timedelta(milliseconds=200))
    async with AsyncExitStack() as stack, asyncio.timeout(10):
        waiting = [
            await stack.enter_async_context(waits.on(interaction_id, resumable=True))
            for interaction_id in [await house.opened() for _ in range(20)]
        ]
        await asyncio.gather(*[wait.changed() for wait in waiting])
    looks = sorted(house.runs.asked_at)
    assert looks[-1] - looks[0] > 0.08


async def test_a_stream_delays_no_look_for_a_caller(house: House) -> None:
    interaction_id = await house.opened()
    waits = house.waits(timedelta(milliseconds=400))
    async with waits.on(interaction_id, resumable=True):
        began = monotonic()
        async with waits.on(interaction_id) as wait:
            assert await wait.changed(5)
    assert 0.4 <= monotonic() - began < 1.6, "as late as a stream's first look"


async def test_a_caller_who_came_while_others_looked_has_a_first_look_of_its_own(house: House) -> None:
    interaction_id = await house.opened()
    waits = house.waits(timedelta(milliseconds=300))
    house.runs.may_answer.clear()
    async with waits.on(interaction_id) as earlier:
        await asyncio.wait_for(house.runs.was_asked.wait(), 5)
        async with waits.on(interaction_id) as later:
            house.runs.may_answer.set()
            assert await earlier.changed(5)
            assert await later.changed(5)
    assert len(house.runs.asked_at) == 2
    assert house.runs.asked_at[1] - house.runs.asked_at[0] < 0.6, "as late as the second look of the earlier one"


async def test_a_caller_beside_a_stream_is_told_as_soon_that_temporal_is_gone(house: House) -> None:
    interaction_id = await house.opened()
    house.runs.away = True
    waits = house.waits(timedelta(milliseconds=300))
    async with waits.on(interaction_id, resumable=True):
        asked_at = monotonic()
        with pytest.raises(WorkflowServiceUnavailableError, match="Temporal"):
            await asyncio.wait_for(house.service(waits=waits).result(interaction_id), 5)
    assert monotonic() - asked_at < 1.2, "as late as a stream's first look"


# --- accepting ---


async def test_only_the_first_of_equal_requests_is_told_of_and_only_a_queued_one_is_started_again(
    house: House,
) -> None:
    service = house.service()
    opening = Opening(key=IdempotencyKey("key", "fingerprint"))
    first, second = [await service.accept(request(), opening) for _ in range(2)]
    interaction_id = first.request.interaction_id
    assert (first.replayed, second.replayed) == (False, True)
    assert second.request == first.request
    assert house.runs.started == [interaction_id] * 2
    await house.application.store.take_place(interaction_id, 0)
    third = await service.accept(request(), opening)
    assert third.status is InteractionStatus.IN_PROGRESS
    assert house.runs.started == [interaction_id] * 2
    assert house.told == [interaction_id]


async def test_a_turn_whose_workflow_is_gone_keeps_nobody_out(house: House) -> None:
    service = house.service()
    gone = [(await service.accept(request(), Opening())).request.interaction_id for _ in range(2)]
    rejecting = Opening(strategy=MultitaskStrategy.REJECT)
    with pytest.raises(SessionBusyError) as busy:
        await service.accept(request(), rejecting)
    assert busy.value.interaction_id == gone[0]
    for interaction_id in gone:
        house.runs.states[f"interaction-{interaction_id}"] = RunState.CLOSED
    assert not (await service.accept(request(), rejecting)).replayed


@pytest.mark.parametrize("away", [False, True])
async def test_the_workflows_of_displaced_turns_are_cancelled_if_they_can_be(house: House, away: bool) -> None:
    service = house.service()
    earlier = (await service.accept(request(), Opening())).request.interaction_id
    if away:

        async def refuse(workflow_id: str) -> None:
            raise WorkflowServiceUnavailableError("Temporal does not answer")

        house.runs.cancel = refuse  # type: ignore[method-assign]
    opened = await service.accept(request(), Opening(strategy=MultitaskStrategy.INTERRUPT))
    assert opened.displaced == [earlier]
    assert house.runs.cancelled == ([] if away else [f"interaction-{earlier}"])


# --- cancelling ---


async def test_cancelling_ends_with_the_interaction_or_with_patience(house: House) -> None:
    service = house.service()
    interaction_id = await house.opened()
    cancelling = asyncio.create_task(service.cancel(interaction_id))
    await asyncio.wait_for(house.runs.was_cancelled.wait(), 5)
    await house.application.store.end(interaction_id, replace(DONE, status=InteractionStatus.CANCELLED))
    assert (await asyncio.wait_for(cancelling, 1.5)).status is InteractionStatus.CANCELLED
    assert (await service.cancel(interaction_id)).status is InteractionStatus.CANCELLED
    assert house.runs.cancelled == [f"interaction-{interaction_id}"]
    with pytest.raises(UnknownResourceError):
        await service.cancel("nobody")


async def test_without_temporal_what_has_not_begun_is_cancelled_and_what_has_is_told_to_stop(house: House) -> None:
    queued, running = await house.opened(), await house.opened()
    await house.application.store.take_place(running, 0)
    house.runs.away = True
    assert (await house.service().cancel(queued)).status is InteractionStatus.CANCELLED
    assert (await house.service().cancel(running)).status is InteractionStatus.IN_PROGRESS
    assert await house.application.store.is_cancelling(running)


async def test_a_process_that_stops_takes_no_client_for_gone(house: House) -> None:
    service = house.service()
    interaction_id = await house.opened()
    service.leave()
    service.cancel_for_absent(interaction_id)
    await asyncio.sleep(0)
    assert house.runs.cancelled == []


@pytest.mark.parametrize("streamed", [True, False])
async def test_who_leaves_cancels_nothing_for_those_who_stay(house: House, streamed: bool) -> None:
    interaction_id = await house.opened()
    waits = house.waits()
    service = house.service(waits=waits)
    async with waits.on(interaction_id, resumable=streamed):
        service.cancel_for_absent(interaction_id)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(house.runs.was_cancelled.wait(), 0.1)
    service.cancel_for_absent(interaction_id)
    await asyncio.wait_for(house.runs.was_cancelled.wait(), 5)


# --- keys ---


async def test_a_route_that_knows_no_idempotency_key_refuses_one() -> None:
    router = APIRouter(route_class=StrictRoute)

    @router.post("/keyless")
    async def keyless(body: dict[str, int] = Body()) -> dict[str, int]:  # noqa: B008
        return body

    app = FastAPI()
    add_problem_handlers(app)
    app.include_router(router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.post("/keyless", json={})).status_code == 200
        refused = await client.post("/keyless", json={}, headers={"idempotency-key": "a"})
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "Idempotency-Key")
