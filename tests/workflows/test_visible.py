"""What a person sees of a run in Temporal: in lists, in its history, and while it runs."""

import json
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHandle

from core.orchestrator.contracts import MemoryWindow
from core.orchestrator.errors import ErrorType
from temporal.search_attributes import FALLBACKS, MODEL, OUTCOME, PERSONA_ID, SESSION_ID, USER_ID
from tests.harness import System, closed_run
from tests.workflows.steps import Steps, answer, fail

METADATA_QUERY = "__temporal_workflow_metadata"


async def test_a_run_can_be_found_by_who_asked_whom_and_how_it_ended(temporal: Client, system: System) -> None:
    reply = (await system.interact(model="standin/no-endpoints", fallback_models=["openai/gpt-4"])).json()
    run = await (await closed_run(temporal, reply["workflow_id"])).describe()
    attributes = run.typed_search_attributes
    assert attributes[USER_ID] == "user123"
    assert attributes[PERSONA_ID] == "cherry"
    assert attributes[SESSION_ID] == reply["session_id"]
    assert attributes[MODEL] == "openai/gpt-4"
    assert attributes[OUTCOME] == "completed"
    assert attributes[FALLBACKS] == 1


async def test_a_run_that_nobody_answered_has_an_outcome_and_no_model(temporal: Client, system: System) -> None:
    reply = (await system.interact(model="standin/unauthorized", fallback_models=["openai/gpt-4"])).json()
    attributes = (await (await closed_run(temporal, reply["workflow_id"])).describe()).typed_search_attributes
    assert (attributes[OUTCOME], attributes[FALLBACKS]) == ("failed", 0)
    assert attributes.get(MODEL) is None


async def test_a_run_says_in_one_line_who_asked_whom_what(temporal: Client, system: System) -> None:
    reply = (await system.interact(f"What\nis  this? {'x' * 200}", persona_id="sophia")).json()
    summary = await (await (await closed_run(temporal, reply["workflow_id"])).describe()).static_summary()
    assert summary == f"sophia answers user123: What is this? {'x' * 86}…"


async def test_steps_are_labelled_with_the_model_and_its_place_in_the_plan(temporal: Client, system: System) -> None:
    models = ["standin/no-endpoints", "standin/content-policy", "openai/gpt-4"]
    reply = (await system.interact(model=models[0], fallback_models=models[1:])).json()
    assert await _summaries(await closed_run(temporal, reply["workflow_id"])) == [
        "memory of the session",
        "prompt and model plan",
        "standin/no-endpoints · first of 3",
        "standin/content-policy · fallback 1 of 2",
        "openai/gpt-4 · fallback 2 of 2",
        "reply, usage and the end",
    ]
    alone = (await system.interact(model="openai/gpt-4", fallback_models=[])).json()
    assert "openai/gpt-4 · only model" in await _summaries(await closed_run(temporal, alone["workflow_id"]))


async def test_the_attempts_stay_with_a_run_that_has_ended(temporal: Client, system: System) -> None:
    reply = (await system.interact(model="standin/no-endpoints", fallback_models=["openai/gpt-4"])).json()
    history = await (await closed_run(temporal, reply["workflow_id"])).fetch_history()

    result = _payload(history.events[-1].workflow_execution_completed_event_attributes.result.payloads[0])
    assert [(a["model"], a["status"], a.get("http_status")) for a in result["attempts"]] == [
        ("standin/no-endpoints", "failed", 404),
        ("openai/gpt-4", "succeeded", None),
    ]
    failed = next(e for e in history.events if e.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED)
    info = failed.activity_task_failed_event_attributes.failure.application_failure_info
    (detail,) = (_payload(payload) for payload in info.details.payloads)
    assert (info.type, detail["then"]) == ("model_not_found", "next_model")
    assert [(attempt["ordinal"], attempt["error_type"]) for attempt in detail["attempts"]] == [(1, "model_not_found")]


