"""The whole system on PostgreSQL: nothing shares a file any more, and the server may go and come back."""

import asyncio
from contextlib import suppress

import httpx

from tests.harness import System, free_port
from tests.postgres import PostgresServer
from tests.system.stories import Json
from tests.system.streams import events_in


async def test_a_reply_on_postgresql_is_watched_at_another_api_and_outlives_the_end_of_the_server(
    own_system: System, postgres: PostgresServer
) -> None:
    own_system.environment["DATABASE_URL"] = await postgres.empty()
    code, output = await own_system.command("api")
    assert (code, output.count("\n")) == (2, 1), output
    assert output.endswith(": run `orchestrator migrate`\n"), output
    code, output = await own_system.command("migrate")
    assert code == 0, output
    assert "the schema is up to date now" in output

    port = free_port()
    await asyncio.gather(own_system.start(), own_system.start_api(API_PORT=str(port)))
    accepted = await own_system.interact("Tell me a story", background=True, model="standin/slow-stream")
    assert accepted.status_code == 202, accepted.text
    url = f"{accepted.headers['Location']}/stream"
    seen: list[Json] = []
    killed = False
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        while not seen or "response" not in seen[-1]:
            after = seen[-1]["sequence_number"] if seen else 0
            with suppress(httpx.TransportError):
                async with client.stream("GET", url, params={"starting_after": after}) as response:
                    async for event in events_in(response):
                        seen.append(event)
                        if event["type"] == "text.delta" and not killed:
                            killed = True
                            await postgres.kill()
                            assert (await own_system.interact("Is anybody there?")).status_code == 503
                            await postgres.start()
    assert seen[-1]["type"] == "interaction.completed", seen[-1]
    said = "".join(event["delta"] for event in seen if event["type"] == "text.delta")
    assert said == seen[-1]["response"]["message"]
    assert (await own_system.interact("And now?")).status_code == 200
