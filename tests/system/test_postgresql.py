"""The whole system on PostgreSQL: nothing shares a file any more. That its server may go and come back: see `chaos`."""

import asyncio

import httpx

from tests.harness import System, free_port
from tests.postgres import PostgresServer
from tests.system.streams import events_in


async def test_a_reply_on_postgresql_is_watched_at_another_api(own_system: System, postgres: PostgresServer) -> None:
    own_system.environment["DATABASE_URL"] = await postgres.empty()
    code, output = await own_system.command("api")
    assert (code, output.count("\n")) == (2, 1), output
    assert output.endswith(": run `orchestrator migrate`\n"), output
    code, output = await own_system.command("migrate")
    assert code == 0, output
    assert "the schema is up to date now" in output

    port = free_port()
    await asyncio.gather(own_system.start(), own_system.start_api(API_PORT=str(port)))
    accepted = await own_system.interact("Tell me a story", background=True)
    assert accepted.status_code == 202, accepted.text
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as other,
        other.stream("GET", f"{accepted.headers['Location']}/stream") as response,
    ):
        seen = [event async for event in events_in(response)]
    assert seen[-1]["type"] == "interaction.completed", seen[-1]
    said = "".join(event["delta"] for event in seen if event["type"] == "text.delta")
    assert said == seen[-1]["response"]["message"]
