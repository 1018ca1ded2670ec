"""A process that writes: `python writer.py migrate PATH` or `python writer.py open PATH SESSION COUNT`."""

import asyncio
import sys
from pathlib import Path

from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.storage.database import open_database
from tests.core.orchestrator.domain import request


async def main(what: str, path: str, session_id: str = "", count: str = "0") -> None:
    database = open_database(Path(path))
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
