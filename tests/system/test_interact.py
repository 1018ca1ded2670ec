"""An interaction over HTTP, through Temporal, to the stand-in and back."""

from tests.harness import System


async def test_a_persona_replies_in_character(system: System) -> None:
    response = await system.interact("Tell me about artificial intelligence", persona_id="cherry", model="openai/gpt-4")

    assert response.status_code == 200, response.text
    reply = response.json()
    assert "Cherry here" in reply["message"]
    assert reply["persona_id"] == "cherry"
    assert reply["persona_name"] == "Cherry"
    assert len(reply["persona_version"]) == 12
    assert (reply["model"], reply["provider"], reply["agent"]) == ("openai/gpt-4", "openrouter", "conversation")
    assert (reply["status"], reply["finish_reason"]) == ("completed", "stop")
    assert (reply["degraded"], reply["error"]) == (False, None)
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"] > 0
    assert reply["usage"]["cost_usd"] > 0
    assert [attempt["status"] for attempt in reply["attempts"]] == ["succeeded"]
    assert reply["workflow_id"] == f"interaction-{reply['interaction_id']}"
    assert response.headers["location"] == f"/api/llm/interactions/{reply['interaction_id']}"
    assert response.headers["x-interaction-id"] == reply["interaction_id"]


async def test_a_session_remembers(system: System) -> None:
    first = (await system.interact("My name is Ada")).json()
    second = (await system.interact("What is my name?", session_id=first["session_id"])).json()
    assert "I remember 2 earlier messages" in second["message"]
    assert "My name is Ada" in second["message"]


async def test_the_next_model_answers_when_the_first_is_down(system: System) -> None:
    reply = (await system.interact(model="standin/bad-gateway", fallback_models=["openai/gpt-4"])).json()
    assert reply["status"] == "completed"


async def test_no_model_answers(system: System) -> None:
    reply = (await system.interact(model="standin/unauthorized", fallback_models=["openai/gpt-4"])).json()
    assert (reply["status"], reply["degraded"], reply["error"]["type"]) == ("failed", True, "authentication")
