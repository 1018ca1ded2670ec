"""What can be read of an interaction: where it stands, what was asked, what was sent, and why it came out so."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, func, select

from core.orchestrator.calls.attempts import EndedCall, read_calls, total_usage
from core.orchestrator.calls.prompt import Prompt, read_prompt
from core.orchestrator.contracts import (
    AfterOutput,
    CompletionRequest,
    InteractionError,
    InteractionKind,
    InteractionRequest,
    InteractionStatus,
    InteractionView,
)
from core.orchestrator.errors import ErrorType, UnknownResourceError
from core.orchestrator.interactions.inputs import read_input
from core.orchestrator.interactions.said import Said
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import erased_interactions, interactions, partials, prompts
from core.orchestrator.workflow_ids import workflow_id_of

_ROW = select(interactions).where(interactions.c.interaction_id == bindparam("interaction_id"))
_HELD_ROW = _ROW.with_for_update(key_share=True)
_PROMPT = select(prompts).where(prompts.c.interaction_id == bindparam("interaction_id"))


class InteractionReader:
    """Reads interactions."""

    def __init__(self, database: Database) -> None:
        """Read from `database`."""
        self._database = database

    async def view(self, interaction_id: str) -> InteractionView:
        """Return an interaction as a client sees it.

        Raises:
            UnknownResourceError: there is none of that id.
        """
        async with self._database.read() as connection:
            return await read_view(connection, interaction_id)

    async def owner(self, interaction_id: str) -> str:
        """Return whose interaction it is.

        Raises:
            UnknownResourceError: there is none of that id.
        """
        query = select(interactions.c.user_id).where(interactions.c.interaction_id == interaction_id)
        async with self._database.read() as connection:
            owner: str = known((await connection.execute(query)).one_or_none(), interaction_id).user_id
        return owner

    async def was_erased(self, interaction_id: str) -> bool:
        """Return whether there was an interaction of that id until it was erased."""
        query = select(erased_interactions).where(erased_interactions.c.interaction_id == interaction_id)
        async with self._database.read() as connection:
            return (await connection.execute(query)).one_or_none() is not None

    async def offered_at(self, interaction_id: str) -> datetime:
        """Return when the start of an interaction was last asked for, in UTC: at its opening, or by a repetition.

        Raises:
            UnknownResourceError: there is none of that id.
        """
        async with self._database.read() as connection:
            row = known(await find_row(connection, interaction_id), interaction_id)
        moment: datetime = row.offered_at or row.created_at
        return moment

    async def is_cancelling(self, interaction_id: str) -> bool:
        """Return whether an interaction is to end, and has not."""
        query = select(interactions.c.interaction_id).where(
            interactions.c.interaction_id == interaction_id,
            interactions.c.cancelling.is_not(None),
            interactions.c.ended_at.is_(None),
        )
        async with self._database.read() as connection:
            return await connection.scalar(query) is not None

    async def request(self, interaction_id: str) -> InteractionRequest | CompletionRequest:
        """Return what was asked for, as it was accepted.

        Raises:
            UnknownResourceError: there is none of that id.
        """
        return (await self.asked(interaction_id))[0]

    async def asked(self, interaction_id: str) -> tuple[InteractionRequest | CompletionRequest, str | None]:
        """Return what was asked for, as it was accepted, and the agent that was chosen for it, once one is.

        Raises:
            UnknownResourceError: there is none of that id.
        """
        async with self._database.read() as connection:
            row = known(await find_row(connection, interaction_id), interaction_id)
        return read_request(row), row.agent

    async def said(self, interaction_id: str) -> Said | None:
        """Return what came with the message beyond its text, or None; of what a session has, only what was new then."""
        async with self._database.read() as connection:
            return await read_input(connection, interaction_id)

    async def prompt(self, interaction_id: str) -> Prompt:
        """Return the exact prompt.

        Raises:
            UnknownResourceError: none has been built for that id.
        """
        async with self._database.read() as connection:
            row = (await connection.execute(_PROMPT, {"interaction_id": interaction_id})).one_or_none()
        if row is None:
            raise UnknownResourceError("prompt", interaction_id)
        return read_prompt(row)

    async def after_output(self, interaction_id: str) -> AfterOutput:
        """Return what was decided, when the models were planned, to follow a call that breaks after some output."""
        async with self._database.read() as connection:
            explanation = await connection.scalar(
                select(prompts.c.explanation).where(prompts.c.interaction_id == interaction_id)
            )
        return AfterOutput((explanation or {}).get("plan", {}).get("after_output", AfterOutput.RESTART))

    async def explanation(self, interaction_id: str) -> dict[str, Any]:
        """Return why an interaction came out as it did; `prompt` and the rest are absent until they are known.

        Raises:
            UnknownResourceError: there is none of that id.
        """
        async with self._database.read() as connection:
            view = await read_view(connection, interaction_id)
            row = (await connection.execute(_PROMPT, {"interaction_id": interaction_id})).one_or_none()
            broken = await connection.execute(
                select(partials.c.ordinal, partials.c.text)
                .where(partials.c.interaction_id == interaction_id)
                .order_by(partials.c.ordinal)
            )
            said = [{"attempt": row.ordinal, "text": row.text} for row in broken]
        explanation: dict[str, Any] = {
            "interaction_id": interaction_id,
            "status": view.status,
            "error": view.error,
            "attempts": view.attempts,
            "partials": said,
        }
        if row is not None:
            explanation |= row.explanation
            explanation |= {
                "messages": row.messages,
                "temperature": row.temperature,
                "max_tokens": row.max_tokens,
                "parameters": row.parameters or {},
            }
        return explanation


async def find_row(connection: Connection, interaction_id: str) -> Row[Any] | None:
    """Return the row of an interaction, or None."""
    return (await connection.execute(_ROW, {"interaction_id": interaction_id})).one_or_none()


async def find_held_row(connection: Connection, interaction_id: str) -> Row[Any] | None:
    """Return the row of an interaction as it is left by whoever has it, and hold it; or None."""
    return (await connection.execute(_HELD_ROW, {"interaction_id": interaction_id})).one_or_none()


def known(row: Row[Any] | None, interaction_id: str) -> Row[Any]:
    """Return the row.

    Raises:
        UnknownResourceError: there is none.
    """
    if row is None:
        raise UnknownResourceError("interaction", interaction_id)
    return row


def read_request(row: Row[Any]) -> InteractionRequest | CompletionRequest:
    """Return what was asked for, as it was accepted."""
    model = InteractionRequest if row.kind == InteractionKind.INTERACT else CompletionRequest
    return model.model_validate(row.request)


async def read_view(connection: Connection, interaction_id: str) -> InteractionView:
    """Return an interaction as a client sees it.

    Raises:
        UnknownResourceError: there is none of that id.
    """
    row = known(await find_row(connection, interaction_id), interaction_id)
    [view] = await read_views(connection, [row])
    return view


async def read_views(connection: Connection, rows: Sequence[Row[Any]]) -> list[InteractionView]:
    """Return interactions as a client sees them, in the order of their rows, with as many queries as for one."""
    calls = await read_calls(connection, [row.interaction_id for row in rows])
    broken = await _broken(connection, [row.interaction_id for row in rows if _keeps_a_part(row)])
    return [_view(row, calls.get(row.interaction_id, ()), broken.get(row.interaction_id)) for row in rows]


def _view(row: Row[Any], calls: Sequence[EndedCall], broken: int | None) -> InteractionView:
    attempts = [call.attempt for call in calls]
    source = _source(row, calls, broken)
    return InteractionView(
        message=row.reply,
        tool_calls=source and source.tool_calls,
        persona_id=row.persona_id,
        persona_name=row.persona_name,
        persona_version=row.persona_version,
        model=source and (source.attempt.answered_model or source.attempt.model),
        provider=source and source.attempt.provider,
        usage=total_usage(attempts),
        session_id=row.session_id,
        interaction_id=row.interaction_id,
        workflow_id=workflow_id_of(row.interaction_id),
        agent=row.agent,
        status=InteractionStatus(row.status),
        finish_reason=source and source.finish_reason,
        degraded=row.degraded,
        error=InteractionError(type=ErrorType(row.error_type), detail=row.error_detail) if row.error_type else None,
        attempts=attempts,
        response_time_ms=round((row.ended_at - row.created_at).total_seconds() * 1000) if row.ended_at else None,
    )


def _source(row: Row[Any], calls: Sequence[EndedCall], broken: int | None) -> EndedCall | None:
    """Return the call whose text the reply is: it answered, or said what is kept of it before it broke."""
    if _keeps_a_part(row):
        return next((call for call in calls if call.attempt.ordinal == broken), None)
    if row.answered_place is None:
        return None
    return next((call for call in calls if call.answered_place == row.answered_place), None)


def _keeps_a_part(row: Row[Any]) -> bool:
    """Tell whether a reply is what a broken call had said."""
    return row.status in (InteractionStatus.INCOMPLETE, InteractionStatus.CANCELLED) and row.reply is not None


async def _broken(connection: Connection, interaction_ids: Sequence[str]) -> Mapping[str, int]:
    """Return the number of the last call of each interaction that had said something when it broke."""
    if not interaction_ids:
        return {}
    query = (
        select(partials.c.interaction_id, func.max(partials.c.ordinal).label("ordinal"))
        .where(partials.c.interaction_id.in_(interaction_ids))
        .group_by(partials.c.interaction_id)
    )
    return {row.interaction_id: row.ordinal for row in await connection.execute(query)}
