"""What broken calls cost: known within a minute, and the sum of what we say is the provider's bill to the cent."""

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from standin import Outcome, Pace
from tests.harness import System, closed_run
from tests.system.beside import beside
from tests.system.stories import (
    NO_ANSWER_WITHIN,
    SHORT_HEARTBEAT,
    Json,
    answered,
    eventually,
    held,
    interaction_of,
    outcomes,
    read,
    sending,
    worker_calling,
)

MODEL, GOOD = "test/model", "openai/gpt-4"
HELD_AFTER_A_FEW_WORDS = {"hold": True, "after": 3}
# The records appear after the first look, which comes a second after the end.
PACE = Pace(generation_record=timedelta(seconds=1.5))


async def bill_of(system: System, user_id: str) -> Json:
    """What a user's calls cost, as our usage report says."""
    response = await system.client.get("/api/usage", params={"group_by": "model", "user_id": user_id})
    assert response.status_code == 200, response.text
    total: Json = response.json()["total"]
    return total


async def settled(system: System, interaction_id: str) -> Json:
    """The interaction once the cost of each of its calls is known."""

    async def is_known() -> bool:
        return (await read(system, interaction_id))["usage"]["cost_usd"] is not None

    await eventually(is_known, NO_ANSWER_WITHIN)
    return await read(system, interaction_id)


async def everything_adds_up(system: System, interaction_id: str, user_id: str) -> Json:
    """Compare the provider's bill with what we say of it, and return the interaction."""
    view = await settled(system, interaction_id)
    assert all(call.outcome is not None for call in system.standin.ledger.calls)
    bill = float(system.standin.ledger.total_cost)
    assert bill > 0
    assert view["usage"]["cost_usd"] == pytest.approx(bill)
    assert view["usage"]["estimated_cost_usd"] is None
    ours = await bill_of(system, user_id)
    assert ours["cost_usd"] == pytest.approx(bill)
    assert ours["unknown_cost_calls"] == 0
    tokens = sum(call.completion_tokens for call in system.standin.ledger.calls if call.cost)
    assert view["usage"]["completion_tokens"] == ours["completion_tokens"] == tokens
    return view


async def _is_settled_after_the_reply(system: System, fault: str) -> None:
    await system.start(**SHORT_HEARTBEAT)
    response = await system.interact(model=f"standin/{fault}", fallback_models=[GOOD], after_output="restart")
    reply = response.json()
    assert (reply["status"], reply["model"], reply["usage"]["cost_usd"]) == ("completed", GOOD, None)
    view = await everything_adds_up(system, reply["interaction_id"], "user123")
    assert all(attempt["usage"]["cost_usd"] > 0 for attempt in view["attempts"])
    unbilled = {"usage", "attempts"}
    assert {key: view[key] for key in view.keys() - unbilled} == {key: reply[key] for key in reply.keys() - unbilled}


@beside
async def test_a_reply_waits_for_no_bill_and_the_bill_of_its_broken_calls_comes_soon(own_system: System) -> None:
    await _is_settled_after_the_reply(own_system, "truncated")


@beside
async def test_a_connection_that_was_reset_is_billed_like_one_that_ended_early(own_system: System) -> None:
    await _is_settled_after_the_reply(own_system, "reset")


@beside
async def test_an_answer_that_came_without_its_price_is_settled_too(own_system: System) -> None:
    await own_system.start(**SHORT_HEARTBEAT)
    reply = (await own_system.interact(model="standin/cost-null", fallback_models=[])).json()
    assert (reply["status"], reply["usage"]["cost_usd"]) == ("completed", None)
    await everything_adds_up(own_system, reply["interaction_id"], "user123")


@beside
async def test_a_completion_is_settled_like_an_interaction(own_system: System) -> None:
    await own_system.start(**SHORT_HEARTBEAT)
    own_system.standin.script(MODEL, "truncated")
    response = await own_system.client.post(
        "/api/llm/direct",
        params={"model": MODEL, "user_id": "direct-broken"},
        json=[{"role": "user", "content": "Hello"}],
    )
    assert response.status_code == 200, response.text
    await everything_adds_up(own_system, response.json()["interaction_id"], "direct-broken")


