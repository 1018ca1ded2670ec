import asyncio
import json

import httpx
import pytest

from standin import Outcome, StandIn
from tests.standin.conftest import QUICK
from tests.standin.talk import HELLO, ask, ask_streaming, connect, request, text


async def statuses(client: httpx.AsyncClient, count: int, model: str = "openai/gpt-4") -> list[int]:
    return [(await ask(client, model)).status_code for _ in range(count)]


async def test_a_script_decides_the_next_calls_of_its_model_only(
    client: httpx.AsyncClient, control: httpx.AsyncClient
) -> None:
    steps = {"model": "openai/gpt-4", "faults": ["down", "overloaded", "ok"]}
    assert (await control.post("/faults", json=steps)).json() == {"scripted": 3}

    assert await statuses(client, 1, "openai/gpt-4o") == [200]
    assert await statuses(client, 4) == [503, 529, 200, 200]


async def test_a_script_outranks_the_fault_in_a_models_name(client: httpx.AsyncClient, standin: StandIn) -> None:
    standin.script("standin/down", "ok")

    assert await statuses(client, 2, "standin/down") == [200, 503]


async def test_a_response_can_be_spelt_out(client: httpx.AsyncClient, standin: StandIn) -> None:
    standin.script("openai/gpt-4", {"status": 418, "headers": {"Retry-After": 7}, "body": {"error": "teapot"}})
    response = await ask(client)

    assert response.status_code == 418
    assert response.headers["retry-after"] == "7"
    assert response.json() == {"error": "teapot"}
    assert standin.ledger.calls[-1].outcome is Outcome.FAILED


async def test_a_stream_can_be_spelt_out(client: httpx.AsyncClient, standin: StandIn) -> None:
    events = "data: [DONE]\n\n"
    standin.script("openai/gpt-4", {"status": 200, "headers": {"Content-Type": "text/event-stream"}, "body": events})
    response = await ask_streaming(client)

    assert response.headers["content-type"] == "text/event-stream"
    assert response.text == events


@pytest.mark.parametrize(
    "faults",
    [
        ["dwon"],
        [{"hold": False}],
        [{"hold": True, "aftre": 1}],
        [{"hold": True, "after": "1"}],
        [{"hold": True, "after": 1, "error": "gone"}],
        [{}],
        [7],
        "down",
        None,
    ],
)
async def test_a_step_that_is_none_is_refused_whole(
    client: httpx.AsyncClient, control: httpx.AsyncClient, faults: object
) -> None:
    steps = ["down", *faults] if isinstance(faults, list) else faults
    response = await control.post("/faults", json={"model": "openai/gpt-4", "faults": steps})

    assert response.status_code == 400
    assert response.json()["error"]
    assert await statuses(client, 1) == [200]


async def test_an_unknown_fault_is_answered_with_the_known_ones(standin: StandIn) -> None:
    with pytest.raises(ValueError, match=r"unknown fault 'dwon'; the faults are: .*down"):
        standin.script("openai/gpt-4", "dwon")


async def test_the_faults_are_listed_with_their_descriptions(control: httpx.AsyncClient) -> None:
    assert (await control.get("/faults")).json()["down"] == "503, always."


@pytest.mark.parametrize("stream", [False, True])
async def test_a_held_call_stays_open_until_released(
    client: httpx.AsyncClient, control: httpx.AsyncClient, standin: StandIn, stream: bool
) -> None:
    standin.script("openai/gpt-4", {"hold": True})
    call = asyncio.create_task(ask(client, stream=stream))
    await standin.ledger.until_held()

    (shown,) = (await control.get("/calls")).json()["calls"]
    assert (shown["held"], shown["outcome"]) == (True, None)

    await control.post("/release")
    assert "Cherry" in (await call).text
    assert standin.ledger.calls[-1].outcome is Outcome.COMPLETED


async def test_a_call_can_be_held_in_the_middle_of_its_text(client: httpx.AsyncClient, standin: StandIn) -> None:
    standin.script("openai/gpt-4", {"hold": True, "after": 2})
    call = asyncio.create_task(ask_streaming(client))
    await standin.ledger.until_held()
    assert standin.ledger.calls[-1].completion_tokens == 2

    standin.release()
    assert text(await call).endswith("I remember 0 earlier messages.")


