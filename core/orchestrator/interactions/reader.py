"""What can be read of an interaction: where it stands, what was asked, what was sent, and why it came out so."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.orchestrator.calls.attempts import read_attempts, total_usage
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.calls.texts import read_partial
from core.orchestrator.contracts import (
    AfterOutput,
    Attempt,
    CompletionRequest,
    InteractionError,
    InteractionKind,
    InteractionRequest,
    InteractionStatus,
    InteractionView,
    workflow_id_of,
)
from core.orchestrator.errors import ErrorType, UnknownResourceError
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import completions, interactions, partials, prompts


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

    async def offered_at(self, interaction_id: str) -> datetime:
        """Return when the start of an interaction was last asked for, in UTC: at its opening, or by a repetition.

        Raises:
            UnknownResourceError: there is none of that id.
        """
        async with self._database.read() as connection:
            row = known(await find_row(connection, interaction_id), interaction_id)
        moment: datetime = row.offered_at or row.created_at
        return moment

    async def request(self, interaction_id: str) -> InteractionRequest | CompletionRequest:
        """Return what was asked for, as it was accepted.

        Raises:
            UnknownResourceError: there is none of that id.
        """
        async with self._database.read() as connection:
            return read_request(known(await find_row(connection, interaction_id), interaction_id))

    async def prompt(self, interaction_id: str) -> Prompt:
        """Return the exact prompt.

        Raises:
            UnknownResourceError: none has been built for that id.
        """
        async with self._database.read() as connection:
            row = (
                await connection.execute(select(prompts).where(prompts.c.interaction_id == interaction_id))
            ).one_or_none()
        if row is None:
            raise UnknownResourceError("prompt", interaction_id)
        return Prompt(row.messages, row.temperature, row.max_tokens)

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
            row = (
                await connection.execute(select(prompts).where(prompts.c.interaction_id == interaction_id))
            ).one_or_none()
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
            }
        return explanation


async def find_row(connection: AsyncConnection, interaction_id: str) -> Row[Any] | None:
    """Return the row of an interaction, or None."""
    query = select(interactions).where(interactions.c.interaction_id == interaction_id)
    return (await connection.execute(query)).one_or_none()


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


async def read_view(connection: AsyncConnection, interaction_id: str) -> InteractionView:
    """Return an interaction as a client sees it.

    Raises:
        UnknownResourceError: there is none of that id.
    """
    row = known(await find_row(connection, interaction_id), interaction_id)
    attempts = await read_attempts(connection, interaction_id)
    answer, finish_reason = await _answering(connection, row, attempts)
    return InteractionView(
        message=row.reply,
        persona_id=row.persona_id,
        persona_name=row.persona_name,
        persona_version=row.persona_version,
        model=answer and (answer.answered_model or answer.model),
        provider=answer and answer.provider,
        usage=total_usage(attempts),
        session_id=row.session_id,
        interaction_id=interaction_id,
        workflow_id=workflow_id_of(interaction_id),
        agent=row.agent,
        status=InteractionStatus(row.status),
        finish_reason=finish_reason,
        degraded=row.degraded,
        error=InteractionError(type=ErrorType(row.error_type), detail=row.error_detail) if row.error_type else None,
        attempts=attempts,
        response_time_ms=round((row.ended_at - row.created_at).total_seconds() * 1000) if row.ended_at else None,
    )


async def _answering(
    connection: AsyncConnection, row: Row[Any], attempts: Sequence[Attempt]
) -> tuple[Attempt | None, str | None]:
    """Return the call whose text the reply is, whole or broken, and how a whole one finished."""
    if row.status in (InteractionStatus.INCOMPLETE, InteractionStatus.CANCELLED) and row.reply is not None:
        partial = await read_partial(connection, row.interaction_id)
        return next((attempt for attempt in attempts if partial and attempt.ordinal == partial.ordinal), None), None
    if row.answered_place is None:
        return None, None
    finished = (
        await connection.execute(
            select(completions.c.ordinal, completions.c.finish_reason).where(
                completions.c.interaction_id == row.interaction_id, completions.c.place == row.answered_place
            )
        )
    ).one()
    return next(attempt for attempt in attempts if attempt.ordinal == finished.ordinal), finished.finish_reason
