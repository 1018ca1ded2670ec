"""The README's commands do what it shows, and what it says of the code is so."""

import asyncio
import shutil

import pytest

from core.orchestrator.config import Settings
from tests.docs.conftest import Newcomer
from tests.docs.documents import README, Example, blocks, sessions, table_rows
from tests.harness import ROOT, System

[[START]] = sessions(README, before="## One conversation")
TALKING = sessions(README, after="## One conversation", before="## Seeing it in Temporal")
LOOKING = sessions(README, after="## Seeing it in Temporal")

_CLIENT = "python core/orchestrator/examples/llm_client.py"
_ABOUT_AI = '--message "Tell me about artificial intelligence"'
MODES = (
    f'{_CLIENT} {_ABOUT_AI} --persona-id "cherry"',
    f'{_CLIENT} --mode direct {_ABOUT_AI} --system "You are a helpful AI expert."',
)


def test_the_first_start_shows_what_the_readme_shows(newcomer: Newcomer) -> None:
    assert START.shows(newcomer.with_default_ports(newcomer.first_screen)), newcomer.first_screen


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_every_command_prints_what_the_readme_shows(newcomer: Newcomer) -> None:
    resetting = [session for session in LOOKING if "workflow reset" in session[0].command]
    # First the conversations, then what is left of them; last of all the one command that changes a run.
    for sessions_at_once in (TALKING, [session for session in LOOKING if session not in resetting], resetting):
        assert sessions_at_once
        async with asyncio.TaskGroup() as tasks:
            for session in sessions_at_once:
                tasks.create_task(_follow(newcomer, session))


async def _follow(newcomer: Newcomer, session: list[Example]) -> None:
    for example in session:
        await newcomer.sees(example)


@pytest.mark.parametrize("command", MODES)
def test_the_commands_of_the_two_modes_stand_in_the_readme(command: str) -> None:
    assert command in [session[0].command for session in TALKING]


def test_make_run_is_the_start_that_is_tested() -> None:
    assert "$(BIN)/orchestrator up --hello $(ARGS)" in (ROOT / "Makefile").read_text()


async def test_the_set_up_for_separate_processes_may_be_repeated(system: System) -> None:
    (commands,) = [block for block in blocks(README, "sh") if "orchestrator setup" in block]
    # `system` consists of the other two, started as the README says, on a Temporal that is prepared already.
    assert "python worker.py" in commands
    assert "orchestrator api" in commands
    code, output = await system.command("setup")
    assert code == 0, output
    assert "nothing to change" in output


def test_the_table_of_settings_is_that_of_the_code() -> None:
    documented = {name.strip("`"): default.strip("`") for name, default, _ in table_rows(README, "Setting")}
    assert documented == {name: _default(name) for name in Settings.model_fields}


def _default(name: str) -> str:
    value = Settings.model_fields[name].default
    if name == "PERSONAS_DIR":
        return str(value.relative_to(ROOT))
    return "none" if value in (None, [], {}) else str(value)


def test_the_map_shows_every_folder() -> None:
    named = {row[0].split("](")[1].split(")")[0].split("/")[0] for row in table_rows(README, "Folder or file")}
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"personas", "docs"}
    assert folders <= named


def test_an_output_that_differs_is_noticed() -> None:
    example = Example(1, "echo", '{"status":"completed",…}')
    assert example.shows('{"status":"completed","agent":"code"}\n')
    assert not example.shows('{"status":"failed","agent":"code"}\n')
