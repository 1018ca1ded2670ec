"""The examples of `docs/extending.md` are files of plugins that a real worker and a real API load."""

import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from standin import StandIn
from tests.docs.documents import CONTRIBUTING, EXTENDING, blocks
from tests.harness import ROOT, Process, System, until

SPECIAL = """\
id: special
name: Special
description: somebody whose formatter is not finished.
fallback_line: Not today.
formatter: specialized
"""


def _write_blocks(language: str, directory: Path) -> list[str]:
    """Write every block into the file that its first line names, and return the files' stems."""
    paths = []
    for block in blocks(EXTENDING, language):
        paths.append(directory / block.partition("\n")[0].removeprefix("# "))
        paths[-1].write_text(block)
    return [path.stem for path in paths]


def _install_entry_points(directory: Path) -> list[str]:
    """Make the folder look like one where the package of the `toml` block is installed; return its modules."""
    (block,) = blocks(EXTENDING, "toml")
    groups = tomllib.loads(block)["project"]["entry-points"]
    installed = directory / "my_plugins-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugins\nVersion: 1.0\n")
    ((group, points),) = groups.items()
    lines = [f"[{group}]", *(f"{name} = {module}" for name, module in points.items())]
    (installed / "entry_points.txt").write_text("\n".join(lines))
    return list(points.values())


@pytest.fixture(scope="module")
async def extended(
    temporal_address: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[System, Process]]:
    """A system that has loaded every example, and its worker."""
    directory = tmp_path_factory.mktemp("extended")
    personas = directory / "personas"
    personas.mkdir()
    for shipped in (ROOT / "personas").glob("*.yaml"):
        (personas / shipped.name).write_text(shipped.read_text())
    _write_blocks("yaml", personas)
    (personas / "special.yaml").write_text(SPECIAL)
    modules = _write_blocks("python", directory)
    announced = _install_entry_points(directory)
    async with StandIn() as standin:
        system = System(
            temporal_address,
            standin,
            directory,
            PLUGINS=",".join(module for module in modules if module not in announced),
            PYTHONPATH=str(directory),
            PERSONAS_DIR=str(personas),
            LOCAL_MODELS_URL=standin.base_url,
        )
        try:
            worker = await system.start_worker()
            await system.start_api()
            yield system, worker
        finally:
            await system.stop()


async def _system_message(system: System, reply: dict[str, Any]) -> str:
    explanation = (await system.client.get(f"/api/llm/interactions/{reply['interaction_id']}/explain")).json()
    content: str = explanation["messages"][0]["content"]
    return content


async def test_an_unfinished_provider_is_a_failed_call_and_the_next_model_answers(
    extended: tuple[System, Process],
) -> None:
    system, _ = extended
    reply = (await system.interact(model="custom_provider:any-model", fallback_models=["openai/gpt-4"])).json()
    assert [(call["provider"], call["error_type"]) for call in reply["attempts"]] == [
        ("custom_provider", "empty"),
        ("openrouter", None),
    ]
    assert reply["status"] == "completed"


async def test_the_provider_for_local_models_answers(extended: tuple[System, Process]) -> None:
    system, _ = extended
    reply = (await system.interact("Hello", model="local:llama3.2")).json()
    assert "Cherry here (a stand-in for llama3.2 speaking)" in reply["message"]
    assert (reply["provider"], reply["finish_reason"]) == ("local", "stop")
    assert reply["usage"]["total_tokens"] > 0


async def test_the_provider_for_local_models_tells_a_missing_model_from_a_broken_server(
    extended: tuple[System, Process],
) -> None:
    system, _ = extended
    reply = (await system.interact(model="local:standin/no-endpoints", fallback_models=["local:standin/down"])).json()
    assert [call["error_type"] for call in reply["attempts"]] == ["model_not_found", "upstream"]
    assert reply["degraded"]


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


async def _with_tools(system: System, model: str) -> dict[str, Any]:
    asked = [{"role": "user", "content": 'call weather {"city": "Rom"}'}]
    body = {"model": model, "messages": asked, "tools": [WEATHER]}
    response = await system.client.post("/v1/chat/completions", json=body)
    answer: dict[str, Any] = response.json()
    return answer


