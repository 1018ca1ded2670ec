"""Erasing a session, or all that is known of a user: what was said goes, what was used stays, as numbers.

First a session is closed: it takes no further turn, so nobody who keeps writing keeps it from being erased. Whatever
still runs is ended, so that no call goes on. Then the histories go from Temporal, and last the rows: they are all that
tells which histories there are, so an erasure that breaks off is taken up again by repeating it. A session goes in one
transaction: nobody ever meets a half of one, and a message that comes later opens it anew.

The branches of a session hold its words, so they go with it, each before the one that it left. A branch goes alone.
"""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, insert, literal, or_, select, update

from core.orchestrator.calls.cancelling import Cancelling, mark_cancelling
from core.orchestrator.clock import Clock, utc_now
from core.orchestrator.contracts import InteractionStatus
from core.orchestrator.errors import UnknownResourceError
from core.orchestrator.events import EventBus, terminal_event_of
from core.orchestrator.interactions.branches import hold_session
from core.orchestrator.interactions.store import CANCELLED, Ending, InteractionStore
from core.orchestrator.memory.conversations import owner_of
from core.orchestrator.runs import Runs
from core.orchestrator.storage.changes import reply_topic, touch
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import (
    attempts,
    completions,
    erased_interactions,
    inputs,
    interactions,
    messages,
    partials,
    prompts,
    reply_events,
    sessions,
)
from core.orchestrator.workflow_ids import reconciliation_id_of, workflow_id_of

_MANY = 500
"""Of a session with more turns: it takes longer to erase than others should wait."""
_DELETIONS_AT_A_TIME = 16
_AT_A_TIME = 100
_FAREWELL = timedelta(seconds=1)
"""So long a call that runs may take to stop, and to write down what it has used."""
_LOOKS_AT_CALLS = 50
_SAID = ("detail", "error_code", "generation_id", "answered_model", "upstream_provider")
"""What came from outside about a call: texts, and the name under which the provider has the same texts."""


class Erasure:
    """Erases sessions and users."""

    def __init__(
        self,
        database: Database,
        store: InteractionStore,
        runs: Runs,
        events: EventBus,
        *,
        clock: Clock = utc_now,
        farewell: timedelta = _FAREWELL,
    ) -> None:
        """Erase from `database` and from `runs`; what has not ended is ended in `store`, and told to `events`.

        A call that has not stopped after `farewell` is taken for lost with its worker.
        """
        self._database = database
        self._store = store
        self._runs = runs
        self._events = events
        self._clock = clock
        self._farewell = farewell

    async def erase_session(self, session_id: str, user_id: str | None = None) -> None:
        """Erase a session with its branches and interactions; the numbers of what was used stay its user's.

        Args:
            session_id: which.
            user_id: whose it must be; None where that is settled otherwise.

        Raises:
            UnknownResourceError: there is no such session.
            SessionOwnershipError: it belongs to another user.
            StorageUnavailableError: the database did not answer; what is left is erased by repeating this.
            WorkflowServiceUnavailableError: Temporal did not answer; what is left is erased by repeating this.
        """
        async with self._database.write() as connection:
            await owner_of(connection, session_id, user_id)
            await hold_session(connection, session_id)
            closed = await _close(connection, sessions.c.session_id == session_id)
        for session in closed:
            await self._erase_session(session)
        await self._database.purge()

    async def erase_user(self, user_id: str) -> None:
        """Erase all that is known of a user; the numbers of what was used stay, and are nobody's.

        New sessions and completions that come meanwhile stay.

        Raises:
            UnknownResourceError: nothing is known of such a user.
            StorageUnavailableError: the database did not answer; what is left is erased by repeating this.
            WorkflowServiceUnavailableError: Temporal did not answer; what is left is erased by repeating this.
        """
        theirs = interactions.c.user_id == user_id
        async with self._database.write() as connection:
            if not await _is_known(connection, user_id):
                raise UnknownResourceError("user", user_id)
            closed = await _close(connection, (sessions.c.user_id == user_id) & sessions.c.forked_from.is_(None))
            bare = (await connection.scalars(_ids(theirs & interactions.c.session_id.is_(None)))).all()
            unended = await _mark_unended(connection, theirs)
        await self._end(unended)
        for session in closed:
            await self._erase_session(session)
        for begin in range(0, len(bare), _AT_A_TIME):
            some = bare[begin : begin + _AT_A_TIME]
            await self._delete_runs(some)
            async with self._database.write() as connection:
                # One that another follows by now has become a turn of a new session.
                still_bare = interactions.c.interaction_id.in_(some) & interactions.c.session_id.is_(None)
                await _erase(connection, still_bare, self._clock())
        # Those of an interaction that came in the meantime are left to it.
        gone = attempts.c.interaction_id.not_in(_ids(theirs))
        async with self._database.write() as connection:
            await connection.execute(update(attempts).where(attempts.c.user_id == user_id, gone).values(user_id=None))
        await self._database.purge()

    async def _erase_session(self, session: Row[Any]) -> None:
        """Erase a session that is closed, unless somebody else has done it by now."""
        whole = interactions.c.session_id == session.session_id
        async with self._database.write() as connection:
            if not await _is_there(connection, session):
                return
            found = (await connection.scalars(_ids(whole))).all()
            unended = await _mark_unended(connection, whole)
        await self._end(unended)
        await self._delete_runs(found)
        async with self._database.write(takes_long=len(found) > _MANY) as connection:
            if await _is_there(connection, session):
                # What a branch has in common with others belongs to their interactions.
                await connection.execute(delete(messages).where(messages.c.session_id == session.session_id))
                await _erase(connection, whole, self._clock())
                await connection.execute(delete(sessions).where(sessions.c.session_id == session.session_id))

    async def _end(self, found: Sequence[str]) -> None:
        """End what was marked."""
        await self._until_calls_stop(found)
        for interaction_id in found:
            with suppress(UnknownResourceError):  # somebody else erases it too
                ended = await self._store.end(interaction_id, Ending(InteractionStatus.CANCELLED, error=CANCELLED))
                if ended.first:
                    self._events.publish(terminal_event_of(ended.view))

    async def _until_calls_stop(self, interaction_ids: Collection[str]) -> None:
        """Wait until the calls that run have written down what they used; one whose worker is lost never does."""
        running = select(attempts.c.interaction_id).where(
            attempts.c.interaction_id.in_(interaction_ids), attempts.c.status.is_(None)
        )
        for _ in range(_LOOKS_AT_CALLS):
            if not interaction_ids or not await self._read(running.limit(1)):
                return
            await asyncio.sleep(self._farewell.total_seconds() / _LOOKS_AT_CALLS)

    async def _delete_runs(self, interaction_ids: Collection[str]) -> None:
        waiting = iter([name(one) for one in interaction_ids for name in (workflow_id_of, reconciliation_id_of)])

        async def delete_one_after_the_other() -> None:
            for workflow_id in waiting:
                await self._runs.delete(workflow_id)

        deleting = [asyncio.create_task(delete_one_after_the_other()) for _ in range(_DELETIONS_AT_A_TIME)]
        try:
            await asyncio.gather(*deleting)
        finally:
            for task in deleting:
                task.cancel()

    async def _read(self, query: Select[str]) -> Sequence[str]:
        async with self._database.read() as connection:
            return (await connection.scalars(query)).all()


