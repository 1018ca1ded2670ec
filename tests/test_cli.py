"""The `orchestrator` command: help, lists, set-up and replays; `up` has its tests in `tests/embedded`."""

import json
import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

import cli
from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.clock import utc_now
from core.orchestrator.contracts import PlannedCall, Usage
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.storage.database import open_database
from tests.core.orchestrator.domain import QUICK, begun, completion, opened
from tests.harness import System, closed_run
from tests.replay.record import HISTORIES

COMMANDS = ("up", "worker", "api", "chat", "setup", "usage", "replay", "personas", "keys")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(system: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command as its process would, and return exit code, output and errors.

    A process of its own takes two seconds to import everything; the arguments and the environment are the same.
    """

    def run(*arguments: str, **settings: str) -> tuple[int, str, str]:
        for name, value in {**system.environment, "COLUMNS": "80", **settings}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["orchestrator", *arguments])
        code = cli.run()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
async def reply(system: System, temporal: Client) -> dict[str, Any]:
    """An interaction whose run has closed."""
    response = await system.interact(user_id="cli-user", model="openai/gpt-4", fallback_models=[])
    assert response.is_success, response.text
    await closed_run(temporal, response.json()["workflow_id"])
    return dict(response.json())


@pytest.fixture
async def unbilled(system: System) -> str:
    """A model that was called twice; what the second call cost its provider did not say."""
    database = open_database(system.directory / "data" / "orchestrator.db")
    store, ledger = InteractionStore(database), AttemptLedger(database)
    interaction_id = await opened(store, session_id="unbilled")
    for place, (cost, estimate) in enumerate([(0.5, None), (None, 0.1 + 0.2)]):
        call = PlannedCall(place=place, provider="openrouter", model="un/billed")
        ordinal = await begun(ledger, interaction_id, call, utc_now())
        answer = completion(usage=Usage(cost_usd=cost))
        await ledger.succeed(interaction_id, place, ordinal, answer, QUICK, estimated_cost_usd=estimate)
    await database.close()
    return "un/billed"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does(run: Run, command: str) -> None:
    code, output, _ = run(command, "--help")
    assert code == 0
    assert output.strip().startswith(f"Usage: orchestrator {command} [OPTIONS]")


def test_it_tells_its_version(run: Run) -> None:
    code, output, _ = run("--version")
    assert (code, output.split()) == (0, ["orchestrator", version("ai-orchestrator")])


def test_the_command_alone_lists_every_command(run: Run) -> None:
    code, output, errors = run()
    assert code == 2
    assert all(f"\n  {command} " in output + errors for command in COMMANDS)


def test_personas_are_listed_for_people_and_for_programs(run: Run) -> None:
    code, output, _ = run("personas")
    assert code == 0
    assert all(name in output for name in ("cherry", "sophia", "karen"))
    code, output, _ = run("personas", "--json")
    assert code == 0
    personas = json.loads(output)
    assert sorted(persona["id"] for persona in personas) == ["cherry", "karen", "sophia"]
    assert all(len(persona["version"]) == 12 for persona in personas)


def test_usage_is_summed_by_what_is_asked_for(run: Run, reply: dict[str, Any]) -> None:
    code, output, _ = run("usage")
    assert code == 0
    names = [line.split("│")[1].strip() for line in output.splitlines() if line.startswith("│")]
    assert "openai/gpt-4" in "".join(names)  # whole, however narrow the terminal: over several lines if need be
    code, output, _ = run("usage", "--group-by", "user", "--json")
    assert code == 0
    report = json.loads(output)
    assert report["group_by"] == "user"
    (item,) = [item for item in report["items"] if item["key"] == "cli-user"]
    assert item["interactions"] == item["calls"] > 0
    assert item["total_tokens"] >= reply["usage"]["total_tokens"] > 0


def test_what_nobody_billed_is_shown_with_its_estimate(run: Run, unbilled: str) -> None:
    _, output, _ = run("usage")
    assert re.search(rf"{unbilled} .*  0.500000 │ +1 │\n.* ~0.300000 │ +│", output), output
    _, output, _ = run("usage", "--json")
    (item,) = [item for item in json.loads(output)["items"] if item["key"] == unbilled]
    assert (item["cost_usd"], item["unknown_cost_calls"], item["estimated_cost_usd"]) == (0.5, 1, 0.3)


def test_usage_of_a_day_without_calls_is_nothing(run: Run, reply: dict[str, Any]) -> None:
    code, output, _ = run("usage", "--to", "2020-01-01", "--json")
    assert code == 0
    assert json.loads(output)["items"] == []


def test_a_day_that_is_none_is_one_clear_line(run: Run) -> None:
    assert run("usage", "--from", "yesterday") == (2, "", "error: 'yesterday' is not a day such as 2026-01-31\n")


def test_setup_prepares_and_may_be_repeated(run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        code, output, errors = run("setup", DATA_DIR=str(tmp_path / "data"))
        assert (code, errors) == (0, "")
        assert "the schema is up to date" in output
    assert "nothing to change" in output
    assert (tmp_path / "data" / "orchestrator.db").exists()


def test_setup_without_temporal_names_the_address(run: Run) -> None:
    code, _, errors = run("setup", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert code == 1
    assert errors == "error: Temporal at 127.0.0.1:1 did not answer: Connection refused\n"


def test_a_run_is_replayed_by_its_id(run: Run, reply: dict[str, Any]) -> None:
    code, output, _ = run("replay", reply["workflow_id"])
    assert code == 0
    assert output.splitlines() == [
        f"same     {reply['workflow_id']}  15 events",
        "1 go the same way, 0 differ",
    ]


def test_runs_are_replayed_by_a_query(run: Run, reply: dict[str, Any]) -> None:
    code, output, errors = run("replay", "--query", f"WorkflowId = '{reply['workflow_id']}'")
    assert (code, errors) == (0, "")
    assert output.splitlines() == [
        "1 to replay",
        f"same     {reply['workflow_id']}  15 events",
        "1 go the same way, 0 differ",
    ]


def test_a_query_that_finds_nothing_is_no_passed_check_unless_that_is_said(run: Run) -> None:
    code, output, _ = run("replay", "--query", "WorkflowId = 'interaction-nobody'")
    assert code == 1
    assert "nothing was compared: no run matches WorkflowId = 'interaction-nobody'" in output
    assert run("replay", "--allow-empty", "--query", "WorkflowId = 'interaction-nobody'")[0] == 0


def test_a_history_in_a_file_is_replayed_without_temporal(run: Run) -> None:
    path = HISTORIES / "interaction-plain.json"
    code, output, _ = run("replay", "--history", str(path), TEMPORAL_ADDRESS="127.0.0.1:1")
    assert code == 0
    assert "1 go the same way, 0 differ" in output


def test_a_history_that_goes_another_way_is_exit_code_one(run: Run, tmp_path: Path) -> None:
    text = (HISTORIES / "interaction-plain.json").read_text()
    changed = tmp_path / "changed.json"
    changed.write_text(text.replace('"call_model"', '"call_a_friend"'))
    assert changed.read_text() != text
    code, output, _ = run("replay", "--history", str(changed))
    assert code == 1
    assert "Nondeterminism" in output
    assert "0 go the same way, 1 differ" in output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "replay needs exactly one of WORKFLOW_ID, --query and --history"),
        (("one", "--query", "two"), 2, "replay needs exactly one of WORKFLOW_ID, --query and --history"),
        (("interaction-nobody",), 1, "unknown workflow 'interaction-nobody'"),
        (("--query", "NoSuchAttribute = 1"), 2, "Temporal refuses the query"),
        (("--history", "pyproject.toml"), 2, "pyproject.toml holds no workflow history in JSON"),
        (("--history", "nowhere.json"), 2, "nowhere.json holds no workflow history in JSON"),
    ],
)
def test_what_cannot_be_replayed_is_one_clear_line(
    run: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    status, output, errors = run("replay", *arguments)
    assert (status, output, len(errors.splitlines())) == (code, "", 1), errors
    assert errors.startswith(f"error: {message}")


async def test_a_chat_with_nobody_is_one_clear_line(run: Run, system: System) -> None:
    arguments = ("chat", "--url", system.url, "--persona-id", "nobody")
    # The chat blocks while it waits for the service, which is a process of its own: no harm.
    assert run(*arguments) == (1, "", "error: there is no persona 'nobody'; there are cherry, karen, sophia\n")


def test_an_unknown_command_is_told(run: Run) -> None:
    code, _, errors = run("sing")
    assert code == 2
    assert "No such command 'sing'" in errors


async def test_a_process_ends_with_the_same_line_and_code(system: System) -> None:
    assert await system.command("usage", "--from", "yesterday") == (
        2,
        "error: 'yesterday' is not a day such as 2026-01-31\n",
    )
