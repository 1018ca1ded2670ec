"""Record the histories that `test_replay.py` replays for ever: `python -m tests.replay.record [SHAPE …]`.

It runs our own workflows, activities and store against a Temporal dev server and the stand-in, one shape after the
other, and writes what Temporal recorded to `histories/SHAPE.json`. A history that exists is never written again: it
stands for runs that may still be in progress somewhere. A new shape of workflow gets a new file.

Histories name who did what and where code failed. Both would tell of the machine that recorded them, so worker and
client get a name of their own, and failures are recorded without their stack traces.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.api.failure.v1 import Failure
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.converter import DefaultFailureConverter, PayloadConverter

from api.app import create_app
from api.service import InteractionService, new_id
from core.orchestrator.agents.base import Agent, AgentContext
from core.orchestrator.application import start_application
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.config import Settings
from core.orchestrator.contracts import (
    RECONCILIATION_WORKFLOW,
    AfterOutput,
    CompletionRequest,
    InteractionRequest,
    InteractionStatus,
    Message,
    MultitaskStrategy,
)
from core.orchestrator.extensions import register_agent
from core.orchestrator.interactions.opening import Opening
from core.orchestrator.interactions.store import Ending, InteractionStore
from core.orchestrator.workflow_ids import reconciliation_id_of, workflow_id_of
from embedded.children import Children
from embedded.temporal_server import start_temporal
from standin import StandIn
from temporal.payloads import DATA_CONVERTER
from temporal.runs import WorkflowRuns
from tests.harness import free_port, until
from worker import build_worker

HISTORIES = Path(__file__).with_name("histories")
_IDENTITY = "recorder"
_NO_DEADLINE, _DEADLINE_SECONDS = 300, 1
_GOOD, _OTHER, _HELD = "openai/gpt-4", "openai/gpt-4o", "openai/held"
_HOLD = {"hold": True, "after": 1}


class _WithoutStackTraces(DefaultFailureConverter):
    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(exception, payload_converter, failure)
        current: Failure | None = failure
        while current is not None:
            current.stack_trace = ""
            current = current.cause if current.HasField("cause") else None


class _Broken(Agent):
    """Cannot write a prompt."""

    @property
    def name(self) -> str:
        return "broken"

    def can_handle(self, context: AgentContext) -> float:
        return 0

    def build_messages(self, context: AgentContext) -> list[Message]:
        raise ValueError("the template has no end")


@dataclass(frozen=True)
class Scene:
    """A running system, as a shape uses it."""

    service: InteractionService
    store: InteractionStore
    runs: WorkflowRuns
    client: Client
    standin: StandIn
    failures_until_cooling: int

    def request(self, model: str = _GOOD, *fallbacks: str, **fields: Any) -> InteractionRequest:
        return InteractionRequest(
            interaction_id=new_id(),
            user_id="ada",
            session_id=fields.pop("session_id", new_id()),
            persona_id="cherry",
            message="Tell me about artificial intelligence",
            model=model,
            fallback_models=list(fallbacks),
            **fields,
        )

    async def interact(self, model: str = _GOOD, *fallbacks: str, **fields: Any) -> str:
        """Begin an interaction and return its id."""
        request = self.request(model, *fallbacks, **fields)
        await self.service.accept(request, Opening())
        return request.interaction_id

    async def complete(self, model: str = _GOOD, *fallbacks: str) -> str:
        """Begin a completion and return its id."""
        request = CompletionRequest(
            interaction_id=new_id(), user_id="ada", model=model, fallback_models=list(fallbacks)
        )
        prompt = Prompt([{"role": "user", "content": "Tell me about artificial intelligence"}], 0.7, None)
        await self.service.accept_completion(request, prompt, Opening())
        return request.interaction_id

    async def held(self, begin: Callable[..., Awaitable[str]], **fields: Any) -> str:
        """Begin something with a model that says one word and no more until it is released; return when it has."""
        self.standin.script(_HELD, _HOLD)
        interaction_id = await begin(_HELD, **fields)
        await until(lambda: self.standin.ledger.calls and self.standin.ledger.calls[-1].model == _HELD)
        return interaction_id

    async def in_line(self) -> tuple[str, str]:
        """Begin a held turn and one behind it, and return both when the second one waits."""
        session_id = new_id()
        first = await self.held(self.interact, session_id=session_id)
        second = await self.interact(session_id=session_id)
        async for event in self.run_of(second).fetch_history_events(wait_new_event=True):
            if event.HasField("timer_started_event_attributes"):
                break
        return first, second

    def run_of(self, interaction_id: str) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(workflow_id_of(interaction_id))

    async def end(self, interaction_id: str) -> None:
        """Return when a run has closed, however it did."""
        with suppress(WorkflowFailureError):
            await self.run_of(interaction_id).result()

    async def cancel(self, interaction_id: str) -> str:
        await self.run_of(interaction_id).cancel()
        return interaction_id


Shape = Callable[[Scene], Awaitable[str]]


async def _waited_for_its_turn(scene: Scene) -> str:
    _, second = await scene.in_line()
    scene.standin.release()
    return second


async def _looked_for_its_turn(scene: Scene) -> str:
    _, second = await scene.in_line()
    async for event in scene.run_of(second).fetch_history_events(wait_new_event=True):
        if event.HasField("timer_fired_event_attributes"):
            break
    scene.standin.release()
    return second


async def _cancelled_in_line(scene: Scene) -> str:
    first, second = await scene.in_line()
    await scene.cancel(second)
    await scene.end(second)
    scene.standin.release()
    await scene.end(first)
    return second


async def _displaced(scene: Scene) -> str:
    """The later turn is not started: so the run hears of it from its call alone."""
    session_id = new_id()
    interaction_id = await scene.held(scene.interact, session_id=session_id)
    later = Opening(strategy=MultitaskStrategy.INTERRUPT)
    await scene.store.open_turn(scene.request(session_id=session_id), later)
    return interaction_id


async def _cancelled_too_late(scene: Scene) -> str:
    interaction_id = await scene.held(scene.interact)
    await scene.store.end(interaction_id, Ending(InteractionStatus.INCOMPLETE, reply="That much was said"))
    return await scene.cancel(interaction_id)


async def _ended_before_it_began(scene: Scene) -> str:
    request = scene.request()
    await scene.store.open_turn(request)
    await scene.store.abandon(request.interaction_id, await scene.store.offered_at(request.interaction_id))
    await scene.runs.start(request)
    return request.interaction_id


async def _passed_over_while_cooling(scene: Scene) -> str:
    for _ in range(scene.failures_until_cooling):
        await scene.end(await scene.complete("standin/no-endpoints"))
    return await scene.interact("standin/no-endpoints", _GOOD)


async def _refused_by_two(scene: Scene) -> str:
    scene.standin.script(_OTHER, "provider-400")
    return await scene.interact("standin/provider-400", _OTHER, _GOOD)


async def _reconciled(scene: Scene) -> str:
    interaction_id = await scene.interact("standin/truncated", _GOOD)
    await scene.end(interaction_id)
    return interaction_id


async def _never_reconciled(scene: Scene) -> str:
    """Takes ten minutes: so long the provider, which has forgotten the calls, is asked for them."""
    interaction_id = await _reconciled(scene)
    scene.standin.reset()
    return interaction_id


SHAPES: Mapping[str, Shape] = {
    "interaction-plain": lambda scene: scene.interact(),
    "interaction-retried": lambda scene: scene.interact("standin/flaky"),
    "interaction-one-fallback": lambda scene: scene.interact("standin/no-endpoints", _GOOD),
    "interaction-two-fallbacks": lambda scene: scene.interact("standin/no-endpoints", "standin/provider-400", _GOOD),
    "interaction-retried-then-fallback": lambda scene: scene.interact("standin/down", _GOOD),
    "interaction-no-model-answered": lambda scene: scene.interact("standin/no-endpoints", "standin/unknown-model"),
    "interaction-refused": lambda scene: scene.interact("standin/unauthorized", _GOOD),
    "interaction-free-allowance-spent": lambda scene: scene.interact("standin/free-per-day", "other:free", _GOOD),
    "interaction-prompt-failed": lambda scene: scene.interact(agent="broken"),
    "interaction-waited-for-its-turn": _waited_for_its_turn,
    "interaction-looked-for-its-turn": _looked_for_its_turn,
    "interaction-cancelled-during-a-call": lambda scene: _cancelled(scene, scene.interact),
    "interaction-cancelled-and-woken": lambda scene: _cancelled(scene, scene.interact),
    "interaction-displaced": _displaced,
    "interaction-cancelled-in-line": _cancelled_in_line,
    "interaction-cancelled-too-late": _cancelled_too_late,
    "interaction-ended-before-it-began": _ended_before_it_began,
    "interaction-incomplete": lambda scene: scene.interact(
        "standin/truncated", _GOOD, after_output=AfterOutput.INCOMPLETE
    ),
    "interaction-continued": lambda scene: scene.interact(
        "standin/truncated", _GOOD, after_output=AfterOutput.CONTINUE
    ),
    "interaction-free-models-passed-over": lambda scene: scene.interact("standin/free-per-day", "other:free", _GOOD),
    "interaction-cooling-model-passed-over": _passed_over_while_cooling,
    "interaction-refused-by-two-upstreams": _refused_by_two,
    "interaction-larger-context": lambda scene: scene.interact("standin/context-length", _GOOD, _OTHER),
    "interaction-deadline": lambda scene: scene.held(scene.interact),
    "completion-plain": lambda scene: scene.complete(),
    "completion-one-fallback": lambda scene: scene.complete("standin/no-endpoints", _OTHER),
    "completion-no-model-answered": lambda scene: scene.complete("standin/no-endpoints", "standin/unknown-model"),
    "completion-cancelled-during-a-call": lambda scene: _cancelled(scene, scene.complete),
    "completion-cancelled-and-woken": lambda scene: _cancelled(scene, scene.complete),
    "reconciliation-settled": _reconciled,
    "reconciliation-unknown": _never_reconciled,
}
"""Every shape that a released workflow has."""


async def _cancelled(scene: Scene, begin: Callable[..., Awaitable[str]]) -> str:
    return await scene.cancel(await scene.held(begin))


async def record(shape: str, directory: Path) -> Path:
    """Perform one shape on a system of its own and save its history.

    Raises:
        FileExistsError: it is saved already.
    """
    path = HISTORIES / f"{shape}.json"
    if path.exists():
        raise FileExistsError(path)
    async with AsyncExitStack() as stack:
        standin = await stack.enter_async_context(StandIn())
        settings = Settings(
            _env_file=None,
            OPENROUTER_API_KEY="sk-or-recorder",
            OPENROUTER_BASE_URL=standin.base_url,
            DATA_DIR=directory,
            TEMPORAL_PORT=free_port(),
            TEMPORAL_UI_PORT=free_port(),
            LOG_LEVEL="error",
            INTERACTION_DEADLINE_SECONDS=_DEADLINE_SECONDS if shape == "interaction-deadline" else _NO_DEADLINE,
        )
        children = Children(directory)
        stack.push_async_callback(children.stop)
        server = await start_temporal(settings, children)
        client = await Client.connect(
            server.service_client.config.target_host,
            data_converter=replace(DATA_CONVERTER, failure_converter_class=_WithoutStackTraces),
            identity=_IDENTITY,
        )
        application = await start_application(settings)
        stack.push_async_callback(application.close)
        await application.catalogue.refresh()
        await stack.enter_async_context(build_worker(application, client, timedelta(0)))
        runs = WorkflowRuns(client, settings.TASK_QUEUE)
        scene = Scene(
            create_app(application, client).state.service,
            application.store,
            runs,
            client,
            standin,
            settings.LLM_COOLDOWN_AFTER_FAILURES,
        )
        interaction_id = await SHAPES[shape](scene)
        await scene.end(interaction_id)
        run = scene.run_of(interaction_id)
        if shape.startswith(RECONCILIATION_WORKFLOW):
            run = client.get_workflow_handle(reconciliation_id_of(interaction_id))
            await run.result()
        history = await run.fetch_history()
        standin.release()
    path.write_text(json.dumps(json.loads(history.to_json()), indent=1, ensure_ascii=False) + "\n")
    return path


def main() -> int:
    """Record the shapes that are named, or all that are not saved yet; the result is the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.replay.record", description="Record workflow histories.")
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"one of: {', '.join(SHAPES)}")
    missing = [shape for shape in SHAPES if not (HISTORIES / f"{shape}.json").exists()]
    shapes = parser.parse_args().shapes or missing
    if unknown := [shape for shape in shapes if shape not in SHAPES]:
        parser.error(f"there is no shape '{unknown[0]}'")
    register_agent("broken", _Broken)
    for shape in shapes:
        try:
            with tempfile.TemporaryDirectory() as directory:
                path = asyncio.run(record(shape, Path(directory)))
        except FileExistsError as error:
            sys.stderr.write(f"{error} exists; a released history is never written again\n")
            return 1
        sys.stdout.write(f"recorded {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
