"""Replaying histories against the code of today: would a running interaction still go the way it went?"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer

from core.orchestrator.errors import ConfigurationError, UnknownResourceError, WorkflowServiceUnavailableError
from temporal.payloads import DATA_CONVERTER

_MESSAGE = re.compile(r'message: "((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Replayed:
    """One history, replayed."""

    workflow_id: str
    run_id: str
    events: int
    difference: str | None
    """What differs; None when the code of today goes the same way."""


async def replay(workflows: Sequence[type], histories: AsyncIterator[WorkflowHistory]) -> AsyncIterator[Replayed]:
    """Replay histories one by one."""
    replayer = Replayer(workflows=workflows, data_converter=DATA_CONVERTER)
    async for history in histories:
        failure = None
        # Where no task is completed there is nothing to compare, and the SDK's replayer panics and never comes back.
        if any(event.HasField("workflow_task_completed_event_attributes") for event in history.events):
            failure = (await replayer.replay_workflow(history, raise_on_replay_failure=False)).replay_failure
        yield Replayed(
            workflow_id=history.workflow_id,
            run_id=history.run_id,
            events=len(history.events),
            difference=None if failure is None else _in_words(failure),
        )


async def history_of(client: Client, workflow_id: str) -> AsyncIterator[WorkflowHistory]:
    """Yield the history of the latest run of a workflow.

    Raises:
        UnknownResourceError: Temporal does not know it.
        WorkflowServiceUnavailableError: Temporal did not answer.
    """
    try:
        yield await client.get_workflow_handle(workflow_id).fetch_history()
    except (RPCError, RuntimeError) as error:
        raise _translated(error, workflow_id) from error


async def histories_of(client: Client, query: str) -> AsyncIterator[WorkflowHistory]:
    """Yield the histories of every run that a visibility query finds.

    Raises:
        ConfigurationError: the query is wrong.
        WorkflowServiceUnavailableError: Temporal did not answer.
    """
    try:
        async for history in client.list_workflows(query).map_histories():
            yield history
    except (RPCError, RuntimeError) as error:
        raise _translated(error, query) from error


async def history_in(path: Path) -> AsyncIterator[WorkflowHistory]:
    """Yield the history in a file, as `temporal workflow show --output json` writes it.

    Raises:
        ConfigurationError: the file cannot be read or holds no history.
    """
    try:
        content: dict[str, Any] = json.loads(await asyncio.to_thread(path.read_text))
        started = content["events"][0]["workflowExecutionStartedEventAttributes"]
        started["workflowType"]["name"]  # without it the SDK's replayer panics, and never comes back
        history = WorkflowHistory.from_json(started.get("workflowId", path.stem), content)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path} holds no workflow history in JSON: {error}") from error
    yield history


def _in_words(failure: Exception) -> str:
    """Return the messages of a failure, which the SDK prints as the fields of a structure, stack traces and all."""
    messages = [message.replace("\\n", " ") for message in _MESSAGE.findall(str(failure))]
    return ": ".join(messages).replace('\\"', '"') if messages else str(failure)


def _translated(error: RPCError | RuntimeError, what: str) -> Exception:
    match error:
        case RPCError(status=RPCStatusCode.NOT_FOUND):
            return UnknownResourceError("workflow", what)
        case RPCError(status=RPCStatusCode.INVALID_ARGUMENT):
            return ConfigurationError(f"Temporal refuses the query: {error.message}")
        case _:  # a RuntimeError is what a connection that cannot be made comes as
            return WorkflowServiceUnavailableError(f"Temporal did not answer: {error}")
