"""The bench: that it believes nobody, how it judges, and that it runs. Nothing here says how fast anything is."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rich.console import Console

from bench.speed.asking import MINIMAL, OPENAI, UPSTREAM, Findings, Loop, asking
from bench.speed.results import Run, show
from bench.speed.rounds import Phase, Scale
from bench.speed.running import Course
from bench.speed.targets import FLOOR, LITELLM, NAIVE, OURS, Side, Target, medians, of_rounds
from bench.speed.upstream import BenchUpstream, ModelTime, message_with, reply_to

Json = dict[str, Any]


def phase(contender: str = OURS, kind: str = "sequential", **numbers: Any) -> Phase:
    usual = {"clients": 1, "replies": 10, "per_second": 4.0, "p50_ms": 230.0, "p99_ms": 260.0, "added_p50_ms": 30.0}
    usual |= {"added_p99_ms": 60.0, "processor_ms": 20.0, "settled_seconds": 0.0, "mebibytes": 200.0, "others": 0.0}
    return Phase(contender, kind, **{**usual, **numbers})


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def saying(answer: Any) -> web.Application:
    async def interact(_: web.Request) -> web.Response:
        return web.json_response(answer)

    app = web.Application()
    app.add_routes([web.post(MINIMAL.path, interact), web.post(OPENAI.path, interact)])
    return app


async def test_the_upstreams_own_replies_are_right() -> None:
    findings = Findings()
    async with served(BenchUpstream(ModelTime.of(10)).app()) as url, asking(url, UPSTREAM, findings) as asker:
        assert await asker.ask("somebody", "session") is not None
        assert await asker.first_piece("somebody", "session") is not None
    assert findings.first == []


@pytest.mark.parametrize(
    "answer",
    [{"message": reply_to("0123")}, {"message": None}, {"message": ""}, {"detail": "busy"}, ["message"]],
    ids=["anothers reply", "null", "empty", "an error", "no object"],
)
async def test_a_wrong_reply_is_found(answer: Any) -> None:
    findings = Findings()
    async with served(saying(answer)) as url, asking(url, MINIMAL, findings) as asker:
        assert await asker.ask("somebody", "session") is None
    assert findings.count == 1


async def test_a_stream_without_the_right_text_is_found() -> None:
    findings = Findings()
    async with served(saying({"choices": []})) as url, asking(url, OPENAI, findings) as asker:
        assert await asker.first_piece("somebody", "session") is None
    assert findings.count == 1


def test_a_message_says_its_nonce_and_so_does_the_reply() -> None:
    assert "nonce:ab12" in message_with("ab12")
    assert reply_to("ab12") != reply_to("ab13")


def test_a_model_begins_and_ends_when_it_should() -> None:
    takes = ModelTime.of(200)
    assert (takes.at(0), takes.at(7)) == (pytest.approx(0.1), pytest.approx(0.2))


def test_a_request_counts_for_the_part_of_it_that_lies_within() -> None:
    loop = Loop(asker=None, clients=1)  # type: ignore[arg-type]
    loop.answered = [(1.0, 2.0), (2.0, 1.0), (4.0, 2.0), (9.0, 1.0)]
    assert loop.answered_between(0.0, 3.0) == pytest.approx(0.5 + 1 + 0.5)
    assert loop.times_between(0.0, 3.0) == [2.0, 1.0]


def test_a_target_is_the_median_of_each_rounds_own_ratio() -> None:
    rounds = [
        [phase(OURS, added_p50_ms=ours), phase(FLOOR, added_p50_ms=floor)]
        for ours, floor in ((33, 30), (99, 90), (40, 20))
    ]
    (target,) = of_rounds(rounds)
    assert target == Target("added latency, one by one, as a part of floor", pytest.approx(1.1), 1.15)
    assert target.holds


def test_what_must_not_be_less_holds_only_from_its_limit_on() -> None:
    assert Target("throughput", 0.9, 0.9, Side.LEAST).holds
    assert not Target("throughput", 0.89, 0.9, Side.LEAST).holds
    assert not Target("latency", float("nan"), 1.15).holds


def test_the_first_text_is_held_against_litellm_where_that_runs() -> None:
    ours = [phase(), phase(kind="first text", added_p50_ms=10), phase(FLOOR, added_p50_ms=40)]
    peer = [phase(LITELLM), phase(LITELLM, "first text", added_p50_ms=50)]
    alone = {target.name: target.value for target in of_rounds([ours])}
    beside = {target.name: target.value for target in of_rounds([[*ours, *peer]])}
    assert alone["added time to the first text, as a part of all that floor adds"] == pytest.approx(0.25)
    assert beside["added time to the first text, as a part of litellm"] == pytest.approx(0.2)


def test_a_measurement_beside_others_work_is_marked() -> None:
    run = Run(quick=True, model_ms=200, rounds=[[phase(others=0.3), phase(FLOOR)]])
    assert medians(run.rounds)[OURS]["sequential"]["disturbed"] == 1
    assert [row["disturbed"] for row in run.as_json()["rounds"][0]] == [True, False]
    assert f"{OURS} *" in shown(run)


def test_the_table_says_what_does_not_hold() -> None:
    run = Run(quick=True, model_ms=200, rounds=[[phase(added_p50_ms=90), phase(NAIVE, added_p50_ms=100)]])
    assert "NO" in shown(run)
    assert [(target["limit"], target["holds"]) for target in run.as_json()["targets"]] == [(0.4, False)]


def shown(run: Run) -> str:
    text = io.StringIO()
    show(run, Console(file=text, width=100))
    return text.getvalue()


async def test_a_run_of_a_moment_finds_nothing_wrong(tmp_path: Path) -> None:
    said: list[str] = []
    scale = Scale(rounds=1, one_by_one=2, seconds=0.2, ramp=0.05, clients=2)
    course = Course(("rounds",), scale, said.append, quick=True, names=("plain", OURS), model_ms=20)
    result = json.loads(json.dumps((await course.run(tmp_path)).as_json(), allow_nan=False))
    assert result["findings"] == []
    assert set(result["medians"]) == {"upstream", "plain", OURS}
    assert {"sequential", "first text", "concurrent"} == set(result["medians"][OURS])
    assert all(set(target) == {"name", "value", "limit", "at", "holds"} for target in result["targets"])
    assert said
