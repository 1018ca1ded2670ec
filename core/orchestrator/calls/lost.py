"""Calls that nobody closed: their worker was lost, or the interaction ended over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, update

from core.orchestrator.calls.texts import keep_partial
from core.orchestrator.contracts import AttemptStatus, InteractionError
from core.orchestrator.errors import ErrorType
from core.orchestrator.events import AttemptFailed, InteractionEvent, TextReset
from core.orchestrator.replies.log import shown_text
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.tables import attempts

LOST_CALL = InteractionError(type=ErrorType.WORKER_LOST, detail="the worker was lost during the call")
"""Why a call was never closed, where nothing better is known."""

_CLOSE = (
    update(attempts)
    .where(attempts.c.interaction_id == bindparam("of"), attempts.c.status.is_(None))
    .returning(attempts.c.ordinal, attempts.c.provider, attempts.c.model, attempts.c.started_at)
)


@dataclass(frozen=True, slots=True)
class LostCall:
    """A call that nobody closed."""

    ordinal: int
    provider: str
    model: str
    started_at: datetime
    text: str
    """What it had shown; empty also where nobody could watch."""


async def close_open_calls(
    connection: Connection, interaction_id: str, error: InteractionError, *, watched: bool
) -> Sequence[LostCall]:
    """Close the calls of an interaction that nobody has closed, and keep what they had shown; the cost is unknown."""
    cancelled = error.type is ErrorType.CANCELLED
    values = {
        "status": AttemptStatus.CANCELLED if cancelled else AttemptStatus.FAILED,
        "error_type": error.type,
        "detail": error.detail,
    }
    closed = await connection.execute(_CLOSE, {"of": interaction_id, **values})
    lost = []
    for row in closed.all():
        text = await shown_text(connection, interaction_id) if watched else ""
        if text.strip():
            await keep_partial(connection, interaction_id, row.ordinal, text)
        lost.append(LostCall(row.ordinal, row.provider, row.model, row.started_at, text))
    return lost


def lost_events(interaction_id: str, lost: LostCall, *, continues: bool) -> list[InteractionEvent]:
    """Return what there is to tell of a lost call before the next one; with `continues`, its text is not forgotten."""
    failed = AttemptFailed(
        interaction_id=interaction_id,
        attempt=lost.ordinal,
        model=lost.model,
        error_type=ErrorType.WORKER_LOST,
        next="retry",
    )
    forgets = lost.text and not continues
    return [failed, *([TextReset(interaction_id=interaction_id, attempt=lost.ordinal)] if forgets else [])]
