"""Rows that may be there already, without a look before: two who write the same one at once both get through."""

from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


async def insert_if_absent(connection: AsyncConnection, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row unless there is one with its primary key; return whether there was none."""
    result = await connection.execute(_insert(connection, table).values(values).on_conflict_do_nothing())
    return result.rowcount == 1


async def put(connection: AsyncConnection, table: Table, values: dict[str, Any]) -> None:
    """Insert a row in place of the one with its primary key, if there is one."""
    keys = [column.name for column in table.primary_key]
    inserting = _insert(connection, table).values(values)
    others = {name: inserting.excluded[name] for name in values if name not in keys}
    await connection.execute(inserting.on_conflict_do_update(index_elements=keys, set_=others))


def _insert(connection: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