def _ids(which: ColumnElement[bool]) -> Select[str]:
    return select(interactions.c.interaction_id).where(which)


async def _is_known(connection: Connection, user_id: str) -> bool:
    known = (
        select(sessions.c.session_id).where(sessions.c.user_id == user_id),
        select(interactions.c.interaction_id).where(interactions.c.user_id == user_id),
        select(attempts.c.interaction_id).where(attempts.c.user_id == user_id),
    )
    return bool(await connection.scalar(select(or_(*(query.exists() for query in known)))))


async def _close(connection: Connection, which: ColumnElement[bool]) -> Sequence[Row[Any]]:
    """Let sessions and their branches take no further turn, and return them: each after those that have left it."""
    closed: list[Row[Any]] = []
    while True:
        held = select(sessions.c.session_id).where(which).order_by(sessions.c.session_id).with_for_update()
        await connection.execute(held)
        closing = update(sessions).where(which).values(erasing=True).returning(sessions)
        found = (await connection.execute(closing)).all()
        if not found:
            return closed
        closed = [*found, *closed]
        which = sessions.c.forked_from.in_([session.session_id for session in found])


async def _is_there(connection: Connection, session: Row[Any]) -> bool:
    """Tell whether a session is still the one that was closed, and hold it.

    Once it is gone, anybody may choose the same id.
    """
    same = (sessions.c.session_id == session.session_id) & (sessions.c.user_id == session.user_id)
    query = select(sessions).where(same, sessions.c.created_at == session.created_at)
    return (await connection.execute(query.with_for_update())).one_or_none() is not None


async def _mark_unended(connection: Connection, which: ColumnElement[bool]) -> Sequence[str]:
    """Mark all that has not ended at once, so that no turn begins because the one before it has ended."""
    unended = _ids(which & interactions.c.ended_at.is_(None)).order_by(interactions.c.interaction_id)
    found = (await connection.scalars(unended.with_for_update(key_share=True))).all()
    for interaction_id in found:
        await mark_cancelling(connection, interaction_id, Cancelling.CANCEL)
    return found


async def _erase(connection: Connection, which: ColumnElement[bool], now: datetime) -> None:
    """Erase interactions that have ended, and note their ids, so that no step under way brings one of them back."""
    ids = _ids(which)
    for interaction_id in await connection.scalars(ids.order_by(interactions.c.interaction_id).with_for_update()):
        touch(connection, reply_topic(interaction_id))  # whoever still reads is not to wait for more
    noted = select(interactions.c.interaction_id, literal(now, erased_interactions.c.erased_at.type)).where(which)
    await connection.execute(insert(erased_interactions).from_select(["interaction_id", "erased_at"], noted))
    await connection.execute(update(attempts).where(attempts.c.interaction_id.in_(ids)).values(dict.fromkeys(_SAID)))
    for table in (inputs, prompts, completions, partials, reply_events):
        await connection.execute(delete(table).where(table.c.interaction_id.in_(ids)))
    await connection.execute(delete(interactions).where(which))
