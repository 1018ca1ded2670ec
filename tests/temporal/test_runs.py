"""Interactions as runs: started once, asked after, told that their place is free."""

from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError

from core.orchestrator.config import Settings
from core.orchestrator.contracts import CompletionRequest, InteractionRequest
from core.orchestrator.errors import WorkflowServiceUnavailableError
from core.orchestrator.runs import RunState
from core.orchestrator.workflow_ids import workflow_id_of
from temporal.client import connect
from temporal.runs import WorkflowRuns, share_of
from temporal.search_attributes import SESSION_ID
from tests.harness import free_port
from tests.workflows.steps import Steps, answer


def request(**fields: str) -> InteractionRequest:
    given = {"interaction_id": str(uuid4()), "user_id": "ada", "session_id": "s", "persona_id": "cherry"}
    return InteractionRequest(**{**given, "message": "Hello", **fields})


@pytest.fixture
def runs(temporal: Client) -> WorkflowRuns:
    """Runs of a task queue that nobody works on."""
    return WorkflowRuns(temporal, f"idle-{uuid4()}")


@pytest.fixture
async def nowhere() -> WorkflowRuns:
    """Runs of a Temporal that is not there."""
    settings = Settings(_env_file=None, TEMPORAL_ADDRESS=f"127.0.0.1:{free_port()}")
    return WorkflowRuns(await connect(settings, lazy=True), "idle")


async def test_a_started_run_is_running_until_it_is_closed(temporal: Client, runs: WorkflowRuns) -> None:
    asked = request()
    workflow_id = workflow_id_of(asked.interaction_id)
    assert await runs.state(workflow_id) is RunState.MISSING
    await runs.start(asked)
    assert await runs.state(workflow_id) is RunState.RUNNING
    await temporal.get_workflow_handle(workflow_id).terminate()
    assert await runs.state(workflow_id) is RunState.CLOSED


async def test_a_run_that_was_cancelled_is_told_from_one_that_ended(temporal: Client) -> None:
    steps = Steps(first=answer)
    steps.models["first"] = steps.hang
    async with steps.worker(temporal) as runner:
        run = await runner.interaction()
        await steps.reached.wait()
        await run.cancel()
        with pytest.raises(WorkflowFailureError):
            await run.result()
        assert await WorkflowRuns(temporal, "any").state(run.id) is RunState.CANCELLED


async def test_starting_again_attaches_to_the_run_that_there_is(temporal: Client, runs: WorkflowRuns) -> None:
    asked = request()
    await runs.start(asked)
    first = await temporal.get_workflow_handle(workflow_id_of(asked.interaction_id)).describe()
    await runs.start(asked)
    second = await temporal.get_workflow_handle(workflow_id_of(asked.interaction_id)).describe()
    assert second.run_id == first.run_id
    await temporal.get_workflow_handle(first.id).terminate()
    await runs.start(asked)
    assert await runs.state(first.id) is RunState.CLOSED  # one that has ended is not begun again


async def test_a_run_is_found_by_its_session_if_it_has_one(temporal: Client, runs: WorkflowRuns) -> None:
    for session_id in ("s", None):
        asked = request().model_copy(update={"session_id": session_id})
        await runs.start(asked)
        run = temporal.get_workflow_handle(workflow_id_of(asked.interaction_id))
        assert (await run.describe()).typed_search_attributes.get(SESSION_ID) == session_id
        await run.terminate()


async def test_a_completion_runs_under_its_own_name(temporal: Client, runs: WorkflowRuns) -> None:
    asked = CompletionRequest(interaction_id=str(uuid4()), user_id="ada")
    await runs.start(asked)
    run = temporal.get_workflow_handle(workflow_id_of(asked.interaction_id))
    assert (await run.describe()).workflow_type == "completion"
    await run.terminate()


async def test_what_broken_calls_cost_is_looked_up_by_one_run_at_a_time_and_again_when_it_has_ended(
    temporal: Client, runs: WorkflowRuns
) -> None:
    run = temporal.get_workflow_handle("reconcile-somebodys")
    await runs.reconcile("somebodys")
    first = await run.describe()
    await runs.reconcile("somebodys")
    assert (await run.describe()).run_id == first.run_id
    assert first.workflow_type == "reconciliation"
    await run.terminate()
    await runs.reconcile("somebodys")
    assert (await run.describe()).run_id != first.run_id
    await run.terminate()


async def test_telling_a_workflow_that_does_not_exist_is_harmless(runs: WorkflowRuns) -> None:
    await runs.free_place("interaction-nobody")


async def test_without_temporal_a_start_fails_and_names_the_interaction(nowhere: WorkflowRuns) -> None:
    asked = request()
    with pytest.raises(WorkflowServiceUnavailableError) as failure:
        await nowhere.start(asked)
    assert failure.value.interaction_id == asked.interaction_id


async def test_a_run_is_cancelled_by_request_and_one_that_does_not_run_is_no_error(
    temporal: Client, runs: WorkflowRuns
) -> None:
    asked = request()
    await runs.start(asked)
    run = temporal.get_workflow_handle(workflow_id_of(asked.interaction_id))
    await runs.cancel(run.id)
    requested = [event async for event in run.fetch_history_events() if "cancel_requested" in str(event)]
    assert len(requested) == 1
    await run.terminate()
    await runs.cancel(run.id)
    await runs.cancel("interaction-nobody")


async def test_without_temporal_nobody_is_taken_for_gone_and_no_end_fails(nowhere: WorkflowRuns) -> None:
    for ask in (nowhere.state, nowhere.cancel, nowhere.delete):
        with pytest.raises(WorkflowServiceUnavailableError):
            await ask("interaction-somebody")
    await nowhere.free_place("interaction-somebody")
    await nowhere.reconcile("somebody")


def test_each_user_has_a_share_of_its_own_under_a_name_that_the_server_takes() -> None:
    users = ["ada", "eve", "x" * 128, "x" * 127 + "y", "ü" * 128]
    names = [share_of(user).fairness_key or "" for user in users]
    assert len(set(names)) == len(users)
    assert all(0 < len(name.encode()) <= 64 for name in names)
    assert "ada" not in names[0]
