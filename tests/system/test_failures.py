"""No model answers, time runs out, an operator steps in: an honest word in time, and the next turn goes on."""

import asyncio
import time
from contextlib import AsyncExitStack

import httpx
import pytest
from temporalio.client import Client

from standin import Outcome
from standin.reply import text_of
from tests.harness import System
from tests.system.beside import beside
from tests.system.stories import (
    HELD,
    SHORT_HEARTBEAT,
    Json,
    answered,
    apart_from_costs,
    eventually,
    held,
    interaction_of,
    outcomes,
    read,
    roles,
    sending,
    transcript,
)

MODEL = "test/model"
GOOD = "openai/gpt-4"


async def reply_of(system: System, message: str = "Hello", **fields: object) -> Json:
    response = await system.interact(message, **fields)
    assert response.status_code == 200, response.text
    reply: Json = response.json()
    return reply


def prompts(system: System) -> list[list[str]]:
    """What each call was sent after the system message."""
    return [[text_of(message) for message in call.messages[1:]] for call in system.standin.ledger.calls]


async def test_when_no_model_answers_the_persona_says_so_in_its_own_words(system: System) -> None:
    personas = (await system.client.get("/api/personas/cherry")).json()
    reply = await reply_of(system, model="standin/no-endpoints", fallback_models=["standin/content-policy"])
    assert reply["message"] == personas["fallback_line"]
    assert (reply["status"], reply["degraded"]) == ("failed", True)
    assert reply["error"]["type"] == "content_policy"
    assert outcomes(reply) == ["model_not_found", "content_policy"]


async def test_a_fallback_line_enters_no_later_prompt(system: System) -> None:
    failed = await reply_of(system, "Remember the harbour", session_id="harbour", model="standin/unauthorized")
    await reply_of(system, "And now?", session_id="harbour")
    await reply_of(system, "And then?", session_id="harbour")
    assert prompts(system)[-1][:2] == ["Remember the harbour", "And now?"]
    assert not any(failed["message"] in text for prompt in prompts(system) for text in prompt)
    assert roles(await transcript(system, "harbour")) == ["user", "assistant"] * 3


async def test_a_model_that_is_back_after_two_failures_answers(system: System) -> None:
    reply = await reply_of(system, "Be flaky", model="standin/flaky", fallback_models=[GOOD])
    assert (reply["status"], reply["model"]) == ("completed", "standin/flaky")
    assert outcomes(reply) == ["unavailable", "unavailable", "succeeded"]
    assert [attempt["ordinal"] for attempt in reply["attempts"]] == [1, 2, 3]


async def test_a_fallback_can_be_searched_for(system: System, temporal: Client) -> None:
    reply = await reply_of(system, session_id="searched", model="standin/down", fallback_models=[GOOD])
    plain = await reply_of(system, session_id="searched")
    assert (reply["status"], reply["model"]) == ("completed", GOOD)
    assert [attempt["model"] for attempt in reply["attempts"]] == ["standin/down"] * 3 + [GOOD]

    async def found(query: str) -> list[str]:
        query = f"SessionId = 'searched' AND TaskQueue = '{system.environment['TASK_QUEUE']}' AND {query}"
        return [run.id async for run in temporal.list_workflows(query)]

    async def both_are_listed() -> bool:
        return len(await found("Outcome = 'completed'")) == 2

    await eventually(both_are_listed)
    assert await found("Fallbacks > 0") == [reply["workflow_id"]]
    assert await found("Fallbacks = 1") == [reply["workflow_id"]]
    assert await found("Fallbacks = 0") == [plain["workflow_id"]]
    assert await found(f"Model = '{GOOD}'") == [reply["workflow_id"]]


@pytest.mark.parametrize(
    ("model", "error_type"),
    [
        ("unauthorized", "authentication"),
        ("no-credit", "credit"),
        ("moderated", "moderation"),
        ("bad-request", "invalid_request"),
    ],
)
async def test_what_no_model_can_mend_fails_with_one_call(system: System, model: str, error_type: str) -> None:
    reply = await reply_of(system, model=f"standin/{model}", fallback_models=[GOOD])
    assert (reply["status"], reply["error"]["type"]) == ("failed", error_type)
    assert len(system.standin.ledger.calls) == 1


