"""What came with a message beyond its text: kept with the interaction, and gone with it."""

from sqlalchemy import insert, select

from core.orchestrator.interactions.said import Said
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.tables import inputs


async def put_input(connection: Connection, interaction_id: str, said: Said, *, whole: bool) -> None:
    """Keep what a client said.

    Args:
        connection: an open transaction.
        interaction_id: whose.
        said: all of it.
        whole: the conversation so far, too: no session has it.
    """
    await connection.execute(
        insert(inputs).values(
            interaction_id=interaction_id,
            messages=list(said.messages if whole else said.new),
            instructions=list(said.instructions),
            parameters=dict(said.parameters),
            echo=dict(said.echo),
        )
    )


async def read_input(connection: Connection, interaction_id: str) -> Said | None:
    """Return what is kept of an interaction, or None; where a session has the conversation so far, what was new."""
    query = select(inputs).where(inputs.c.interaction_id == interaction_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Said(row.messages, row.instructions, row.parameters, row.echo)
