"""`call_model`: what Temporal is told of a call, and how it is interrupted; with a real ledger."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from activities.call_model import CallModelActivity
from core.orchestrator.calls.calling import ModelCaller
from core.orchestrator.calls.cancelling import Cancellations
from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.contracts import (
    AttemptStatus,
    CallFailure,
    CallModel,
    CompletionRequest,
    Message,
    ModelAnswer,
    PlannedCall,
)
from core.orchestrator.errors import (
    ErrorType,
    LLMProviderAuthenticationError,
    LLMProviderError,
    LLMProviderRateLimitError,
    LLMProviderServiceError,
    NextStep,
    Posture,
)
from core.orchestrator.events import EventBus
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.models.cooldowns import Cooldowns
from core.orchestrator.providers.base import ChatCompletion, LLMProvider
from core.orchestrator.registry import Registry
from core.orchestrator.storage.database import open_database

REQUEST = CallModel(interaction_id="one", call=PlannedCall(place=0, provider="scripted", model="m"))
HANG = "hang"


class Scripted(LLMProvider):
    """Raises the scripted errors in order, hangs where told to, and answers from then on."""

    def __init__(self) -> None:
        self.script: list[LLMProviderError | str] = []
        self.calls = 0
        self.hanging = asyncio.Event()
        self.left = asyncio.Event()

    @property
    def provider_name(self) -> str:
        return "scripted"

    async def generate_chat_completion(
        self, messages: Sequence[Message], model: str | None = None, temperature: float = 0.7, max_tokens: Any = None
    ) -> str:
        raise NotImplementedError

    async def stream_chat_completion(
        self, messages: Sequence[Message], model: str | None = None, temperature: float = 0.7, max_tokens: Any = None
    ) -> AsyncGenerator[str | ChatCompletion]:
        self.calls += 1
        yield "Hello"
        match self.script.pop(0) if self.script else None:
            case LLMProviderError() as error:
                raise error
            case str():
                self.hanging.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    self.left.set()
        yield ChatCompletion(content="Hello there", finish_reason="stop")


@dataclass
class Scene:
    """One activity with an interaction to call for."""

    provider: Scripted
    ledger: AttemptLedger
    activity: CallModelActivity

    async def run(self, environment: ActivityEnvironment | None = None) -> ModelAnswer:
        return await (environment or within(timedelta(minutes=5))).run(self.activity.call_model, REQUEST)

    async def fail(self, environment: ActivityEnvironment | None = None) -> ApplicationError:
        with pytest.raises(ApplicationError) as failure:
            await self.run(environment)
        return failure.value


def within(deadline: timedelta | None, waited: timedelta = timedelta(0)) -> ActivityEnvironment:
    """An activity that began when so much of its interaction's time was gone."""
    environment = ActivityEnvironment()
    environment.info = replace(
        environment.info,
        schedule_to_close_timeout=deadline,
        started_time=environment.info.scheduled_time + waited,
    )
    return environment


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    database = open_database(tmp_path / "orchestrator.db")
    await database.migrate()
    store, ledger, provider = InteractionStore(database), AttemptLedger(database), Scripted()
    providers = Registry("provider", LLMProvider)
    providers.register("scripted", lambda: provider)
    request = CompletionRequest(interaction_id="one", user_id="ada")
    await store.open_completion(request, Prompt([{"role": "user", "content": "Hi"}], 0.7, None))
    caller = ModelCaller(
        ledger=ledger,
        providers=providers,
        events=EventBus(),
        cooldowns=Cooldowns(database, 0, timedelta(seconds=1)),
        cancellations=Cancellations(database),
        estimate=lambda *_: None,
        call_timeout=timedelta(seconds=30),
        max_wait=timedelta(seconds=20),
    )
    yield Scene(provider, ledger, CallModelActivity(caller))
    await database.close()


async def test_the_answer_comes_with_its_attempts(scene: Scene) -> None:
    answer = await scene.run()
    assert (answer.text, answer.finish_reason, answer.model, answer.place) == ("Hello there", "stop", "m", 0)
    assert [attempt.status for attempt in answer.attempts] == [AttemptStatus.SUCCEEDED]


async def test_an_answer_that_is_kept_already_is_not_paid_for_again(scene: Scene) -> None:
    first = await scene.run()
    assert await scene.run() == first
    assert scene.provider.calls == 1


async def test_a_failure_that_may_pass_is_retried_after_the_wait_that_was_asked_for(scene: Scene) -> None:
    wait = timedelta(seconds=7)
    scene.provider.script = [LLMProviderRateLimitError("slow down", posture=Posture(tries=2, retry_after=wait))]
    error = await scene.fail()
    assert not error.non_retryable
    assert error.next_retry_delay == wait
    assert (error.type, error.message) == ("rate_limit", "slow down")


async def test_when_its_tries_are_spent_a_failure_is_final(scene: Scene) -> None:
    error = LLMProviderServiceError("down", error_type=ErrorType.UNAVAILABLE, posture=Posture(tries=2))
    scene.provider.script = [error, error]
    assert [(await scene.fail()).non_retryable for _ in range(2)] == [False, True]


