"""The service in one process: what it waits for, and for how long; what it starts, and what it tells."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from time import monotonic

import httpx
import pytest
from fastapi import APIRouter, Body, FastAPI

from api.error_handlers import add_error_handlers
from api.strict_route import StrictRoute
from core.orchestrator.contracts import (
    InteractionStatus,
    MultitaskStrategy,
)
from core.orchestrator.errors import SessionBusyError, UnknownResourceError, WorkflowServiceUnavailableError
from core.orchestrator.events import terminal_event_of
from core.orchestrator.interactions.opening import IdempotencyKey, Opening
from core.orchestrator.runs import RunState
from tests.api.house import DONE, NOW, House
from tests.core.orchestrator.domain import PROMPT, request

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


async def test_whoever_waits_is_handed_an_end_that_is_told_here_and_reads_nothing(house: House) -> None:
    interaction_id = await house.opened()
    waits = house.waits()
    service = house.service(waits=waits)
    waiting = [
        asyncio.create_task(service.result(interaction_id)),
        asyncio.create_task(service.current(interaction_id, 60)),
    ]
    while waits.callers < len(waiting):  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)
    open_still = await house.application.store.view(interaction_id)
    end = open_still.model_copy(update={"status": InteractionStatus.COMPLETED, "message": "Hi"})
    house.application.events.publish(terminal_event_of(end))
    assert await asyncio.wait_for(asyncio.gather(*waiting), 5) == [end, end]


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
    await house.application.store.save_prompt(interaction_id, PROMPT, {})
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
    await house.application.store.save_prompt(running, PROMPT, {})
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
    add_error_handlers(app)
    app.include_router(router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.post("/keyless", json={})).status_code == 200
        refused = await client.post("/keyless", json={}, headers={"idempotency-key": "a"})
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "Idempotency-Key")
