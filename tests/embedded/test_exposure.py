"""Without keys nobody but this machine gets in, unless that is wanted aloud; with keys, the first interaction works."""

from pathlib import Path

import httpx
import pytest

from core.orchestrator.access.caller import Scope
from core.orchestrator.access.keys import create_key
from tests.embedded.conftest import Ups
from tests.harness import ORCHESTRATOR, Process, System, free_port

KEY = create_key("web", frozenset({Scope.INTERACT, Scope.READ}))


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["up"], {"API_HOST": "0.0.0.0"}),
        (["api"], {"API_HOST": "::"}),
        (["api", "--host", ""], {}),
        (["api", "--host", "192.0.2.1"], {"API_KEYS": ""}),
    ],
    ids=["up", "api", "no host", "no keys"],
)
async def test_it_refuses_to_be_reached_without_keys(
    tmp_path: Path, arguments: list[str], settings: dict[str, str]
) -> None:
    environment = {"DATA_DIR": str(tmp_path / "data"), **settings}
    run = await Process.fork([ORCHESTRATOR, *arguments], tmp_path / "log", environment, cwd=tmp_path)
    assert (await run.wait(), len(run.output.splitlines())) == (2, 1), run.output
    assert run.output.startswith("error: API_HOST ")
    assert "set API_KEYS (`orchestrator keys create` makes an entry), or accept that with --insecure" in run.output
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["up", "api"])
async def test_a_wrong_entry_stops_the_start(tmp_path: Path, command: str) -> None:
    keys = {"API_KEYS": f"{KEY.entry},{KEY.key}", "DATA_DIR": str(tmp_path / "data")}
    run = await Process.fork([ORCHESTRATOR, command], tmp_path / "log", keys, cwd=tmp_path)
    assert await run.wait() == 2
    assert run.output == (
        "error: API_KEYS: entry 2: this is a key; what belongs here is the entry that was printed with it\n"
    )


async def test_told_to_it_lets_everybody_in_and_warns(system: System, tmp_path: Path) -> None:
    port = free_port()
    settings = {**system.environment, "API_HOST": "0.0.0.0", "API_PORT": str(port)}
    run = await Process.fork([ORCHESTRATOR, "api", "--insecure"], tmp_path / "log", settings)
    await run.until_output("API at")
    assert "warning: anybody who reaches 0.0.0.0 may read, spend and erase: API_KEYS is not set\n" in run.output
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/api/personas")).status_code == 200
    await run.kill()


async def test_with_keys_the_first_interaction_works_and_strangers_stay_out(ups: Ups, temporal_address: str) -> None:
    settings = {"TEMPORAL_ADDRESS": temporal_address, "TASK_QUEUE": f"up-{ups.port}", "API_HOST": "0.0.0.0"}
    run = await ups.start("--hello", API_KEYS=str(KEY.entry), **settings)
    assert "warning" not in run.output
    assert "Cherry here" in run.output
    assert 'curl -H "Authorization: Bearer $ORCHESTRATOR_API_KEY" http' in run.output
    assert "ork_" not in run.output
    async with httpx.AsyncClient(base_url=ups.url) as client:
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/api/sessions?user_id=newcomer")).status_code == 401
        headers = {"Authorization": f"Bearer {KEY.key}"}
        sessions = (await client.get("/api/sessions?user_id=newcomer", headers=headers)).json()["items"]
    assert [session["session_id"] for session in sessions] == ["first-steps"]
    assert await run.stop() == 0
