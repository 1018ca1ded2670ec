"""Replaying histories against the code of today: would a running interaction still go the way it went?"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowHistory
from temporalio.converter import DataConverter, DefaultFailureConverter
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer

from core.orchestrator.errors import ConfigurationError, UnknownResourceError, WorkflowServiceUnavailableError
from temporal.encryption import UnreadablePayloadError, is_encrypted
from temporal.payloads import DATA_CONVERTER
from temporal.reasons import reason

_MESSAGE = re.compile(r'message: "((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Replayed:
    """One history, replayed."""

    workflow_id: str
    run_id: str
    events: int
    difference: str | None
    """What differs; None when the code of today goes the same way."""


async def replay(
    workflows: Sequence[type], histories: AsyncIterator[WorkflowHistory], converter: DataConverter = DATA_CONVERTER
) -> AsyncIterator[Replayed]:
    """Replay histories one by one, read with `converter`.

    Raises:
        ConfigurationError: a history is encrypted with a key that the converter does not have.
    """
    # What differs is told in our words, whether or not workers write their failures encrypted.
    legible = replace(converter, failure_converter_class=DefaultFailureConverter)
    replayer = Replayer(workflows=workflows, data_converter=legible, runtime=_quiet())
    async for history in histories:
        await _check_readable(history, legible)
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


async def count_of(client: Client, query: str) -> int:
    """Return how many runs a visibility query finds.

    Raises:
        ConfigurationError: the query is wrong.
        WorkflowServiceUnavailableError: Temporal did not answer.
    """
    try:
        return (await client.count_workflows(query)).count
    except (RPCError, RuntimeError) as error:
        raise _translated(error, query) from error


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


@cache
def _quiet() -> Runtime:
    """Return a runtime that keeps its words to itself: by default the SDK prints each difference at length."""
    return Runtime(telemetry=TelemetryConfig(logging=None))


async def _check_readable(history: WorkflowHistory, converter: DataConverter) -> None:
    """Return if every payload can be read: one that cannot is a matter of the keys, and no difference."""
    sealed = [payload for event in history.events for payload in _payloads_in(event) if is_encrypted(payload)]
    try:
        for payload in sealed:
            await converter.decode([payload])
    except UnreadablePayloadError as error:
        raise ConfigurationError(f"{history.workflow_id} cannot be read: {error}") from error


def _payloads_in(message: Message) -> Iterator[Payload]:
    if isinstance(message, Payload):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        parts = value.values() if field.message_type.GetOptions().map_entry else value if field.is_repeated else [value]
        for part in parts:
            if isinstance(part, Message):  # the values of some maps are plain
                yield from _payloads_in(part)


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
            return WorkflowServiceUnavailableError(f"Temporal did not answer: {reason(error)}")
