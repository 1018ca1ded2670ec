"""`kill -9` of a worker, at every moment that matters and with the default settings, while another worker lives."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from standin import StandIn
from tests.harness import Process, System, closed_run
from tests.system.stories import (
    HELD,
    PLUGINS,
    Json,
    answered,
    held,
    interaction_of,
    outcomes,
    roles,
    transcript,
    worker_calling,
)

IN_A_LOCAL_STEP = ("store_results", "load_memory", "build_prompt")
WITH_THE_ANSWER = "end_kept"
BY_ITSELF = (WITH_THE_ANSWER, *IN_A_LOCAL_STEP)
FIRST_CALL, FOURTH_CALL = "first call", "fourth call"
DURING_A_CALL = {FIRST_CALL: [], FOURTH_CALL: ["down", "down", "rate-limited"]}
"""What the calls before the lost one come to."""
EVERY_MOMENT = (*BY_ITSELF, *DURING_A_CALL)


@dataclass
class Story:
    """What became of one interaction whose worker was killed."""

    reply: Json
    seconds: float
    """From the kill to the reply."""
    ended_as: WorkflowExecutionStatus | None
    """How its run closed."""
    calls: int
    """To its model, by then."""
    messages: list[Json]


class Machine:
    """A system that loses one worker after the other, each over an interaction of its own."""

    def __init__(self, system: System, temporal: Client, deaths: Path) -> None:
        self.system = system
        self.temporal = temporal
        self.deaths = deaths
        self.workers: list[Process] = []
        self._requests: list[asyncio.Task[httpx.Response]] = []

    async def grow(self, workers: int) -> None:
        for _ in range(workers):
            self.workers.append(await self.system.start_worker())

    async def dies_by_itself(self, moment: str) -> tuple[str, float, asyncio.Task[httpx.Response]]:
        (self.deaths / moment).touch()
        alive = [worker for worker in self.workers if worker.running]
        request = self._send(moment)
        ends = [asyncio.create_task(worker.wait()) for worker in alive]
        done, _ = await asyncio.wait(ends, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        killed_at = time.monotonic()
        for end in ends:
            end.cancel()
        assert [end.result() for end in done] == [-9], f"no worker died at {moment}"
        return moment, killed_at, request

    async def is_killed_during(self, moment: str) -> tuple[str, float, asyncio.Task[httpx.Response]]:
        self.system.standin.script(f"test/{moment}", *DURING_A_CALL[moment], HELD)
        request = self._send(moment)
        await held(self.system)
        worker = worker_calling(self.workers, await interaction_of(self.system, moment))
        killed_at = time.monotonic()
        await worker.kill()
        return moment, killed_at, request

    async def story(self, moment: str, killed_at: float, request: asyncio.Task[httpx.Response]) -> Story:
        reply = await answered(request)
        seconds = time.monotonic() - killed_at
        run = await (await closed_run(self.temporal, reply["workflow_id"])).describe()
        calls = [call for call in self.system.standin.ledger.calls if call.model == f"test/{moment}"]
        return Story(reply, seconds, run.status, len(calls), await transcript(self.system, moment))

    async def stop(self) -> None:
        await self.system.stop()
        await asyncio.gather(*self._requests, return_exceptions=True)

    def _send(self, moment: str) -> asyncio.Task[httpx.Response]:
        sending = self.system.interact(
            f"Hello at {moment}", session_id=moment, model=f"test/{moment}", fallback_models=[]
        )
        self._requests.append(asyncio.create_task(sending))
        return self._requests[-1]


@pytest.fixture(scope="module")
async def stories(temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Story]]:
    """One worker killed at each moment, one after the other and all within seconds; the last one lives.

    Those that take longest to be missed go first: the others start meanwhile.
    """
    directory = tmp_path_factory.mktemp("killed")
    deaths = directory / "deaths"
    deaths.mkdir()
    async with StandIn() as standin:
        system = System(temporal_address, standin, directory, PLUGINS=f"{PLUGINS}.dying", DEATHS_DIR=str(deaths))
        machine = Machine(system, await Client.connect(temporal_address), deaths)
        try:
            await system.start_api()
            await machine.grow(len(DURING_A_CALL) + 2)
            killed = [await machine.is_killed_during(moment) for moment in DURING_A_CALL]
            killed.append(await machine.dies_by_itself(WITH_THE_ANSWER))
            await machine.grow(len(IN_A_LOCAL_STEP))
            killed += [await machine.dies_by_itself(moment) for moment in IN_A_LOCAL_STEP]
            told = await asyncio.gather(*(machine.story(*end) for end in killed))
            yield dict(zip((moment for moment, *_ in killed), told, strict=True))
        finally:
            await machine.stop()


@pytest.mark.parametrize("moment", EVERY_MOMENT)
def test_a_killed_worker_costs_no_reply(stories: dict[str, Story], moment: str) -> None:
    story = stories[moment]
    assert (story.reply["status"], story.reply["degraded"]) == ("completed", False)
    assert f"Hello at {moment}" in story.reply["message"]


@pytest.mark.parametrize("moment", EVERY_MOMENT)
def test_the_reply_is_stored_once(stories: dict[str, Story], moment: str) -> None:
    story = stories[moment]
    assert roles(story.messages) == ["user", "assistant"]
    assert story.messages[-1]["content"] == story.reply["message"]


@pytest.mark.parametrize("moment", IN_A_LOCAL_STEP)
def test_a_worker_killed_in_a_local_step_is_replaced_within_12_seconds(stories: dict[str, Story], moment: str) -> None:
    assert stories[moment].seconds < 12


@pytest.mark.parametrize("moment", DURING_A_CALL)
def test_a_worker_killed_during_a_call_is_replaced_within_20_seconds(stories: dict[str, Story], moment: str) -> None:
    assert stories[moment].seconds < 20


def test_nobody_waits_for_another_worker_once_the_end_is_kept(stories: dict[str, Story]) -> None:
    assert stories[WITH_THE_ANSWER].seconds < 5, "as long as if another worker had to take over"


@pytest.mark.parametrize("moment", EVERY_MOMENT)
def test_the_run_is_completed_by_another_worker(stories: dict[str, Story], moment: str) -> None:
    assert stories[moment].ended_as is WorkflowExecutionStatus.COMPLETED


def test_a_call_lost_with_its_worker_is_told_and_made_again(stories: dict[str, Story]) -> None:
    story = stories[FIRST_CALL]
    assert outcomes(story.reply) == ["worker_lost", "succeeded"]
    assert [attempt["status"] for attempt in story.reply["attempts"]] == ["failed", "succeeded"]
    assert story.calls == 2


def test_a_lost_call_is_no_try(stories: dict[str, Story]) -> None:
    story = stories[FOURTH_CALL]
    assert outcomes(story.reply) == ["unavailable", "unavailable", "rate_limit", "worker_lost", "succeeded"]
    assert {attempt["model"] for attempt in story.reply["attempts"]} == {f"test/{FOURTH_CALL}"}


@pytest.mark.parametrize("moment", BY_ITSELF)
def test_no_model_is_paid_twice(stories: dict[str, Story], moment: str) -> None:
    story = stories[moment]
    assert outcomes(story.reply) == ["succeeded"]
    assert story.calls == 1
