"""The four steps as a workflow's test scripts them: activities of the real names, with no side effects at all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from core.orchestrator.contracts import (
    COMPLETION_WORKFLOW,
    INTERACTION_WORKFLOW,
    AfterOutput,
    Attempt,
    AttemptStatus,
    BuildPrompt,
    CallFailure,
    CallLimits,
    CallModel,
    CancelCall,
    CompletionRequest,
    InteractionRequest,
    InteractionStatus,
    InteractionView,
    MemoryWindow,
    ModelAnswer,
    PlannedCall,
    PromptPlan,
    StoreResults,
)
from core.orchestrator.errors import ErrorType, NextStep
from core.orchestrator.workflow_ids import workflow_id_of
from workflows.all import WORKFLOWS

Behaviour = Callable[[PlannedCall], Awaitable[ModelAnswer]]


async def answer(call: PlannedCall) -> ModelAnswer:
    """The model answers."""
    attempt = Attempt(ordinal=call.place + 1, model=call.model, provider=call.provider, status=AttemptStatus.SUCCEEDED)
    return ModelAnswer(
        place=call.place, text=f"{call.model} says hello", model=call.model, provider=call.provider, attempts=[attempt]
    )


def fail(error_type: ErrorType, then: NextStep = NextStep.NEXT_MODEL) -> Behaviour:
    """The model fails, its tries are spent, and `then` says who comes next."""

    async def failing(call: PlannedCall) -> ModelAnswer:
        attempt = Attempt(
            ordinal=call.place + 1,
            model=call.model,
            provider=call.provider,
            status=AttemptStatus.FAILED,
            error_type=error_type,
            http_status=503,
            duration_ms=7,
        )
        failure = CallFailure(error_type=error_type, detail=f"{call.model} failed", then=then, attempts=[attempt])
        raise ApplicationError(failure.detail, failure, type=error_type, non_retryable=True)

    return failing


class Steps:
    """Scripted steps that remember what they were asked."""

    def __init__(self, **models: Behaviour) -> None:
        """Plan `models` in this order; `free` in a name stands for OpenRouter's `:free`."""
        self.models = {name.replace("_free", ":free"): behaviour for name, behaviour in models.items()}
        self.limits = CallLimits()
        self.after_output = AfterOutput.RESTART
        self.planned: dict[str, dict[str, Any]] = {}
        """What the plan says of a model beside its name."""
        self.asked: list[CallModel] = []
        self.windows: list[MemoryWindow] = []
        """What `load_memory` says, in order; then that the turn's place has come."""
        self.prompt_failure: Exception | None = None
        self.ended_as: InteractionStatus | None = None
        """How the store says the interaction had ended before."""
        self.taken: list[str] = []
        """The steps in the order in which they ran."""
        self.stored: list[StoreResults] = []
        self.prompted: list[BuildPrompt] = []
        self.woken = asyncio.Event()
        """Set when the call is told to stop."""
        self.reached = asyncio.Event()
        """Set when a model that hangs is being asked, or a turn is told to wait."""
        self.storing: Callable[[], Awaitable[None]] | None = None
        """Awaited by `store_results` before it answers."""
        self._attempts: list[Attempt] = []

    async def hang(self, call: PlannedCall) -> ModelAnswer:
        """The model gives signs of life and no answer until it is cancelled."""
        self.reached.set()
        while True:
            activity.heartbeat(call.model)
            await asyncio.sleep(0.1)

    @activity.defn(name="load_memory")
    async def load_memory(self, request: InteractionRequest) -> MemoryWindow:
        self.taken.append("load_memory")
        window = self.windows.pop(0) if self.windows else MemoryWindow(messages=2)
        if window.waiting_on is not None:
            self.reached.set()
        return window

    @activity.defn(name="build_prompt")
    async def build_prompt(self, request: BuildPrompt) -> PromptPlan:
        self.taken.append("build_prompt")
        self.prompted.append(request)
        if self.prompt_failure is not None:
            raise self.prompt_failure
        calls = [
            PlannedCall.model_validate(
                {"place": place, "provider": "fake", "model": name, **self.planned.get(name, {})}
            )
            for place, name in enumerate(self.models)
        ]
        return PromptPlan(calls=calls, limits=self.limits, after_output=self.after_output)

    @activity.defn(name="call_model")
    async def call_model(self, request: CallModel) -> ModelAnswer:
        self.taken.append(request.call.model)
        self.asked.append(request)
        try:
            answered = await self.models[request.call.model](request.call)
        except ApplicationError as error:
            if error.details:
                self._attempts += error.details[0].attempts
            raise
        self._attempts += answered.attempts
        return answered

    @activity.defn(name="cancel_call")
    async def cancel_call(self, request: CancelCall) -> None:
        self.taken.append("cancel_call")
        self.woken.set()

    @activity.defn(name="store_results")
    async def store_results(self, request: StoreResults) -> InteractionView:
        self.taken.append("store_results")
        self.stored.append(request)
        if self.storing is not None:
            await self.storing()
        return InteractionView(
            interaction_id=request.interaction_id,
            workflow_id=workflow_id_of(request.interaction_id),
            status=self.ended_as or _status_of(request),
            model=list(self.models)[request.answered_place] if request.answered_place is not None else None,
            error=request.error,
            attempts=self._attempts,
        )

    @asynccontextmanager
    async def worker(self, client: Client) -> AsyncIterator["Runner"]:
        """Run the real workflows over these steps."""
        queue = f"steps-{uuid4()}"
        activities = [
            self.load_memory,
            self.build_prompt,
            self.call_model,
            self.cancel_call,
            self.store_results,
        ]
        # Cancellation reaches an activity with its heartbeats, which are sent so often at least.
        often = timedelta(milliseconds=200)
        async with Worker(
            client, task_queue=queue, workflows=WORKFLOWS, activities=activities, max_heartbeat_throttle_interval=often
        ):
            yield Runner(client, queue)

    async def run(self, client: Client) -> InteractionView:
        """Run one interaction to its end."""
        async with self.worker(client) as runner:
            return await (await runner.interaction()).result()


class Runner:
    """Starts workflows on one task queue."""

    def __init__(self, client: Client, queue: str) -> None:
        self._client = client
        self._queue = queue

    async def interaction(self, task_timeout: timedelta | None = None) -> WorkflowHandle[object, InteractionView]:
        request = InteractionRequest(
            interaction_id=str(uuid4()), user_id="ada", session_id="s", persona_id="cherry", message="Hello"
        )
        return await self._start(INTERACTION_WORKFLOW, request, task_timeout)

    async def completion(self) -> WorkflowHandle[object, InteractionView]:
        return await self._start(COMPLETION_WORKFLOW, CompletionRequest(interaction_id=str(uuid4()), user_id="ada"))

    async def _start(
        self, name: str, request: InteractionRequest | CompletionRequest, task_timeout: timedelta | None = None
    ) -> WorkflowHandle[object, InteractionView]:
        return await self._client.start_workflow(
            name,
            request,
            id=workflow_id_of(request.interaction_id),
            task_queue=self._queue,
            result_type=InteractionView,
            task_timeout=task_timeout,
        )


def _status_of(request: StoreResults) -> InteractionStatus:
    if request.error is None:
        return InteractionStatus.COMPLETED
    if request.error.type is ErrorType.CANCELLED:
        return InteractionStatus.CANCELLED
    return InteractionStatus.FAILED