async def test_a_wait_that_is_asked_for_is_kept(system: System) -> None:
    system.standin.script(MODEL, "rate-limited")
    reply = await reply_of(system, model=MODEL, fallback_models=[GOOD])
    assert (reply["model"], outcomes(reply)) == (MODEL, ["rate_limit", "succeeded"])
    assert reply["attempts"][0]["wait_ms"] == 1000
    refused, again = system.standin.ledger.calls
    assert refused.finished_at is not None
    assert (again.started_at - refused.finished_at).total_seconds() >= 1


async def test_a_wait_that_nobody_would_wait_means_the_next_model(system: System) -> None:
    reply = await reply_of(system, model="standin/rate-limited-long", fallback_models=[GOOD])
    assert (reply["model"], outcomes(reply)) == (GOOD, ["rate_limit", "succeeded"])
    assert reply["attempts"][0]["wait_ms"] is None


async def test_a_caller_who_wants_an_error_gets_one(system: System) -> None:
    response = await system.interact(model="standin/unauthorized", on_failure="error")
    assert response.status_code == 502
    assert response.json()["error_type"] == "authentication"


@beside
async def test_at_the_deadline_an_honest_line_comes_and_the_call_is_given_up(own_system: System) -> None:
    own_system.standin.script(MODEL, HELD)
    await own_system.start_worker(INTERACTION_DEADLINE_SECONDS="3")
    await own_system.start_api()
    sent_at = time.monotonic()
    async with sending(own_system, "Be quick", session_id="s", model=MODEL, fallback_models=[GOOD]) as request:
        reply = await answered(request)
    assert 2.5 < time.monotonic() - sent_at < 10
    assert (reply["status"], reply["degraded"], reply["error"]["type"]) == ("failed", True, "timeout")
    assert outcomes(reply) == ["timeout"]
    (call,) = own_system.standin.ledger.calls
    await own_system.standin.ledger.until(lambda _: call.outcome is not None)
    assert call.outcome is Outcome.ABORTED
    assert outcomes(await read(own_system, reply["interaction_id"])) == ["timeout"]


@beside
async def test_an_operator_may_end_an_interaction(own_system: System, temporal: Client) -> None:
    own_system.standin.script(MODEL, HELD, HELD)
    worker = await own_system.start_worker(**SHORT_HEARTBEAT)
    await own_system.start_api()
    sessions = ("cancelled", "terminated")
    async with AsyncExitStack() as stack:

        async def send(message: str, session_id: str, model: str) -> asyncio.Task[httpx.Response]:
            return await stack.enter_async_context(
                sending(own_system, message, session_id=session_id, model=model, fallback_models=[])
            )

        requests = [await send("Begin", session, MODEL) for session in sessions]
        await held(own_system, 2)
        ids = [await interaction_of(own_system, session) for session in sessions]
        following = [await send("Go on", session, GOOD) for session in sessions]
        cancelled, terminated = (
            temporal.get_workflow_handle(f"interaction-{interaction_id}") for interaction_id in ids
        )

        async def all_have_their_turn() -> bool:
            return all([len(await transcript(own_system, session)) == 2 for session in sessions])

        await eventually(all_have_their_turn)
        await cancelled.cancel()
        await terminated.terminate("an operator's reason")

        cancelled_view = await answered(requests[0])
        line = await answered(requests[1])
        assert (line["degraded"], line["error"]["type"]) == (True, "unavailable")
        assert [(await answered(request))["status"] for request in following] == ["completed"] * 2

    views = [await read(own_system, interaction_id) for interaction_id in ids]
    assert [view["status"] for view in views] == ["cancelled", "failed"]
    assert [apart_from_costs(view) for view in views] == [apart_from_costs(view) for view in (cancelled_view, line)]
    assert (views[0]["message"], outcomes(views[0])) == (None, ["cancelled"])
    for call in own_system.standin.ledger.calls[:2]:
        await own_system.standin.ledger.until(lambda _, call=call: call.outcome is not None)
        assert call.outcome is Outcome.ABORTED
    assert await worker.stop() == 0
    assert "Traceback" not in worker.output