async def test_a_wait_longer_than_anybody_waits_is_final(scene: Scene) -> None:
    hour = Posture(tries=2, retry_after=timedelta(hours=1))
    scene.provider.script = [LLMProviderRateLimitError("come back later", posture=hour)]
    error = await scene.fail()
    assert (error.non_retryable, error.next_retry_delay) == (True, None)


async def test_a_failure_carries_the_calls_so_far_and_who_comes_next(scene: Scene) -> None:
    twice = LLMProviderServiceError("down", http_status=503, posture=Posture(tries=2))
    scene.provider.script = [twice, LLMProviderAuthenticationError("no", posture=Posture(then=NextStep.FAIL))]
    await scene.fail()
    (detail,) = (await scene.fail()).details
    assert isinstance(detail, CallFailure)
    assert (detail.error_type, detail.then) == (ErrorType.AUTHENTICATION, NextStep.FAIL)
    assert [(attempt.ordinal, attempt.http_status) for attempt in detail.attempts] == [(1, 503), (2, None)]


async def test_failures_are_benign_for_temporal_because_they_are_in_the_ledger(scene: Scene) -> None:
    scene.provider.script = [LLMProviderServiceError("down")]
    assert (await scene.fail()).category is ApplicationErrorCategory.BENIGN


async def test_heartbeats_tell_how_far_the_call_has_come(scene: Scene) -> None:
    told: list[dict[str, int]] = []
    twice = asyncio.Event()

    def note(*details: Any) -> None:
        told.append(details[0])
        if details[0]["characters"]:
            twice.set()

    environment = within(timedelta(minutes=5))
    environment.on_heartbeat = note
    environment.info = replace(environment.info, heartbeat_timeout=timedelta(milliseconds=50))
    scene.provider.script = [HANG]
    running = asyncio.create_task(scene.run(environment))
    await asyncio.wait_for(twice.wait(), 10)
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert told[-1] == {"attempt": 1, "characters": len("Hello")}


async def test_a_cancelled_call_leaves_the_upstream_and_is_recorded_as_cancelled(scene: Scene) -> None:
    environment = within(timedelta(minutes=5))
    scene.provider.script = [HANG]
    running = asyncio.create_task(scene.run(environment))
    await scene.provider.hanging.wait()
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert scene.provider.left.is_set()
    (attempt,) = await scene.ledger.attempts("one")
    assert (attempt.status, attempt.error_type) == (AttemptStatus.CANCELLED, ErrorType.CANCELLED)


@pytest.mark.parametrize(
    "why",
    [
        ActivityCancellationDetails(worker_shutdown=True),
        ActivityCancellationDetails(timed_out=True),
        ActivityCancellationDetails(not_found=True),
    ],
    ids=["shut down", "timed out", "not found"],
)
async def test_a_stopped_worker_hands_the_call_over_and_it_is_no_try(
    scene: Scene, why: ActivityCancellationDetails
) -> None:
    environment = within(timedelta(minutes=5))
    scene.provider.script = [HANG]
    running = asyncio.create_task(scene.run(environment))
    await scene.provider.hanging.wait()
    environment.cancel(why)
    with pytest.raises(ApplicationError) as failure:
        await running
    assert (failure.value.type, failure.value.non_retryable) == ("worker_lost", False)
    (attempt,) = await scene.ledger.attempts("one")
    assert (attempt.status, attempt.error_type) == (AttemptStatus.FAILED, ErrorType.WORKER_LOST)
    assert (await scene.run()).text == "Hello there"


async def test_a_call_ends_itself_before_the_deadline_and_the_ledger_knows_why(scene: Scene) -> None:
    scene.provider.script = [HANG]
    error = await scene.fail(within(timedelta(seconds=60), waited=timedelta(seconds=59.9)))
    assert (error.type, error.non_retryable) == ("timeout", True)
    (detail,) = error.details
    assert detail.then is NextStep.FAIL
    assert scene.provider.left.is_set()
    (attempt,) = await scene.ledger.attempts("one")
    assert (attempt.status, attempt.error_type) == (AttemptStatus.FAILED, ErrorType.TIMEOUT)
    assert attempt.duration_ms is not None
    assert attempt.duration_ms < 1000


async def test_a_wait_beyond_the_deadline_is_final(scene: Scene) -> None:
    wait = Posture(tries=2, retry_after=timedelta(seconds=7))
    scene.provider.script = [LLMProviderRateLimitError("slow down", posture=wait)]
    error = await scene.fail(within(timedelta(seconds=60), waited=timedelta(seconds=55)))
    assert (error.non_retryable, error.next_retry_delay) == (True, None)
    assert error.details[0].then is NextStep.NEXT_MODEL


async def test_a_call_without_a_deadline_has_its_own_limit_only(scene: Scene) -> None:
    assert (await scene.run(within(None))).text == "Hello there"
