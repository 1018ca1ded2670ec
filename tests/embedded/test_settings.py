"""What is wrong is one clear line and exit code 2, whichever process meets it, and nothing is left running."""

import shutil
import socket
import sys
from pathlib import Path

import pytest

from core.orchestrator.errors import ConfigurationError
from embedded.ports import check_port_is_free
from tests.embedded.conftest import ORCHESTRATOR, Ups
from tests.harness import ROOT, Process

COMMANDS = {
    "up": [ORCHESTRATOR, "up"],
    "api": [ORCHESTRATOR, "api"],
    "worker": [ORCHESTRATOR, "worker"],
    "worker.py": [sys.executable, str(ROOT / "worker.py")],
}


async def _complaint(name: str, directory: Path, **settings: str) -> str:
    """Return the one line that a command fails with."""
    environment = {"DATA_DIR": str(directory / "data"), **settings}
    run = await Process.fork(COMMANDS[name], directory / "log", environment, cwd=directory)
    assert (await run.wait(), len(run.output.splitlines())) == (2, 1), run.output
    return run.output.strip()


@pytest.mark.parametrize("name", ["up", "worker.py"])
async def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "data"
    line = await _complaint(name, tmp_path, DATA_DIR=str(folder))
    assert line.startswith("error: ")
    assert str(folder) in line
    assert line.endswith("cannot be written: Not a directory")


@pytest.mark.parametrize(
    ("name", "setting", "value", "words"),
    [
        ("up", "DATABASE_URL", "mysql://root@localhost/x", ""),
        ("api", "INTERACTION_DEADLINE_SECONDS", "soon", ""),
        ("worker", "PLUGINS", "no_such_plugin", "'no_such_plugin' could not be imported: ModuleNotFoundError: "),
    ],
)
async def test_a_wrong_setting_is_named(tmp_path: Path, name: str, setting: str, value: str, words: str) -> None:
    line = await _complaint(name, tmp_path, **{setting: value})
    assert line.startswith(f"error: {setting}: {words}")


async def test_a_broken_persona_is_told_by_file_and_line(ups: Ups) -> None:
    personas = ups.directory / "personas"
    shutil.copytree(ROOT / "personas", personas)
    lines = (personas / "cherry.yaml").read_text().splitlines()
    lines[4:4] = ["colour: red"]
    (personas / "cherry.yaml").write_text("\n".join(lines))
    run = await ups.begin(PERSONAS_DIR=str(personas))
    assert await run.wait() == 2
    errors = [line for line in run.output.splitlines() if line.startswith("error: ")]
    assert errors[0].startswith(f"error: {personas}/cherry.yaml:5: ")
    assert "Traceback" not in run.output


@pytest.mark.parametrize("flag", ["--port", "--temporal-port", "--ui-port"])
def test_a_port_in_use_is_told_by_its_number_and_its_flag(flag: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(
            ConfigurationError, match=f"port {port} .*Address already in use.* with {flag}, as in: make run"
        ):
            check_port_is_free("127.0.0.1", port, "it", flag)


async def test_nothing_is_started_when_a_port_is_in_use(ups: Ups) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ups.ui_port))
        listener.listen()
        run = await ups.begin()
        assert await run.wait() == 2
    assert run.output == (
        f"error: port {ups.ui_port} (Temporal UI) cannot be used on 127.0.0.1: Address already in use; "
        f'choose another one with --ui-port, as in: make run ARGS="--ui-port {ups.ui_port + 1}"\n'
    )
    assert not (ups.data / "logs").exists()