async def test_a_held_call_can_break_once_it_is_released(client: httpx.AsyncClient, standin: StandIn) -> None:
    standin.script("openai/gpt-4", {"hold": True, "after": 2, "error": {"code": 403, "message": "No more."}})
    call = asyncio.create_task(ask_streaming(client))
    await standin.ledger.until_held()
    standin.release()
    chunks = [json.loads(line[6:]) for line in (await call).text.splitlines() if line.startswith("data: {")]
    assert [chunk.get("error") for chunk in chunks] == [None, None, {"code": 403, "message": "No more."}]


async def test_a_client_that_leaves_a_stream_pays_for_the_tokens_sent(
    client: httpx.AsyncClient, control: httpx.AsyncClient, standin: StandIn
) -> None:
    standin.script("openai/gpt-4", {"hold": True, "after": 3})
    async with client.stream("POST", "/chat/completions", json=request(stream=True)) as response:
        await standin.ledger.until_held()
    await standin.ledger.until(lambda it: it.calls[-1].outcome is not None)

    call = standin.ledger.calls[-1]
    assert (call.outcome, call.completion_tokens, call.held) == ("aborted", 3, False)
    assert float(call.cost) == pytest.approx(call.prompt_tokens * 0.00003 + 3 * 0.00006)
    assert (await control.get("/bill")).json()["total_cost"] == float(call.cost)

    record = (await client.get("/generation", params={"id": response.headers["x-generation-id"]})).json()["data"]
    assert record["cancelled"] is True
    assert record["native_tokens_completion"] == 3
    assert record["total_cost"] == float(call.cost)


async def test_a_client_that_leaves_a_whole_answer_pays_for_all_of_it(
    client: httpx.AsyncClient, standin: StandIn
) -> None:
    standin.script("openai/gpt-4", {"hold": True})
    leaving = asyncio.create_task(ask(client))
    await standin.ledger.until_held()
    leaving.cancel()
    await standin.ledger.until(lambda it: it.calls[-1].outcome is not None)
    await ask(client)

    aborted, completed = standin.ledger.calls
    assert aborted.outcome is Outcome.ABORTED
    assert aborted.cost == completed.cost


async def test_a_call_shows_what_was_sent_without_the_key(
    client: httpx.AsyncClient, control: httpx.AsyncClient
) -> None:
    body = request(temperature=0.5, stream=True)
    response = await client.post("/chat/completions", json=body, headers={"X-Title": "Test"})
    listing = await control.get("/calls")
    (call,) = listing.json()["calls"]

    assert (call["ordinal"], call["model"], call["messages"], call["stream"]) == (1, "openai/gpt-4", HELLO, True)
    assert call["parameters"] == {"temperature": 0.5}
    assert call["headers"]["x-title"] == "Test"
    assert call["generation_id"] == response.headers["x-generation-id"]
    assert call["started_at"] <= call["finished_at"]
    assert call["outcome"] == "completed"
    assert call["cost"] > 0
    assert "sk-secret" not in listing.text


async def test_the_bill_counts_only_calls_that_cost_something(
    client: httpx.AsyncClient, control: httpx.AsyncClient, standin: StandIn
) -> None:
    for model in ("openai/gpt-4", "standin/down", "deepseek/deepseek-r1:free", "standin/truncated"):
        await ask(client, model)

    bill = (await control.get("/bill")).json()
    assert (bill["billed_calls"], bill["total_calls"]) == (2, 4)
    assert bill["total_cost"] == pytest.approx(sum(float(call.cost) for call in standin.ledger.calls))


async def test_a_reset_starts_afresh(client: httpx.AsyncClient, control: httpx.AsyncClient, standin: StandIn) -> None:
    await ask(client, "standin/flaky")
    standin.script("openai/gpt-4", {"hold": True}, "down")
    held = asyncio.create_task(ask(client))
    await standin.ledger.until_held()

    await control.post("/reset")
    assert (await held).status_code == 200
    assert (await control.get("/calls")).json() == {"calls": []}
    assert (await control.get("/bill")).json() == {"total_cost": 0, "billed_calls": 0, "total_calls": 0}
    assert await statuses(client, 1) == [200]
    assert await statuses(client, 3, "standin/flaky") == [503, 503, 200]
    assert standin.ledger.calls[0].ordinal == 1


async def test_only_the_last_calls_are_kept_but_all_are_billed() -> None:
    async with StandIn(pace=QUICK, keep_calls=2) as standin, connect(standin.base_url) as client:
        assert await statuses(client, 3) == [200, 200, 200]

        assert [call.ordinal for call in standin.ledger.calls] == [2, 3]
        assert standin.ledger.billed_calls == standin.ledger.total_calls == 3
