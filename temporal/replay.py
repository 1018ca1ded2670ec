"""Replaying histories against the code of today: would a running interaction still go the way it went?"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHistory
from temporalio.service import RPCError
from temporalio.worker import Replayer

from core.orchestrator.errors import ConfigurationError, UnknownResourceError, WorkflowServiceUnavailableError
from temporal.client import DATA_CONVERTER


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
    async with replayer.workflow_replay_iterator(histories) as results:
        async for result in results:
            failure = result.replay_failure
            yield Replayed(
                workflow_id=result.history.workflow_id,
                run_id=result.history.run_id,
                events=len(result.history.events),
                difference=None if failure is None else str(failure),
            )


async def history_of(client: Client, workflow_id: str) -> AsyncIterator[WorkflowHistory]:
    """Yield the history of the latest run of a workflow.

    Raises:
        UnknownResourceError: Temporal does not know it.
        WorkflowServiceUnavailableError: Temporal did not answer.
    """
    try:
        yield await client.get_workflow_handle(workflow_id).fetch_history()
    except RPCError as error:
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
    except RPCError as error:
        raise _translated(error, query) from error


async def history_in(path: Path) -> AsyncIterator[WorkflowHistory]:
    """Yield the history in a file, as `temporal workflow show --output json` writes it.

    Raises:
        ConfigurationError: the file cannot be read or holds no history.
    """
    try:
        content: dict[str, Any] = json.loads(await asyncio.to_thread(path.read_text))
        started = content["events"][0]["workflowExecutionStartedEventAttributes"]
        history = WorkflowHistory.from_json(started.get("workflowId", path.stem), content)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ConfigurationError(f"{path} holds no workflow history in JSON: {error}") from error
    yield history


def _translated(error: RPCError, what: str) -> Exception:
    match error.status.name:
        case "NOT_FOUND":
            return UnknownResourceError("workflow", what)
        case "INVALID_ARGUMENT":
            return ConfigurationError(f"Temporal refuses the query: {error.message}")
        case _:
            return WorkflowServiceUnavailableError(f"Temporal did not answer: {error.message}")
