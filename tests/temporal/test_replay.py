"""Where histories to replay come from, and what is said of those that cannot be had."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client

from core.orchestrator.config import Settings
from core.orchestrator.contracts import INTERACTION_WORKFLOW
from core.orchestrator.errors import ConfigurationError, UnknownResourceError, WorkflowServiceUnavailableError
from temporal.client import connect
from temporal.replay import count_of, histories_of, history_in, history_of, replay
from tests.harness import free_port
from tests.workflows.steps import Steps, answer
from workflows.all import WORKFLOWS
from workflows.completion import CompletionWorkflow


async def _run(client: Client) -> str:
    return (await Steps(first=answer).run(client)).workflow_id


async def test_the_run_of_a_workflow_is_replayed(temporal: Client) -> None:
    workflow_id = await _run(temporal)
    (result,) = [result async for result in replay(WORKFLOWS, history_of(temporal, workflow_id))]
    assert (result.workflow_id, result.difference) == (workflow_id, None)
    assert result.events > 10


async def test_a_run_in_progress_is_replayed_as_far_as_it_has_come(temporal: Client) -> None:
    steps = Steps()
    steps.models["first"] = steps.hang
    async with steps.worker(temporal) as runner:
        run = await runner.interaction()
        await steps.reached.wait()
        (result,) = [result async for result in replay(WORKFLOWS, history_of(temporal, run.id))]
        await run.cancel()
    assert result.difference is None


async def test_every_run_that_a_query_finds_is_replayed(temporal: Client) -> None:
    workflow_ids = {await _run(temporal), await _run(temporal)}
    query = " OR ".join(f"WorkflowId = '{workflow_id}'" for workflow_id in workflow_ids)
    async with asyncio.timeout(10):
        # Lists are a little behind, and nobody tells when they are not.
        while (await temporal.count_workflows(query)).count < len(workflow_ids):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    results = [result async for result in replay(WORKFLOWS, histories_of(temporal, query))]
    assert {result.workflow_id for result in results} == workflow_ids
    assert [result.difference for result in results] == [None, None]


async def test_a_workflow_that_temporal_does_not_know_is_named(temporal: Client) -> None:
    with pytest.raises(UnknownResourceError, match="unknown workflow 'interaction-nobody'"):
        [history async for history in history_of(temporal, "interaction-nobody")]


async def test_a_query_that_is_none_is_refused_with_the_reason(temporal: Client) -> None:
    with pytest.raises(ConfigurationError, match=r"Temporal refuses the query: .*NoSuchAttribute"):
        [history async for history in histories_of(temporal, "NoSuchAttribute = 1")]


async def test_without_temporal_that_is_what_is_said() -> None:
    settings = Settings(_env_file=None, TEMPORAL_ADDRESS=f"127.0.0.1:{free_port()}")
    client = await connect(settings, lazy=True)
    told = "^Temporal did not answer: Connection refused$"
    with pytest.raises(WorkflowServiceUnavailableError, match=told):
        [history async for history in history_of(client, "interaction-any")]
    with pytest.raises(WorkflowServiceUnavailableError, match=told):
        [history async for history in histories_of(client, "Fallbacks > 0")]
    with pytest.raises(WorkflowServiceUnavailableError, match=told):
        await count_of(client, "Fallbacks > 0")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not JSON",
        "[]",
        "null",
        "{}",
        '{"events": []}',
        '{"events": [{}]}',
        '{"events": [{"workflowExecutionStartedEventAttributes": 7}]}',
        '{"events": [{"eventType": "NOBODY_KNOWS", "workflowExecutionStartedEventAttributes": {}}]}',
        "\udcff",
    ],
)
async def test_a_file_that_holds_no_history_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "history.json"
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(ConfigurationError, match=str(path)):
        [history async for history in history_in(path)]


async def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.json"):
        [history async for history in history_in(tmp_path / "nowhere.json")]


async def test_a_run_that_no_worker_has_touched_is_like_any_other(temporal: Client) -> None:
    run = await temporal.start_workflow(INTERACTION_WORKFLOW, id=f"interaction-{uuid4()}", task_queue=f"idle-{uuid4()}")
    (result,) = [result async for result in replay(WORKFLOWS, history_of(temporal, run.id))]
    await run.terminate()
    assert (result.workflow_id, result.difference) == (run.id, None)


async def test_a_workflow_that_is_none_of_ours_differs(temporal: Client) -> None:
    workflow_id = await _run(temporal)
    (result,) = [result async for result in replay([CompletionWorkflow], history_of(temporal, workflow_id))]
    assert result.difference is not None
    assert "interaction" in result.difference