async def test_an_interaction_takes_two_workflow_tasks_and_fifteen_events(temporal: Client, system: System) -> None:
    reply = (await system.interact(model="openai/gpt-4", fallback_models=[])).json()
    events = (await (await closed_run(temporal, reply["workflow_id"])).fetch_history()).events
    tasks = [event for event in events if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
    assert (len(tasks), len(events)) == (2, 15)


async def test_a_history_holds_neither_prompt_nor_key(temporal: Client, system: System) -> None:
    first = (await system.interact("My name is Ada", model="standin/echo-key")).json()
    second = (await system.interact("What is my name?", session_id=first["session_id"])).json()
    for reply in (first, second):
        history = (await (await closed_run(temporal, reply["workflow_id"])).fetch_history()).to_json()
        assert system.environment["OPENROUTER_API_KEY"] not in history
        assert "You are" not in history
    direct = await system.client.post("/api/llm/direct", json=[{"role": "user", "content": "a very private matter"}])
    workflow_id = f"interaction-{direct.json()['interaction_id']}"
    texts = [
        payload.data.decode()
        for event in (await (await closed_run(temporal, workflow_id)).fetch_history()).events
        for payload in event.workflow_execution_started_event_attributes.input.payloads
    ]
    assert texts
    assert not [text for text in texts if "a very private matter" in text]


async def test_a_running_workflow_shows_who_is_being_asked_and_who_failed(temporal: Client) -> None:
    steps = Steps(first=fail(ErrorType.UNAVAILABLE))
    steps.models["second"] = steps.hang
    async with steps.worker(temporal) as runner:
        run = await runner.interaction()
        await steps.reached.wait()
        details = (await run.query(METADATA_QUERY, result_type=WorkflowMetadata)).current_details
        await run.cancel()
    assert _without_gaps(details) == [
        "**asking fake:second**",
        "",
        "| try | model | outcome | took |",
        "|--:|---|---|--:|",
        "| 1| fake:first| unavailable (HTTP 503)| 7 ms |",
    ]


async def test_a_running_workflow_shows_who_was_passed_over_and_why(temporal: Client) -> None:
    steps = Steps(cools=answer)
    steps.models["second"] = steps.hang
    steps.planned = {"cools": {"cooling": "it failed | thrice", "cooling_error": ErrorType.STALLED}}
    async with steps.worker(temporal) as runner:
        run = await runner.interaction()
        await steps.reached.wait()
        details = (await run.query(METADATA_QUERY, result_type=WorkflowMetadata)).current_details
        await run.cancel()
    assert _without_gaps(details)[-1] == "|| fake:cools| passed over: it failed / thrice | |"
    assert "fake:second · first of 2 · 1 passed over" in await _summaries(run)


async def test_a_run_that_nobody_answered_shows_every_failure(temporal: Client) -> None:
    steps = Steps(first=fail(ErrorType.UNAVAILABLE), second=fail(ErrorType.TIMEOUT))
    async with steps.worker(temporal) as runner:
        run = await runner.interaction()
        await run.result()
        details = (await run.query(METADATA_QUERY, result_type=WorkflowMetadata)).current_details
    shown = _without_gaps(details)
    assert shown[0] == "**no whole answer**"
    assert [row.split("|")[2:4] for row in shown[-2:]] == [
        [" fake:first", " unavailable (HTTP 503)"],
        [" fake:second", " timeout (HTTP 503)"],
    ]


async def test_a_turn_in_line_shows_for_whom_it_waits(temporal: Client) -> None:
    steps = Steps(first=answer)
    steps.windows = [MemoryWindow(waiting_on="01a2-earlier")]
    async with steps.worker(temporal) as runner:
        run = await runner.interaction()
        await steps.reached.wait()
        # The query is answered once the running step has been taken note of.
        details = (await run.query(METADATA_QUERY, result_type=WorkflowMetadata)).current_details
        await run.cancel()
    assert details == "waiting for `01a2-earlier`, an earlier turn of the session"


async def _summaries(run: WorkflowHandle[Any, Any]) -> list[str]:
    history = await run.fetch_history()
    labelled = (EventType.EVENT_TYPE_MARKER_RECORDED, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    return [
        json.loads(event.user_metadata.summary.data)
        for event in history.events
        if event.event_type in labelled and event.user_metadata.HasField("summary")
    ]


def _payload(payload: Any) -> Any:
    return json.loads(payload.data)


def _without_gaps(details: str) -> list[str]:
    return details.replace("\N{NO-BREAK SPACE}", "").splitlines()
