"""Every hostile behaviour of an upstream, over real sockets, from the HTTP request to the HTTP response.

All of them are played at once against one API and one worker, each alone and each with a fallback; then every test
looks at its own. What it looks at: the reply, the attempts, the waits, the cost against the upstream's own bill, and
the history in Temporal.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory

from standin import Call, StandIn
from standin.faults import FAULTS
from standin.reply import text_of
from tests.harness import System, closed_run
from tests.system.hostile_days import HOSTILE_DAYS, ODD_DAYS, Cost, HostileDay, OddDay, Then
from tests.system.stories import Json, eventually, explain, outcomes, read

KEY = "sk-or-v1-5a0f9c3e7d2b41688f0e6a9b7c1d2e3f"
FALLBACK = "openai/gpt-4"
ALONE, SECURED = "alone", "secured"
SOON_SECONDS = 60
"""Costs of broken calls settle within a minute."""
TOLERANCE_MS = 50


@dataclass
class Played:
    """What became of every story, by fault and by whether it had a fallback."""

    system: System
    views: dict[tuple[str, str], Json] = field(default_factory=dict)

    def calls(self, fault: str, how: str) -> list[Call]:
        """What the upstream was asked in a story."""
        return [call for call in self.system.standin.ledger.calls if _message(fault, how) in _last(call)]

    async def settled(self, fault: str, how: str) -> Json:
        """Return the interaction once the cost of its broken calls is known."""
        interaction_id = self.views[fault, how]["interaction_id"]

        async def known() -> bool:
            return (await read(self.system, interaction_id))["usage"]["cost_usd"] is not None

        await eventually(known, SOON_SECONDS)
        return await read(self.system, interaction_id)

    def bill(self, fault: str, how: str) -> float:
        return float(sum(call.cost for call in self.calls(fault, how)))


def _message(fault: str, how: str) -> str:
    return f"The day of {fault}, {how}."


def _last(call: Call) -> str:
    return text_of(call.messages[-1])


@pytest.fixture(scope="module")
async def played(temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Played]:
    async with StandIn() as standin:
        system = System(
            temporal_address,
            standin,
            tmp_path_factory.mktemp("hostile"),
            OPENROUTER_API_KEY=KEY,
            LLM_FIRST_TOKEN_TIMEOUT_SECONDS="5",
            LLM_STALL_TIMEOUT_SECONDS="3",
            LLM_COOLDOWN_AFTER_FAILURES="0",
        )
        try:
            await system.start_worker()
            await system.start_api()
            stories = Played(system)

            async def play(fault: str, how: str) -> None:
                response = await system.interact(
                    _message(fault, how),
                    model=f"standin/{fault}",
                    fallback_models=[FALLBACK] if how == SECURED else [],
                )
                assert response.status_code == 200, f"{fault}: {response.text}"
                stories.views[fault, how] = response.json()

            await asyncio.gather(*(play(fault, how) for fault in FAULTS for how in (ALONE, SECURED)))
            yield stories
        finally:
            await system.stop()


def test_every_fault_of_the_stand_in_is_a_row_of_a_table() -> None:
    assert {day.fault for day in (*HOSTILE_DAYS, *ODD_DAYS)} | {"ok"} == FAULTS.keys()


hostile_days = pytest.mark.parametrize("day", HOSTILE_DAYS, ids=lambda day: day.fault)


@hostile_days
def test_alone_it_ends_with_the_personas_own_line_and_the_reason(day: HostileDay, played: Played) -> None:
    view = played.views[day.fault, ALONE]
    assert (view["status"], view["degraded"]) == ("failed", True)
    assert view["message"].startswith("Oh no")
    assert view["error"]["type"] == day.error_type
    assert outcomes(view) == [day.error_type] * day.tries


@hostile_days
def test_a_fallback_answers_where_a_model_can_mend_it(day: HostileDay, played: Played) -> None:
    view = played.views[day.fault, SECURED]
    failures = [day.error_type] * day.tries
    if day.then is Then.NOBODY:
        assert (view["status"], outcomes(view)) == ("failed", failures)
        return
    assert (view["status"], view["degraded"], view["model"]) == ("completed", False, FALLBACK)
    assert _message(day.fault, SECURED) in view["message"]
    assert outcomes(view) == [*failures, "succeeded"]
    assert [attempt["model"] for attempt in view["attempts"]] == [f"standin/{day.fault}"] * day.tries + [FALLBACK]


@hostile_days
def test_the_ledger_has_one_row_per_upstream_call(day: HostileDay, played: Played) -> None:
    view = played.views[day.fault, SECURED]
    calls = played.calls(day.fault, SECURED)
    assert [attempt["model"] for attempt in view["attempts"]] == [call.model for call in calls]
    assert [attempt["ordinal"] for attempt in view["attempts"]] == list(range(1, len(calls) + 1))
    failed = view["attempts"][: day.tries]
    assert {attempt["http_status"] for attempt in failed} == {day.http_status}
    assert all(attempt["duration_ms"] is not None and attempt["detail"] for attempt in failed)
    told = {call.generation_id for call in calls}
    assert {attempt["generation_id"] for attempt in view["attempts"]} - {None} <= told


@hostile_days
def test_the_waits_are_those_the_upstream_asked_for(day: HostileDay, played: Played) -> None:
    view = played.views[day.fault, SECURED]
    waits = [attempt["wait_ms"] for attempt in view["attempts"]]
    assert waits[day.tries - 1 :] == [None] * (len(waits) - day.tries + 1)
    for wait, expected in zip(waits, day.waits[: day.tries - 1], strict=False):
        if day.fault == "free-per-minute":  # until a moment, not for a while
            assert 0 <= wait <= expected
        else:
            assert wait == expected
    starts = [call.started_at for call in played.calls(day.fault, SECURED)]
    ends = [call.finished_at for call in played.calls(day.fault, SECURED)]
    for place, wait in enumerate(waits[: day.tries - 1]):
        ended = ends[place]
        assert ended is not None
        assert (starts[place + 1] - ended).total_seconds() * 1000 >= wait - TOLERANCE_MS


@pytest.mark.parametrize("how", [ALONE, SECURED])
@hostile_days
async def test_in_the_end_the_cost_is_what_the_upstream_billed(day: HostileDay, how: str, played: Played) -> None:
    if day.cost is Cost.UNKNOWN:
        view = await read(played.system, played.views[day.fault, how]["interaction_id"])
        assert view["usage"]["cost_usd"] is None
        return
    view = await played.settled(day.fault, how)
    assert math.isclose(view["usage"]["cost_usd"], played.bill(day.fault, how), abs_tol=1e-12)
    if day.cost is Cost.NOTHING and how == ALONE:
        assert view["usage"]["cost_usd"] == 0


@hostile_days
async def test_the_history_has_one_step_per_model_and_says_why_it_failed(
    day: HostileDay, played: Played, temporal: Client
) -> None:
    for how in (ALONE, SECURED):
        view = played.views[day.fault, how]
        history = await (await closed_run(temporal, view["workflow_id"])).fetch_history()
        assert _calls(history) == len({attempt["model"] for attempt in view["attempts"]})
        assert _failures(history)[0] == day.error_type


@pytest.mark.parametrize("day", ODD_DAYS, ids=lambda day: day.fault)
async def test_a_strange_answer_is_an_answer(day: OddDay, played: Played) -> None:
    for how in (ALONE, SECURED):
        view = played.views[day.fault, how]
        assert (view["status"], view["model"], view["finish_reason"]) == (
            "completed",
            day.model or f"standin/{day.fault}",
            day.finish_reason,
        )
        assert len(view["attempts"]) == day.tries == len(played.calls(day.fault, how))
        settled = await played.settled(day.fault, how)
        assert math.isclose(settled["usage"]["cost_usd"], played.bill(day.fault, how), abs_tol=1e-12)


async def test_the_key_is_in_no_answer_no_log_no_history_and_not_in_the_store(played: Played, temporal: Client) -> None:
    secret = KEY.encode()
    system = played.system
    for view in played.views.values():
        current = await read(system, view["interaction_id"])
        explained = await explain(system, view["interaction_id"])
        assert KEY not in f"{view}{current}{explained}"
        handle = await closed_run(temporal, view["workflow_id"])
        history = await handle.fetch_history()
        assert not any(secret in event.SerializeToString() for event in history.events)
    assert KEY not in (await system.client.get("/api/usage")).text
    files = _files(system.directory)
    assert {".db", ".log"} <= {path.suffix for path in files}
    assert [path.name for path, content in files.items() if secret in content] == []


async def test_what_the_calls_cost_in_all_is_the_upstreams_bill(played: Played) -> None:
    for day in HOSTILE_DAYS:
        if day.cost is not Cost.UNKNOWN:
            await played.settled(day.fault, SECURED)
    report = (await played.system.client.get("/api/usage", params={"group_by": "model"})).json()
    unknown = [item["key"] for item in report["items"] if item["unknown_cost_calls"]]
    assert sorted(unknown) == sorted(f"standin/{day.fault}" for day in HOSTILE_DAYS if day.cost is Cost.UNKNOWN)
    assert math.isclose(report["total"]["cost_usd"], float(played.system.standin.ledger.total_cost), abs_tol=1e-9)


def _calls(history: WorkflowHistory) -> int:
    return sum(event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED for event in history.events)


def _failures(history: WorkflowHistory) -> list[str]:
    return [
        event.activity_task_failed_event_attributes.failure.application_failure_info.type
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
    ]


def _files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
