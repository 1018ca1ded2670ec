"""What calls have said: whole answers, kept so that no retry pays again, and what broken ones had said by then."""

from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select

from core.orchestrator.contracts import AttemptStatus, ToolCall
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.tables import attempts, completions, partials

_FINISHED = select(completions).where(
    completions.c.interaction_id == bindparam("interaction_id"), completions.c.place == bindparam("place")
)


@dataclass(frozen=True, slots=True)
class FinishedText:
    """A model's whole answer."""

    ordinal: int
    text: str
    finish_reason: str | None
    tool_calls: list[ToolCall] | None = None


@dataclass(frozen=True, slots=True)
class PartialText:
    """What a call had said when it broke: with what it continued, the whole text so far."""

    ordinal: int
    text: str


async def read_finished_text(connection: Connection, interaction_id: str, place: int) -> FinishedText | None:
    """Return the answer kept for a place of the plan, or None."""
    row = (await connection.execute(_FINISHED, {"interaction_id": interaction_id, "place": place})).one_or_none()
    return None if row is None else FinishedText(row.ordinal, row.text, row.finish_reason, row.tool_calls)


async def read_partial(connection: Connection, interaction_id: str) -> PartialText | None:
    """Return what the last broken call that had said something said, or None."""
    query = (
        select(partials).where(partials.c.interaction_id == interaction_id).order_by(partials.c.ordinal.desc()).limit(1)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else PartialText(row.ordinal, row.text)


async def read_cancelled_text(connection: Connection, interaction_id: str) -> str | None:
    """Return what the call said that was cut off by the cancellation of its interaction, or None."""
    query = (
        select(partials.c.text)
        .join(
            attempts,
            (attempts.c.interaction_id == partials.c.interaction_id) & (attempts.c.ordinal == partials.c.ordinal),
        )
        .where(partials.c.interaction_id == interaction_id, attempts.c.status == AttemptStatus.CANCELLED)
        .order_by(partials.c.ordinal.desc())
        .limit(1)
    )
    text: str | None = await connection.scalar(query)
    return text


async def keep_partial(connection: Connection, interaction_id: str, ordinal: int, text: str) -> None:
    """Keep what a call had said when it broke."""
    await connection.execute(insert(partials).values(interaction_id=interaction_id, ordinal=ordinal, text=text))
