"""A user is erased while their calls run: from the database, from Temporal, and from what late workers would write."""

import asyncio
import signal
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, closing

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from core.orchestrator.contracts import InteractionRequest
from standin import Outcome
from temporal.runs import WorkflowRuns
from tests.core.orchestrator.domain import new_id
from tests.harness import Process, System
from tests.system.stories import Json, eventually, held, interaction_of, read, sending

USER, SECRET = "rapunzel", "Let down thy hair"
MODEL, GOOD = "test/model", "openai/gpt-4"
SPOKEN = {"hold": True, "after": 5}
NUMBERS = ("prompt_tokens", "completion_tokens", "total_tokens", "cost_usd")


async def usage(system: System, **query: str) -> Json:
    response = await system.client.get("/api/usage", params=query)
    assert response.status_code == 200, response.text
    report: Json = response.json()
    return report


async def erase(system: System, path: str) -> None:
    response = await system.client.delete(f"/api/{path}")
    assert (response.status_code, response.content) == (204, b""), response.text


def tables_that_hold(system: System, *texts: str) -> list[str]:
    """Every table of the database with a row that holds one of the texts."""
    with closing(sqlite3.connect(system.directory / "data" / "orchestrator.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: str(database.execute(f"SELECT * FROM {name}").fetchall()) for name in tables}
    return [name for name, held_in_it in rows.items() if any(text in held_in_it for text in texts)]


async def are_gone_from_temporal(temporal: Client, interaction_ids: Iterable[str]) -> None:
    """Return when Temporal knows none of the runs: it deletes them some seconds after it was asked to."""
    names = [f"{kind}-{one}" for one in interaction_ids for kind in ("interaction", "reconcile")]
    await asyncio.gather(*(is_gone_from_temporal(temporal, name) for name in names))


async def is_gone_from_temporal(temporal: Client, workflow_id: str) -> None:
    async def gone() -> bool:
        try:
            await temporal.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            return error.status is RPCStatusCode.NOT_FOUND
        return False

    await eventually(gone)


async def anything(seen: Sequence[object]) -> bool:
    return bool(seen)


def complained(*processes: Process) -> list[str]:
    return [line for process in processes for line in process.output.splitlines() if "Traceback" in line]


async def test_a_user_is_erased_with_whatever_runs(own_system: System, temporal: Client) -> None:
    system = own_system
    worker, api = await system.start()
    broken = await system.interact(
        SECRET, user_id=USER, session_id="s1", model="standin/truncated", fallback_models=[GOOD]
    )
    whole = await system.interact(SECRET, user_id=USER, session_id="s2")
    await system.interact("Hello", user_id="bob", session_id="s3")

    async def is_settled() -> bool:
        return (await read(system, broken.json()["interaction_id"]))["usage"]["cost_usd"] is not None

    await eventually(is_settled)
    before = await usage(system, group_by="user")
    system.standin.script(MODEL, SPOKEN)
    running = {"user_id": USER, "session_id": "s1", "model": MODEL, "fallback_models": []}
    async with AsyncExitStack() as senders:
        first = await senders.enter_async_context(sending(system, SECRET, **running, stream=True))
        await held(system)
        second = await senders.enter_async_context(sending(system, SECRET, **running))
        listed: list[Json] = []

        async def both_are_open() -> bool:
            response = await system.client.get("/api/llm/interactions", params={"session_id": "s1"})
            listed[:] = response.json()["items"]
            return len(listed) == 3

        await eventually(both_are_open)
        await eventually(lambda: is_shown(system))
        assert {"messages", "reply_events", "interactions"} < set(tables_that_hold(system, SECRET, USER, "Cherry"))
        await erase(system, f"users/{USER}")
        assert [(await asyncio.wait_for(answer, 10)).status_code < 500 for answer in (first, second)] == [True, True]
    assert system.standin.ledger.calls[-1].outcome is Outcome.ABORTED
    erased = [view["interaction_id"] for view in listed] + [whole.json()["interaction_id"]]
    await are_gone_from_temporal(temporal, erased)
    assert tables_that_hold(system, SECRET, USER) == []
    after = await usage(system, group_by="user")
    assert {name: after["total"][name] for name in NUMBERS} == {name: before["total"][name] for name in NUMBERS}
    assert after["total"]["calls"] == before["total"]["calls"] + 1  # the one that was cut off
    assert {item["key"] for item in after["items"]} == {None, "bob"}
    assert (await system.client.delete(f"/api/users/{USER}")).status_code == 404
    assert (await system.client.get("/api/sessions/s3/messages")).status_code == 200
    assert complained(worker, api) == []


async def is_shown(system: System) -> bool:
    with closing(sqlite3.connect(system.directory / "data" / "orchestrator.db")) as database:
        return bool(database.execute("SELECT count(*) FROM reply_events WHERE type = 'text.delta'").fetchone()[0])


async def test_a_worker_that_slept_through_an_erasure_writes_nothing_when_it_wakes(
    own_system: System, temporal: Client
) -> None:
    system = own_system
    worker, _ = await system.start()
    system.standin.script(MODEL, SPOKEN)
    async with sending(system, SECRET, user_id=USER, session_id="s1", model=MODEL, fallback_models=[]):
        await held(system)
        interaction_id = await interaction_of(system, "s1")
        worker.send(signal.SIGSTOP)
        await erase(system, "sessions/s1")
        system.standin.release()
        worker.send(signal.SIGCONT)
        await system.standin.ledger.until(lambda ledger: ledger.calls[-1].outcome is not None)
    answer = await system.interact("Are you awake?", user_id="bob")
    assert answer.json()["status"] == "completed"
    await are_gone_from_temporal(temporal, [interaction_id])
    assert tables_that_hold(system, SECRET, "s1") == []
    assert tables_that_hold(system, USER) == ["attempts"]
    assert complained(worker) == []
    await worker.stop()
    assert tables_that_hold(system, SECRET, "s1") == []


async def test_a_session_is_erased_while_others_keep_writing_to_it(system: System) -> None:
    session = {"user_id": "writer", "session_id": "written"}
    await system.interact(**session)
    seen: list[tuple[int, str | None]] = []

    async def write_on() -> None:
        while True:
            response = await system.interact(**session, background=True)
            seen.append((response.status_code, response.json().get("error_type")))

    writers = [asyncio.create_task(write_on()) for _ in range(4)]
    try:
        await eventually(lambda: anything(seen))
        await asyncio.wait_for(erase(system, "sessions/written"), 20)
    finally:
        for writer in writers:
            writer.cancel()
        await asyncio.wait(writers)
    assert set(seen) <= {(202, None), (409, "session_erasing")}


async def test_a_run_that_begins_after_its_turn_was_erased_deletes_itself(system: System, temporal: Client) -> None:
    interaction_id = new_id()
    with closing(sqlite3.connect(system.directory / "data" / "orchestrator.db")) as database, database:
        database.execute("INSERT INTO erased_interactions VALUES (?, '2026-01-31T12:00:00+00:00')", [interaction_id])
    request = InteractionRequest(
        interaction_id=interaction_id, user_id="late", session_id="late", persona_id="cherry", message=SECRET
    )
    await WorkflowRuns(temporal, system.environment["TASK_QUEUE"]).start(request)
    await is_gone_from_temporal(temporal, f"interaction-{interaction_id}")
    assert (await system.client.get(f"/api/llm/interactions/{interaction_id}")).status_code == 404
    assert (await system.client.get("/api/sessions/late/messages")).status_code == 404
