"""Metrics, traces and logs of one day: they agree with the ledger, tell one story, and tell nothing on anybody."""

from collections.abc import AsyncIterator, Sequence
from itertools import chain

import pytest
from temporalio.client import Client

from standin import StandIn
from tests.harness import System, closed_run
from tests.system.collector import Collector, Span
from tests.system.observed_day import KNOWN, PARENT, SAID, SESSION, TRACE, USER, Day, Observed, has_a_bill_to_come
from tests.system.stories import Json

SERVER, CLIENT = 2, 3


@pytest.fixture(scope="module")
async def day(temporal: Client, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Day]:
    async with StandIn() as standin, Collector() as collector:
        observed = Observed(temporal, standin, collector, tmp_path_factory.mktemp("observed"))
        try:
            yield await observed.day()
        finally:
            await observed.system.stop()


def _attempts(day: Day, story: str) -> list[Json]:
    return [call for call in day.replies[story]["attempts"] if call["status"] != "skipped"]


def _chats(day: Day, story: str) -> list[Span]:
    of_it = [
        span
        for span in day.collector.spans
        if span.name.startswith("chat ")
        and span.attributes["orchestrator.interaction.id"] == day.replies[story]["interaction_id"]
    ]
    return sorted(of_it, key=lambda span: span.attributes["orchestrator.attempt"])


# --- metrics ---


def test_metrics_and_the_ledger_add_up_to_the_same(day: Day) -> None:
    used = day.usage["total"]
    assert day.total("orchestrator_attempts_total") == used["calls"]
    assert day.total("orchestrator_tokens_total", kind="prompt") == used["prompt_tokens"] > 0
    assert day.total("orchestrator_tokens_total", kind="completion") == used["completion_tokens"] > 0
    assert day.total("orchestrator_cost_usd_total") == pytest.approx(used["cost_usd"], abs=1e-9)
    unknown = day.total("orchestrator_cost_unknown_total") - day.total("orchestrator_cost_settled_total")
    assert unknown == used["unknown_cost_calls"]
    calls = list(chain.from_iterable(_attempts(day, story) for story in day.replies))
    assert day.total("orchestrator_cost_settled_total") == sum(map(has_a_bill_to_come, calls)) > 0
    of_model = next(item for item in day.usage["items"] if item["key"] == KNOWN)
    assert day.total("orchestrator_attempts_total", gen_ai_request_model=KNOWN) == of_model["calls"]


def test_interactions_are_counted_by_how_they_ended(day: Day) -> None:
    stories = day.replies.values()
    assert day.total("orchestrator_interactions_begun_total") == len(stories)
    assert day.total("orchestrator_interactions_ended_total") == len(stories)
    assert day.total("orchestrator_interactions_ended_total", persona="karen", status="failed", degraded="true") == 1
    assert day.total("orchestrator_interactions_ended_total", persona="none", status="completed") == 1
    assert day.total("orchestrator_interaction_duration_seconds_count") == len(stories)
    # Of the one whose worker was killed, the wait was counted by that worker.
    assert day.total("orchestrator_queue_wait_seconds_count", until="place") == len(stories) - 1
    assert day.total("orchestrator_queue_wait_seconds_count", until="call") == len(stories) - 1


def test_calls_are_counted_by_what_they_came_to(day: Day) -> None:
    calls = list(chain.from_iterable(_attempts(day, story) for story in day.replies))
    for error_type in {str(call["error_type"] or "none") for call in calls}:
        expected = sum(str(call["error_type"] or "none") == error_type for call in calls)
        assert day.total("orchestrator_attempts_total", error_type=error_type) == expected
    assert day.total("orchestrator_attempts_total", error_type="worker_lost") == 1
    seen = day.total("gen_ai_client_operation_duration_seconds_count")
    assert seen == len(calls) - 1  # all but the one that was lost with its worker
    timed = [call for call in calls if call["first_token_ms"] is not None]
    assert day.total("gen_ai_client_operation_time_to_first_chunk_seconds_count") == len(timed)


def test_the_processes_tell_how_busy_they_are(day: Day) -> None:
    assert day.total("http_server_request_duration_seconds_count", http_route="/api/llm/interact") == 9 - 1
    assert day.total("http_server_request_duration_seconds_count", http_route="unmatched", status_class="4xx") == 2
    assert day.total("http_server_active_requests") == 1  # this one
    for worker_type in ("WorkflowWorker", "ActivityWorker", "LocalActivityWorker"):
        assert day.total("temporal_worker_task_slots_available", worker_type=worker_type) > 0
    assert day.total("temporal_worker_task_slots_used", worker_type="ActivityWorker") == 0
    assert day.total("temporal_workflow_task_schedule_to_start_latency_seconds_count") > 0
    assert day.total("orchestrator_calls_running") == 0
    assert ("orchestrator_database_connections", frozenset()) in day.samples


def test_metrics_are_for_administrators(day: Day) -> None:
    assert day.statuses == {"refused": 401, "unknown": 404}


# --- traces ---


def _children(spans: Sequence[Span], parent: Span) -> list[Span]:
    return [span for span in spans if span.parent_id == parent.span_id]


