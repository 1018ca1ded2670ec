"""What every line of a log says while an interaction is handled: which one, and at whose request.

It is bound to the running task and its children, so lines of libraries have it too. A task that outlives what it was
begun for must not be begun inside, but apart: it would go on under a stranger's name.
"""

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

from structlog.contextvars import bind_contextvars
from structlog.typing import EventDict

from core.orchestrator.workflow_ids import interaction_id_of

T = TypeVar("T")

_OF_TEMPORAL = ("temporal_workflow", "temporal_activity")
"""What the Temporal SDK adds to its own lines, some of which are written outside of any context."""


def handling(interaction_id: str) -> None:
    """Name the interaction in every line of this task from now on."""
    bind_contextvars(interaction_id=interaction_id)


def answering(request_id: str) -> None:
    """Name the request in every line of this task from now on."""
    bind_contextvars(request_id=request_id)


def begun_apart(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Begin a task that is nobody's: whoever happens to be handled now, it outlives."""
    return asyncio.create_task(work, context=Context())


def name_interaction(_logger: object, _method: str, record: EventDict) -> EventDict:
    """Put the interaction into a record that tells of its workflow; a processor of structlog."""
    for name in _OF_TEMPORAL:
        told = record.get(name)
        if "interaction_id" not in record and isinstance(told, dict):
            interaction_id = interaction_id_of(str(told.get("workflow_id")))
            if interaction_id is not None:
                record["interaction_id"] = interaction_id
    return record
