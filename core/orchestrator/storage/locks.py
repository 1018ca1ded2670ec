"""Who waits for whom when two write about the same thing.

On SQLite a writer is alone in the whole database, from its first statement on. On PostgreSQL writers run side by side,
each statement sees what was committed before it began (READ COMMITTED), and whoever decides by what it reads holds a
lock while it does. A row is read with its lock, `….with_for_update(key_share=True)`: one statement, which waits for
whoever has the row and returns it as it was left. SQLite has no such clause, and SQLAlchemy leaves it out there. For
what may not be there yet, and so has no row to lock, there is `hold`.

Locks are taken in one order, so that nobody waits in a circle, and are free at the end of the transaction:

1. names (`hold`): first that of a user's idempotency key, or of what a client may ask again without one, and of the
   interaction to be opened; then those of a user and of an API key for whom openings are counted; then that of an
   interaction which is to get a session because another follows it; elsewhere, and alone, that of a model which fails;
2. the row of a session, by whoever opens a turn in it, ends one of its turns, or erases it: an ending tells the next
   turn, so it must not cross an opening, nor either of them the erasure. Whoever holds several sessions of a
   conversation, to find the branch that a turn belongs to or to erase, holds the one that it began with first: so of
   requests that come at once each sees what the other has made of the branches;
3. the rows of interactions, several in the order of their ids: by whoever begins, marks, ends or erases one, opens or
   closes its calls, or appends to its reply log. So the numbers of a log have no gap and no double, a call that is
   closed shows nothing more, and an answer is kept before or after a newer call begins, never beside it;
4. whatever hangs on these: calls, texts, events. Nobody waits for them who holds the interaction.

Single statements that check what they change (a claim, a note of an upstream's id) hold nothing: a row that changed
while they waited is checked again. Should a circle come about all the same, PostgreSQL refuses one of them, and that is
a database that did not answer: whoever asked tries again.
"""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, literal, select

from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.tables import interactions, sessions

_POSTGRESQL = "postgresql"
_INTERACTIONS = (
    select(interactions.c.interaction_id)
    .where(interactions.c.interaction_id.in_(bindparam("interaction_ids", expanding=True)))
    .order_by(interactions.c.interaction_id)
    .with_for_update(key_share=True)
)


async def hold(connection: Connection, *names: str) -> None:
    """Return when nobody else holds any of the names; nobody else will until the transaction ends."""
    if connection.dialect.name != _POSTGRESQL:
        return  # the whole database is held
    locks = [func.pg_advisory_xact_lock(func.hashtextextended(literal(name), 0)) for name in sorted(set(names))]
    await connection.execute(select(*locks))


async def hold_interactions(connection: Connection, interaction_ids: Sequence[str]) -> None:
    """Hold interactions, in the one order in which several are held."""
    if connection.dialect.name == _POSTGRESQL:
        await connection.execute(_INTERACTIONS, {"interaction_ids": interaction_ids})


async def hold_session_of(connection: Connection, interaction_id: str) -> None:
    """Hold the session of a turn; a bare completion has none, and nor has an interaction that does not exist."""
    if connection.dialect.name != _POSTGRESQL:
        return
    its = select(interactions.c.session_id).where(interactions.c.interaction_id == interaction_id).scalar_subquery()
    await connection.execute(
        select(sessions.c.session_id).where(sessions.c.session_id == its).with_for_update(key_share=True)
    )
