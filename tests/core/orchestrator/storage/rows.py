"""What tests of the database write into it, and read of it."""

import sqlite3
from pathlib import Path

from sqlalchemy import func, select

from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import sessions
from tests.core.orchestrator.domain import NOON


def session_row(session_id: str, **values: object) -> dict[str, object]:
    return {"session_id": session_id, "user_id": "ada", "created_at": NOON, "turns": 0} | values


async def count_sessions(database: Database) -> int:
    async with database.read() as connection:
        return await connection.scalar(select(func.count()).select_from(sessions)) or 0


def schema_of(path: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
    connection.close()
    return found
