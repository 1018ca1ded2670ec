"""Rows that may be there already, without a look before: two who write the same one at once both get through."""

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

from core.orchestrator.storage.connection import Connection


async def insert_if_absent(connection: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row unless there is one with its primary key; return whether there was none."""
    result = await connection.execute(_inserting_if_absent(connection.dialect.name, table), values)
    return result.rowcount == 1


async def put(connection: Connection, table: Table, values: dict[str, Any]) -> None:
    """Insert a row in place of the one with its primary key, if there is one."""
    await connection.execute(_putting(connection.dialect.name, table, tuple(values)), values)


@lru_cache
def _inserting_if_absent(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    return _insert(dialect, table).on_conflict_do_nothing()


@lru_cache
def _putting(dialect: str, table: Table, names: Collection[str]) -> postgresql.Insert | sqlite.Insert:
    keys = [column.name for column in table.primary_key]
    inserting = _insert(dialect, table)
    others = {name: inserting.excluded[name] for name in names if name not in keys}
    return inserting.on_conflict_do_update(index_elements=keys, set_=others)


def _insert(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