@beside
async def test_what_a_call_cancelled_in_temporal_cost_is_known_in_the_end(own_system: System, temporal: Client) -> None:
    await own_system.start(**SHORT_HEARTBEAT)
    own_system.standin.script(MODEL, HELD_AFTER_A_FEW_WORDS)
    async with sending(own_system, user_id="cancelled", session_id="cancelled", model=MODEL) as request:
        await held(own_system)
        interaction_id = await interaction_of(own_system, "cancelled")
        await temporal.get_workflow_handle(f"interaction-{interaction_id}").cancel()
        assert (await answered(request))["status"] == "cancelled"
    view = await everything_adds_up(own_system, interaction_id, "cancelled")
    assert (view["status"], outcomes(view)) == ("cancelled", ["cancelled"])
    assert own_system.standin.ledger.calls[0].outcome is Outcome.ABORTED


@beside
async def test_what_a_call_lost_with_its_worker_cost_is_known_in_the_end(own_system: System) -> None:
    own_system.standin.script(MODEL, HELD_AFTER_A_FEW_WORDS)
    workers = [await own_system.start_worker(**SHORT_HEARTBEAT) for _ in range(2)]
    await own_system.start_api()
    async with sending(own_system, session_id="lost", model=MODEL, fallback_models=[]) as request:
        await held(own_system)
        interaction_id = await interaction_of(own_system, "lost")

        async def is_written_down() -> bool:
            with closing(sqlite3.connect(own_system.directory / "data" / "orchestrator.db")) as database:
                query = "SELECT count(generation_id) FROM attempts WHERE interaction_id = ?"
                return bool(database.execute(query, (interaction_id,)).fetchone()[0])

        await eventually(is_written_down)
        await worker_calling(workers, interaction_id).kill()
        assert (await answered(request))["status"] == "completed"
    view = await everything_adds_up(own_system, interaction_id, "user123")
    assert outcomes(view) == ["worker_lost", "succeeded"]


@beside
async def test_a_reconciliation_that_was_lost_is_begun_again_by_the_next_worker(
    own_system: System, temporal: Client
) -> None:
    await own_system.start(**SHORT_HEARTBEAT)
    response = await own_system.interact(user_id="again", model="standin/truncated", fallback_models=[GOOD])
    interaction_id = response.json()["interaction_id"]
    await closed_run(temporal, f"interaction-{interaction_id}")  # by then the looking up has begun
    await temporal.get_workflow_handle(f"reconcile-{interaction_id}").terminate()
    worker = await own_system.start_worker()
    await everything_adds_up(own_system, interaction_id, "again")
    await worker.stop()


@beside
async def test_an_interaction_without_broken_calls_costs_temporal_no_further_run(
    own_system: System, temporal: Client
) -> None:
    await own_system.start(**SHORT_HEARTBEAT)
    reply = (await own_system.interact(user_id="plain", model="standin/no-endpoints", fallback_models=[GOOD])).json()
    assert reply["usage"]["cost_usd"] == pytest.approx(float(own_system.standin.ledger.total_cost))
    await closed_run(temporal, f"interaction-{reply['interaction_id']}")
    with pytest.raises(RPCError) as unknown:
        await temporal.get_workflow_handle(f"reconcile-{reply['interaction_id']}").describe()
    assert unknown.value.status is RPCStatusCode.NOT_FOUND


@beside
async def test_what_failed_and_what_it_cost_can_be_searched_for(own_system: System, temporal: Client) -> None:
    await own_system.start(**SHORT_HEARTBEAT)
    session = {"session_id": "searched for", "user_id": "searcher"}
    limited = (await own_system.interact(model="standin/rate-limited-long", fallback_models=[GOOD], **session)).json()
    broken = (await own_system.interact(model="standin/truncated", fallback_models=[GOOD], **session)).json()
    await own_system.interact(model=GOOD, **session)
    await settled(own_system, broken["interaction_id"])

    async def found(query: str) -> set[str]:
        query = f"TaskQueue = '{own_system.environment['TASK_QUEUE']}' AND {query}"
        return {run.id async for run in temporal.list_workflows(query)}

    reconciliation = f"reconcile-{broken['interaction_id']}"

    async def all_are_listed() -> bool:
        by_session = await found("SessionId = 'searched for' AND ExecutionStatus = 'Completed'")
        return len(by_session) == 3 and reconciliation in await found("Outcome = 'settled'")

    await eventually(all_are_listed)
    assert await found("SessionId = 'searched for' AND ErrorTypes = 'rate_limit'") == {limited["workflow_id"]}
    assert await found("SessionId = 'searched for' AND ErrorTypes IN ('rate_limit', 'truncated')") == {
        limited["workflow_id"],
        broken["workflow_id"],
    }
    assert await found("WorkflowType = 'reconciliation' AND Outcome = 'unknown'") == set()
