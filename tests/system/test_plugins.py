"""Plugins in a running system: what they add works, and what they break stays theirs."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from standin import StandIn
from tests.harness import System
from tests.system.stories import PLUGINS, Json, explain, outcomes

ENTRY_POINT_PLUGIN = """
from core.orchestrator.extensions import LLMProvider, register_llm_provider


class Installed(LLMProvider):
    provider_name = "installed"

    async def generate_chat_completion(self, messages, model=None, temperature=0.7, max_tokens=None):
        return "an installed plugin speaking"


register_llm_provider("installed", Installed)
"""


def install(site: Path) -> None:
    """Lay out a distribution with an entry point, as pip would."""
    distribution = site / "someones_plugin-1.0.dist-info"
    distribution.mkdir(parents=True)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-plugin\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("[ai_orchestrator.plugins]\nsomeone = someones_plugin\n")
    (site / "someones_plugin.py").write_text(ENTRY_POINT_PLUGIN)


def write_persona(folder: Path, name: str, formatter: str | None = None) -> None:
    lines = [f"id: {name}", f"name: {name.title()}", "description: a test", "fallback_line: Not today."]
    lines += [f"formatter: {formatter}"] if formatter else []
    (folder / f"{name}.yaml").write_text("\n".join(lines))


@pytest.fixture(scope="module")
async def extended(temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A system with every plugin, and the events its processes were told in `told.jsonl`."""
    directory = tmp_path_factory.mktemp("extended")
    install(directory / "site")
    personas = directory / "personas"
    personas.mkdir()
    write_persona(personas, "plain")
    write_persona(personas, "unfinished", "specialized")
    write_persona(personas, "special", "finished")
    async with StandIn() as standin:
        system = System(
            temporal_address,
            standin,
            directory,
            PLUGINS=",".join(f"{PLUGINS}.{name}" for name in ("providers", "formatters", "subscribers")),
            PYTHONPATH=str(directory / "site"),
            PERSONAS_DIR=str(personas),
            DEFAULT_PERSONA_ID="plain",
            TOLD_FILE=str(directory / "told.jsonl"),
        )
        try:
            await system.start_worker()
            await system.start_api()
            yield system
        finally:
            await system.stop()


async def reply_of(system: System, message: str = "Hello", **fields: object) -> Json:
    response = await system.interact(message, **fields)
    assert response.status_code == 200, response.text
    reply: Json = response.json()
    return reply


async def test_the_printed_provider_costs_no_more_than_an_honest_word(extended: System) -> None:
    reply = await reply_of(extended, model="custom_provider:any-model", fallback_models=[])
    assert (reply["status"], reply["degraded"], reply["message"]) == ("failed", True, "Not today.")
    assert reply["error"]["type"] == "empty"
    assert {(attempt["provider"], attempt["model"]) for attempt in reply["attempts"]} == {
        ("custom_provider", "any-model")
    }


async def test_after_the_printed_provider_the_next_model_answers(extended: System) -> None:
    reply = await reply_of(extended, model="custom_provider:any-model", fallback_models=["openai/gpt-4"])
    assert (reply["status"], reply["provider"], reply["model"]) == ("completed", "openrouter", "openai/gpt-4")


@pytest.mark.parametrize("form", ["text", "mapping", "completion"])
async def test_a_provider_may_answer_in_any_form(extended: System, form: str) -> None:
    reply = await reply_of(extended, model=f"{form}:any-model", fallback_models=[])
    assert (reply["status"], reply["message"]) == ("completed", "any-model heard: Hello")
    assert (reply["provider"], reply["model"]) == (form, "any-model")
    assert reply["usage"]["cost_usd"] is None


@pytest.mark.parametrize("provider", ["broken", "unmakeable"])
async def test_after_a_provider_with_a_defect_the_next_model_answers(extended: System, provider: str) -> None:
    reply = await reply_of(extended, model=f"{provider}:any-model", fallback_models=["openai/gpt-4"])
    assert (reply["status"], reply["model"]) == ("completed", "openai/gpt-4")
    assert outcomes(reply)[-1] == "succeeded"
    assert {attempt["provider"] for attempt in reply["attempts"][:-1]} == {provider}


async def test_an_installed_plugin_is_found_by_its_entry_point(extended: System) -> None:
    reply = await reply_of(extended, model="installed:any-model", fallback_models=[])
    assert reply["message"] == "an installed plugin speaking"


async def test_the_printed_formatter_falls_back_to_the_default_prompt(extended: System) -> None:
    unfinished = await reply_of(extended, persona_id="unfinished")
    assert unfinished["message"].startswith("Unfinished here")
    plain = await explain(extended, (await reply_of(extended, persona_id="plain"))["interaction_id"])
    sent = await explain(extended, unfinished["interaction_id"])
    assert sent["messages"][0]["content"] == plain["messages"][0]["content"].replace("Plain", "Unfinished")


async def test_a_persona_is_prompted_by_its_own_formatter(extended: System) -> None:
    reply = await reply_of(extended, persona_id="special")
    assert reply["message"].startswith("Special here")
    sent = await explain(extended, reply["interaction_id"])
    assert sent["messages"][0] == {
        "role": "system",
        "content": "You are Special, as the finished formatter has it.",
    }


async def test_a_subscriber_is_told_everything_whatever_others_do(extended: System) -> None:
    good = await reply_of(extended, model="standin/no-endpoints", fallback_models=["openai/gpt-4"])
    bad = await reply_of(extended, model="standin/unauthorized", fallback_models=["openai/gpt-4"])
    told = [json.loads(line) for line in (extended.directory / "told.jsonl").read_text().splitlines()]

    def told_of(reply: Json) -> list[str]:
        return sorted(event["type"] for event in told if event["interaction_id"] == reply["interaction_id"])

    assert told_of(good) == [
        "attempt.failed",
        "attempt.started",
        "attempt.started",
        "interaction.completed",
        "interaction.created",
        "interaction.in_progress",
    ]
    assert told_of(bad) == [
        "attempt.failed",
        "attempt.started",
        "interaction.created",
        "interaction.failed",
        "interaction.in_progress",
    ]
    ends = [event for event in told if event["type"] == "interaction.completed"]
    assert good["message"] in [event["response"]["message"] for event in ends]