async def test_the_provider_for_local_models_takes_parameters_and_calls_tools(extended: tuple[System, Process]) -> None:
    system, _ = extended
    [choice] = (await _with_tools(system, "cherry@local:llama3.2"))["choices"]
    [call] = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city": "Rom"}'}
    assert choice["finish_reason"] == "tool_calls"


async def test_a_provider_that_takes_no_parameters_gives_way_to_one_that_does(extended: tuple[System, Process]) -> None:
    system, _ = extended
    answer = await _with_tools(system, "robin@countdown:3")
    [choice] = answer["choices"]
    assert choice["message"]["tool_calls"]
    interaction_id = answer["id"].removeprefix("chatcmpl-")
    explanation = (await system.client.get(f"/api/llm/interactions/{interaction_id}/explain")).json()
    refused = explanation["attempts"][0]
    assert (refused["provider"], refused["error_type"]) == ("countdown", "invalid_request")
    assert refused["detail"] == "the provider 'countdown' does not take tools"


async def test_the_streaming_provider_counts_down(extended: tuple[System, Process]) -> None:
    system, _ = extended
    reply = (await system.interact(model="countdown:3", fallback_models=[])).json()
    assert reply["message"] == "3 2 1 0"


@pytest.mark.parametrize(
    ("message", "context"), [("Remind me to call Ada", {}), ("Call Ada", {"topic": "reminder", "time_zone": "CET"})]
)
async def test_the_agent_claims_its_turns_and_instructs_the_model(
    extended: tuple[System, Process], message: str, context: dict[str, str]
) -> None:
    system, _ = extended
    reply = (await system.interact(message, context=context)).json()
    assert reply["agent"] == "reminder"
    prompt = await _system_message(system, reply)
    assert f"in the time zone {context.get('time_zone', 'UTC')}" in prompt


async def test_the_agent_leaves_other_turns_to_others(extended: tuple[System, Process]) -> None:
    system, _ = extended
    assert (await system.interact("Tell me a story")).json()["agent"] == "conversation"


async def test_the_persona_speaks_through_its_formatter_and_signs(extended: tuple[System, Process]) -> None:
    system, _ = extended
    reply = (await system.interact("We utilise chalk", persona_id="robin")).json()
    assert reply["message"].startswith("Robin here (a stand-in for openai/gpt-4o-mini speaking).")
    assert 'You said: "We use chalk"' in reply["message"]
    assert reply["message"].endswith("— Robin")
    prompt = await _system_message(system, reply)
    assert "Begin with something one can see in a kitchen" in prompt
    assert prompt.endswith("Use words a ten-year-old knows.")


async def test_an_unfinished_formatter_gives_way_to_the_default_prompt(extended: tuple[System, Process]) -> None:
    system, worker = extended
    reply = (await system.interact(persona_id="special")).json()
    prompt = await _system_message(system, reply)
    assert prompt.startswith("You are Special, ")
    assert "formatter SpecializedFormatter created no system message" in worker.output


async def test_the_subscriber_is_told_of_a_failed_attempt(extended: tuple[System, Process]) -> None:
    system, worker = extended
    reply = (await system.interact(model="standin/unauthorized")).json()
    told = f"{reply['interaction_id']} needed help: standin/unauthorized answered authentication"
    await until(lambda: told in worker.output)


def test_the_draft_of_a_migration_is_written(tmp_path: Path) -> None:
    (code,) = [block for block in blocks(CONTRIBUTING, "python") if "alembic" in block]
    scripts = ROOT / "core" / "orchestrator" / "storage" / "migrations"
    for script in [*scripts.glob("*.*"), *scripts.glob("versions/*.py")]:
        copy = tmp_path / script.relative_to(scripts)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(script.read_text())
    code = code.replace(str(scripts.relative_to(ROOT)), str(tmp_path)).replace('rev_id="0002"', 'rev_id="9999"')
    exec(compile(code, "CONTRIBUTING.md", "exec"), {})
    (draft,) = tmp_path.glob("versions/9999_say_what_changes.py")
    # The tables are as the migrations make them, so there is nothing to do.
    assert "def upgrade() -> None:\n    # ### commands auto generated" in draft.read_text()
    assert "    pass\n" in draft.read_text()
