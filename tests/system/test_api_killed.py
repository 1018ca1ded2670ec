"""`kill -9` of the API: what was accepted is answered, what was not blocks nobody."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness import System
from tests.system.beside import beside
from tests.system.stories import (
    HELD,
    answered,
    eventually,
    explain,
    held,
    interaction_of,
    read,
    roles,
    sending,
    transcript,
)

MODEL = "test/model"


@beside
async def test_an_api_killed_while_it_waits_loses_no_reply(own_system: System) -> None:
    own_system.standin.script(MODEL, HELD)
    await own_system.start_worker()
    api = await own_system.start_api()
    async with sending(own_system, "My name is Ada", session_id="s", model=MODEL):
        await held(own_system)
        interaction_id = await interaction_of(own_system, "s")
        await api.kill()
    own_system.standin.release()

    await own_system.start_api()
    reply = await read(own_system, interaction_id, wait=30)
    assert reply["status"] == "completed"
    assert "My name is Ada" in reply["message"]
    stored = await transcript(own_system, "s")
    assert [(message["role"], message["content"]) for message in stored] == [
        ("user", "My name is Ada"),
        ("assistant", reply["message"]),
    ]

    following = (await own_system.interact("What is my name?", session_id="s")).json()
    assert "I remember 2 earlier messages" in following["message"]
    assert len(own_system.standin.ledger.calls) == 2


@contextmanager
def a_temporal_that_never_answers() -> Iterator[str]:
    """Something that can be connected to, and that is all."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"127.0.0.1:{silent.getsockname()[1]}"


@beside
async def test_a_turn_whose_workflow_was_never_started_blocks_nobody(own_system: System) -> None:
    await own_system.start_worker()
    with a_temporal_that_never_answers() as address:
        api = await own_system.start_api(TEMPORAL_ADDRESS=address)
        async with sending(own_system, "Forget me", session_id="s"):

            async def opened() -> bool:
                return bool(await transcript(own_system, "s"))

            await eventually(opened)
            abandoned = await interaction_of(own_system, "s")
            await api.kill()

    await own_system.start_api()
    async with sending(own_system, "Answer me", session_id="s") as request:
        reply = await answered(request)
    assert reply["status"] == "completed"
    assert "I remember 0 earlier messages" in reply["message"]
    assert [message["content"] for message in await transcript(own_system, "s")] == ["Answer me", reply["message"]]
    assert (await read(own_system, abandoned))["status"] == "failed"
    prompt = (await explain(own_system, reply["interaction_id"]))["messages"]
    assert "Forget me" not in str(prompt)
    assert roles(prompt) == ["system", "user"]
