"""What becomes of a text that breaks off, with real processes: the API, a worker, Temporal and the stand-in."""

import pytest

from standin import reply as stand_in_reply
from tests.harness import System

FIRST, SECOND = "openai/gpt-4", "openai/gpt-4o"


def said(system: System, number: int) -> str:
    call = system.standin.ledger.calls[number]
    return "".join(stand_in_reply.pieces(call.model, call.messages))


async def test_by_default_a_text_that_breaks_off_is_forgotten_and_another_model_begins_afresh(system: System) -> None:
    system.standin.script(FIRST, "truncated", "truncated")
    reply = (await system.interact(model=FIRST, fallback_models=[SECOND])).json()
    assert (reply["status"], reply["model"], reply["message"]) == ("completed", SECOND, said(system, -1))
    assert [attempt["error_type"] for attempt in reply["attempts"]] == ["truncated", "truncated", None]


async def test_an_incomplete_reply_comes_with_its_error_and_is_no_failure_of_the_request(system: System) -> None:
    system.standin.script(FIRST, "truncated")
    asked = {"model": FIRST, "fallback_models": [SECOND], "after_output": "incomplete", "on_failure": "error"}
    response = await system.interact(**asked, session_id="broken")
    reply = response.json()
    assert (response.status_code, reply["status"], reply["degraded"]) == (200, "incomplete", False)
    assert (reply["model"], reply["error"]["type"]) == (FIRST, "truncated")
    assert said(system, 0).startswith(reply["message"])
    assert [call.model for call in system.standin.ledger.calls] == [FIRST]
    transcript = (await system.client.get("/api/sessions/broken/messages")).json()["items"]
    assert transcript[-1]["content"] == reply["message"]


async def test_another_model_continues_a_text_and_both_parts_are_the_reply(system: System) -> None:
    system.standin.script(FIRST, "error-mid-stream")
    reply = (await system.interact(model=FIRST, fallback_models=[SECOND], after_output="continue")).json()
    begun = system.standin.ledger.calls[1].messages[-2]
    assert begun["role"] == "assistant"
    assert said(system, 0).startswith(begun["content"])
    assert (reply["status"], reply["model"]) == ("completed", SECOND)
    assert reply["message"] == (begun["content"] + said(system, 1)).strip()


async def test_a_text_that_nobody_can_continue_is_incomplete(system: System) -> None:
    system.standin.script(FIRST, "truncated")
    asked = {"model": FIRST, "fallback_models": ["standin/no-endpoints"], "after_output": "continue"}
    reply = (await system.interact(**asked)).json()
    assert (reply["status"], reply["model"], reply["error"]["type"]) == ("incomplete", FIRST, "model_not_found")


@pytest.mark.parametrize("policy", ["incomplete", "continue"])
async def test_at_the_deadline_what_was_said_is_the_reply(own_system: System, policy: str) -> None:
    own_system.standin.script(FIRST, {"hold": True, "after": 3})
    await own_system.start_worker(INTERACTION_DEADLINE_SECONDS="2")
    await own_system.start_api()
    reply = (await own_system.interact(model=FIRST, fallback_models=[SECOND], after_output=policy)).json()
    assert (reply["status"], reply["error"]["type"], reply["model"]) == ("incomplete", "timeout", FIRST)
    assert reply["message"]
    assert said(own_system, 0).startswith(reply["message"])
    assert [call.model for call in own_system.standin.ledger.calls] == [FIRST]
