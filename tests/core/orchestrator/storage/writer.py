"""A process that writes: `python writer.py migrate PLACE` or `python writer.py open PLACE SESSION COUNT`.

PLACE is the path of a SQLite file, or the address of a PostgreSQL database.
"""

import asyncio
import sys
from pathlib import Path

from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.storage.database import open_database
from tests.core.orchestrator.domain import request


async def main(what: str, place: str, session_id: str = "", count: str = "0") -> None:
    database = open_database(place if "://" in place else Path(place))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    if what == "migrate":
        await database.migrate()
    else:
        store = InteractionStore(database)
        await asyncio.gather(*(store.open_turn(request(session_id=session_id)) for _ in range(int(count))))
    await database.close()


asyncio.run(main(*sys.argv[1:]))