def test_one_trace_leads_from_the_request_to_the_call_past_a_killed_worker(day: Day) -> None:
    spans = day.collector.of_trace(TRACE)
    (request,) = (span for span in spans if span.kind == SERVER)
    assert (request.name, request.parent_id) == ("POST /api/llm/interact", PARENT)
    assert request.attributes["http.response.status_code"] == 200
    (agent,) = (span for span in spans if span.name == "invoke_agent cherry")
    assert agent.parent_id == request.span_id
    view = day.replies["lost"]
    assert agent.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.id": "cherry",
        "gen_ai.agent.name": view["persona_name"],
        "gen_ai.agent.version": view["persona_version"],
        "gen_ai.conversation.id": view["session_id"],
        "orchestrator.interaction.id": view["interaction_id"],
        "temporal.workflow.id": view["workflow_id"],
    }
    steps = _children(spans, agent)
    assert {step.name for step in steps} == {"load_memory", "build_prompt", "call_model", "store_results"}
    (asking,) = (step for step in steps if step.name == "call_model")
    lost, answered = _chats(day, "lost")
    assert [span.parent_id for span in (lost, answered)] == [asking.span_id] * 2
    assert (lost.failed, lost.attributes["error.type"]) == (True, "worker_lost")
    assert (answered.failed, "error.type" in answered.attributes) == (False, False)


@pytest.mark.parametrize("story", ["plain", "retried", "fallen back", "broken", "degraded", "direct"])
def test_each_attempt_is_a_span(day: Day, story: str) -> None:
    attempts, chats = _attempts(day, story), _chats(day, story)
    assert len({span.trace_id for span in chats}) == 1
    assert [span.attributes.get("error.type") for span in chats] == [call["error_type"] for call in attempts]
    assert [span.name for span in chats] == [f"chat {call['model']}" for call in attempts]
    assert {span.kind for span in chats} == {CLIENT}
    tries = {span.span_id: span for span in day.collector.of_trace(chats[0].trace_id) if span.name == "call_model"}
    assert len({span.parent_id for span in chats} & tries.keys()) == len(attempts)


def test_the_span_of_a_call_says_what_the_conventions_name(day: Day) -> None:
    (span,) = _chats(day, "plain")
    (call,) = day.replies["plain"]["attempts"]
    told = dict(span.attributes)
    assert told.pop("gen_ai.response.time_to_first_chunk") == call["first_token_ms"] / 1000
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openrouter",
        "gen_ai.conversation.id": SESSION,
        "gen_ai.request.model": call["model"],
        "gen_ai.request.temperature": told["gen_ai.request.temperature"],
        "gen_ai.request.max_tokens": 500,
        "gen_ai.request.stream": True,
        "gen_ai.response.id": call["generation_id"],
        "gen_ai.response.model": call["answered_model"],
        "gen_ai.response.finish_reasons": [day.replies["plain"]["finish_reason"]],
        "gen_ai.usage.input_tokens": call["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": call["usage"]["completion_tokens"],
        "orchestrator.interaction.id": day.replies["plain"]["interaction_id"],
        "orchestrator.attempt": 1,
    }
    assert span.service == "observed"


def test_no_upstream_is_told_of_the_trace(day: Day) -> None:
    assert day.heard_upstream
    assert not [name for name in day.heard_upstream if "trace" in name.lower() or name.lower() == "baggage"]


async def test_without_anybody_to_send_them_to_no_trace_is_made(system: System, temporal: Client) -> None:
    view = (await system.interact("Hello")).json()
    history = await (await closed_run(temporal, view["workflow_id"])).fetch_history()
    assert "_tracer-data" not in history.to_json()
    logs = [process.read_text() for process in system.directory.glob("process-*.log")]
    assert any(view["interaction_id"] in text for text in logs)
    assert not [text for text in logs if "trace_id" in text]


# --- logs ---


@pytest.mark.parametrize("process", ["api", "second"])
def test_every_line_about_an_interaction_names_it_and_its_trace(day: Day, process: str) -> None:
    ids = {view["interaction_id"] for view in day.replies.values()}
    about = [line for line in day.lines(process) if any(known in str(line) for known in ids)]
    assert len({line["interaction_id"] for line in about} & ids) >= len(ids) - 1
    for line in about:
        assert line["interaction_id"] in ids
        assert len(line["trace_id"]) == 32, line
        assert len(line["span_id"]) == 16, line


def test_the_lines_of_libraries_say_whose_they_are(day: Day) -> None:
    for process in ("api", "second"):
        said = [line for line in day.lines(process) if "by a library" in str(line["event"])]
        assert {line["logger"] for line in said} == {"a.library", "py.warnings"}
        assert all(line["interaction_id"] and line["trace_id"] for line in said)


def test_a_request_is_found_by_the_id_its_sender_gave_it(day: Day) -> None:
    created = [line for line in day.lines("api") if line["event"] == "interaction.created"]
    (sent,) = (line for line in created if line["request_id"] == "lost-1")
    assert sent["interaction_id"] == day.replies["lost"]["interaction_id"]
    assert len({line["request_id"] for line in created}) == len(created)


# --- nothing on anybody ---


def test_nobody_is_told_on(day: Day) -> None:
    spans = "\n".join(span.raw for span in day.collector.spans)
    assert day.collector.spans
    for where, text in {**day.output, "spans": spans, "metrics": "\n".join(day.metrics)}.items():
        for marked in (SAID, "You are", "Bearer", *day.secrets):
            assert marked not in text, f"{marked} in {where}"
        assert USER not in text, where
    for view in day.replies.values():
        for known in (SESSION, view["interaction_id"]):
            assert known not in "\n".join(day.metrics)
