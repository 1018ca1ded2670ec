"""How a database would go about a statement."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.database import Database

Statement = tuple[str, Any]


@contextmanager
def statements(database: Database, *kinds: str) -> Iterator[list[Statement]]:
    """Yield the statements of some kinds, such as `SELECT`, as they are executed, with what is put into them."""
    seen: list[Statement] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith(kinds):
            seen.append((statement, parameters))

    listen = engine_of(database), "before_cursor_execute"
    event.listen(*listen, note)
    try:
        yield seen
    finally:
        event.remove(*listen, note)


def engine_of(database: Database) -> Engine:
    """Return what its events are listened to on."""
    engine = database._vendor.engine
    return engine.sync_engine if isinstance(engine, AsyncEngine) else engine


async def steps_of(database: Database, statement: str, parameters: Any = ()) -> list[str]:
    """Return the steps of a plan; PostgreSQL avoids to read whole tables, though they are small, where it can."""
    async with database.read() as connection:
        if connection.dialect.name == "sqlite":
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            return [str(row[3]) for row in plan]
        await _avoid(connection, "seqscan", "bitmapscan", "sort")
        plan = await connection.exec_driver_sql(f"EXPLAIN (COSTS OFF) {statement}", parameters)
        return [str(row[0]) for row in plan]


async def _avoid(connection: Connection, *ways: str) -> None:
    for way in ways:
        await connection.execute(text(f"SET LOCAL enable_{way} = off"))


def reads_whole_tables(steps: Sequence[str]) -> list[str]:
    """Return the steps that read more the more a table has."""
    return [step for step in steps if re.search(r"^SCAN |Seq Scan", step)]


def sorts(steps: Sequence[str]) -> list[str]:
    """Return the steps that put rows in order, rather than finding them so."""
    return [step for step in steps if re.search(r"ORDER BY|\bSort\b", step)]
