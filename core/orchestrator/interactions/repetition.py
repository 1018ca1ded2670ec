"""Requests that come again: by the key that came with them, or because their client says so and asks the same."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, or_, select, update

from core.orchestrator.contracts import CompletionRequest, InteractionRequest, InteractionStatus
from core.orchestrator.errors import IdempotencyConflictError, UnknownResourceError
from core.orchestrator.interactions.opening import Opened, Opening
from core.orchestrator.interactions.reader import find_held_row, find_row, read_request
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.locks import hold
from core.orchestrator.storage.tables import erased_interactions, interactions, sessions

_RETRIED_WITHIN = timedelta(minutes=1)
_ERASED = select(erased_interactions).where(erased_interactions.c.interaction_id == bindparam("interaction_id"))
_WITH_KEY = (
    select(interactions)
    .where(interactions.c.user_id == bindparam("user_id"), interactions.c.idempotency_key == bindparam("key"))
    .with_for_update(key_share=True)
)
"""A client that missed a reply asks again sooner after its end: none waits for longer than some seconds."""


async def opened_before(
    connection: Connection, request: InteractionRequest | CompletionRequest, opening: Opening, now: datetime
) -> Opened | None:
    """Return the interaction that a request opened before, or None; until the transaction ends no other opens it.

    Raises:
        IdempotencyConflictError: the key came with another request before.
        UnknownResourceError: the interaction was erased.
    """
    names = [] if opening.is_new else [f"interaction:{request.interaction_id}"]
    if opening.key is not None:
        names.append(f"key:{request.user_id}:{opening.key.key}")
    elif opening.fingerprint is not None:
        names.append(f"same:{request.user_id}:{opening.fingerprint}")
    if names:
        await hold(connection, *names)
    if not opening.is_new:
        if await find_row(connection, request.interaction_id) is not None:
            return Opened(request)
        if (await connection.execute(_ERASED, {"interaction_id": request.interaction_id})).one_or_none() is not None:
            raise UnknownResourceError("interaction", request.interaction_id)
    row: Row[Any] | None = None
    if opening.key is not None:
        named = {"user_id": request.user_id, "key": opening.key.key}
        row = (await connection.execute(_WITH_KEY, named)).one_or_none()
        if row is not None and row.fingerprint != opening.key.fingerprint:
            raise IdempotencyConflictError("the idempotency key came with another body; every field of it counts")
    elif opening.said is not None and opening.said.is_retry and opening.fingerprint is not None:
        row = await _just_like(connection, request, opening.fingerprint, now)
    return await opened_again(connection, row, now) if row is not None else None


async def opened_again(connection: Connection, row: Row[Any], now: datetime) -> Opened:
    """Return an interaction as what another request has come to."""
    if row.status == InteractionStatus.QUEUED:
        # It is started once more, should its first start not have been recorded: nobody takes it for abandoned now.
        this = interactions.c.interaction_id == row.interaction_id
        await connection.execute(update(interactions).where(this).values(offered_at=now))
    return Opened(read_request(row), InteractionStatus(row.status), replayed=True)


async def _just_like(
    connection: Connection, request: InteractionRequest | CompletionRequest, fingerprint: str, now: datetime
) -> Row[Any] | None:
    """Return the last interaction that asked the same, if it has just ended or not yet, and nothing was said since.

    Whoever says the same again later in a conversation, such as `yes`, may be asking again because that was refused.
    """
    query = (
        select(interactions)
        .outerjoin(sessions, sessions.c.session_id == interactions.c.session_id)
        .where(
            interactions.c.fingerprint == fingerprint,
            interactions.c.user_id == request.user_id,
            or_(interactions.c.session_id.is_(None), interactions.c.turn == sessions.c.turns),
        )
        .order_by(interactions.c.interaction_id.desc())
        .limit(1)
    )
    found = (await connection.execute(query)).one_or_none()
    if found is None or not _is_of_use(found, now):
        return None  # and is not held: whoever has a session may be waiting for it
    row = await find_held_row(connection, found.interaction_id)
    return row if row is not None and _is_of_use(row, now) else None


def _is_of_use(row: Row[Any], now: datetime) -> bool:
    if row.ended_at is None:
        return not row.cancelling
    ended_at: datetime = row.ended_at
    return row.status == InteractionStatus.COMPLETED and now - ended_at <= _RETRIED_WITHIN
