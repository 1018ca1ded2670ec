"""A database of an earlier version keeps what it holds, and so does one that goes back to it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.storage import database as storage
from core.orchestrator.storage.database import Database, open_database
from tests.core.orchestrator.domain import opened

Rows = dict[str, list[dict[str, Any]]]

MOMENT = "2026-01-31T12:00:00.000000+00:00"
INTERACTION = {"interaction_id": "i1", "user_id": "ada"}
SECOND: Rows = {
    "sessions": [{"session_id": "s1", "user_id": "ada", "created_at": MOMENT, "turns": 2}],
    "interactions": [
        INTERACTION
        | {"kind": "interact", "session_id": "s1", "turn": 1, "status": "completed", "request": "{}", "reply": "Hi"}
        | {"created_at": MOMENT, "ended_at": MOMENT, "degraded": 0, "answered_place": 0, "persona_id": "cherry"},
        {"interaction_id": "i2", "user_id": "ada", "kind": "interact", "session_id": "s1", "turn": 2}
        | {"status": "queued", "request": "{}", "created_at": MOMENT, "degraded": 0},
    ],
    "messages": [
        {"session_id": "s1", "sequence": 1, "interaction_id": "i1", "role": "user", "content": "Hello", "tokens": 1}
        | {"in_memory": 1, "created_at": MOMENT}
    ],
    "prompts": [{"interaction_id": "i1", "messages": "[]", "temperature": 0.5, "explanation": "{}"}],
    "attempts": [
        INTERACTION
        | {"ordinal": ordinal, "place": 0, "day": "2026-01-31", "provider": "openrouter", "model": "m"}
        | {"status": "succeeded", "started_at": MOMENT, "billable": 1, "cost_usd": cost, "estimated_cost_usd": 0.5}
        | {"detail": "a detail", "generation_id": "gen-1", "prompt_tokens": 7, "wait_ms": 3, "first_token_ms": 4}
        for ordinal, cost in ((1, 0.25), (2, None))
    ],
    "completions": [{"interaction_id": "i1", "place": 0, "ordinal": 1, "text": "Hi", "finish_reason": "stop"}],
    "partials": [{"interaction_id": "i1", "ordinal": 2, "text": "H"}],
    "cooldowns": [
        {"provider": "openrouter", "model": "m", "failures": 2, "failed_at": MOMENT, "error_type": "upstream"}
        | {"detail": "it broke", "cooling_until": None}
    ],
    "catalogues": [{"provider": "openrouter", "fetched_at": MOMENT, "models": "[]"}],
}
"""A row of every table that the second version knows."""


async def bring_to(database: Database, revision: str) -> None:
    def move(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(storage.__file__).with_name("migrations")))
        config.attributes["connection"] = connection
        if revision.startswith("-"):
            command.downgrade(config, revision.removeprefix("-"))
        else:
            command.upgrade(config, revision)

    async with database.write() as connection:
        await connection.run_sync(move)


def fill(path: Path, rows: Rows) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, entries in rows.items():
            for entry in entries:
                marks = ", ".join("?" * len(entry))
                connection.execute(f"INSERT INTO {table} ({', '.join(entry)}) VALUES ({marks})", [*entry.values()])


def read(path: Path) -> Rows:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        return {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2")]
            for (name,) in tables.fetchall()
            if name != "alembic_version"
        }


def schema(path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {(name, " ".join(sql.replace('"', "").split())) for name, sql in found if name != "sqlite_sequence"}


def holds(found: Rows, rows: Rows) -> bool:
    return all(
        len(found[table]) == len(entries)
        and all(entry.items() <= kept.items() for entry, kept in zip(entries, found[table], strict=True))
        for table, entries in rows.items()
    )


async def test_a_database_of_the_second_version_keeps_its_rows_and_takes_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    database = open_database(path)
    await bring_to(database, "0002")
    assert read(path).keys() == SECOND.keys()
    fill(path, SECOND)
    await database.migrate()
    migrated = read(path)
    assert holds(migrated, SECOND)
    assert [entry["watched"] for entry in migrated["interactions"]] == [0, 0]
    assert [entry["erasing"] for entry in migrated["sessions"]] == [0]
    assert migrated["reply_events"] == migrated["erased_interactions"] == []
    store = InteractionStore(database)
    assert (await store.view("i1")).message == "Hi"
    await opened(store, session_id="s1")
    assert [entry["turn"] for entry in read(path)["interactions"]] == [3, 1, 2]
    await database.close()


async def test_a_database_that_goes_back_keeps_what_the_version_before_can_hold(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    database = open_database(path)
    await bring_to(database, "0002")
    before = schema(path)
    fill(path, SECOND)
    await database.migrate()
    fill(
        path,
        {
            "reply_events": [{"interaction_id": "i1", "sequence": 3, "type": "interaction.completed", "data": "{}"}],
            "erased_interactions": [{"interaction_id": "gone", "erased_at": MOMENT}],
            "attempts": [{**SECOND["attempts"][0], "interaction_id": "gone", "user_id": None}],
        },
    )
    await bring_to(database, "-0002")
    assert schema(path) == before
    assert holds(read(path), SECOND)
    await database.migrate()
    assert holds(read(path), SECOND)
    await database.close()
