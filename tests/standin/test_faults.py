import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime

import httpx
import pytest

from standin import Outcome, StandIn
from standin.faults import FAULTS
from tests.standin.talk import HELLO, ask, ask_streaming, chunks, events, finish_reasons, request, text

GOOD = "I remember 0 earlier messages."


def last_outcome(standin: StandIn) -> Outcome | None:
    return standin.ledger.calls[-1].outcome


def test_every_fault_is_described() -> None:
    assert all(fault.description for fault in FAULTS.values())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("name", "status", "metadata"),
    [
        ("down", 503, {"error_type": "provider_overloaded"}),
        ("rate-limited", 429, {"error_type": "rate_limit_exceeded"}),
        ("unauthorized", 401, {"error_type": "authentication"}),
        ("no-credit", 402, {"error_type": "payment_required"}),
        ("in-flight-budget", 402, {"limit_source": "openrouter_in_flight_budget"}),
        ("key-limit", 403, {"error_type": "permission_denied"}),
        ("moderated", 403, {"reasons": ["violence"], "flagged_input": "the text that was flagged"}),
        ("content-policy", 403, {"error_type": "content_policy_violation"}),
        ("bad-request", 400, {"error_type": "invalid_request"}),
        ("provider-400", 400, {"provider_name": "StandIn"}),
        ("context-length", 400, {"error_type": "context_length_exceeded"}),
        ("no-endpoints", 404, {"error_type": "not_found"}),
        ("server-error", 500, {"error_type": "server"}),
        ("overloaded", 529, {"error_type": "provider_overloaded"}),
        ("gateway-timeout", 504, {"error_type": "timeout"}),
    ],
)
async def test_a_refusal_has_its_status_and_says_why(
    *, client: httpx.AsyncClient, standin: StandIn, name: str, status: int, metadata: dict[str, object], stream: bool
) -> None:
    response = await ask(client, f"standin/{name}", stream=stream)
    error = response.json()["error"]

    assert (response.status_code, error["code"]) == (status, status)
    assert error["metadata"] == {**error["metadata"], **metadata}
    assert last_outcome(standin) == "failed"
    assert standin.ledger.total_cost == 0


@pytest.mark.parametrize(("name", "seconds"), [("rate-limited", "1"), ("rate-limited-long", "3600")])
async def test_a_rate_limit_says_how_long_to_wait(client: httpx.AsyncClient, name: str, seconds: str) -> None:
    assert (await ask(client, f"standin/{name}")).headers["retry-after"] == seconds


async def test_the_free_allowance_is_back_at_midnight_utc(client: httpx.AsyncClient) -> None:
    error = (await ask(client, "standin/free-per-day")).json()["error"]
    reset = datetime.fromtimestamp(int(error["metadata"]["headers"]["X-RateLimit-Reset"]) / 1000, UTC)

    assert "free-models-per-day" in error["message"]
    assert reset > datetime.now(UTC)
    assert (reset.hour, reset.minute, reset.second) == (0, 0, 0)


async def test_the_free_requests_of_a_minute_are_back_soon(client: httpx.AsyncClient) -> None:
    error = (await ask(client, "standin/free-per-minute")).json()["error"]

    assert "free-models-per-min" in error["message"]


async def test_an_unknown_model_is_named(client: httpx.AsyncClient) -> None:
    response = await ask(client, "standin/unknown-model")

    assert response.status_code == 400
    assert response.json()["error"]["message"] == "standin/unknown-model is not a valid model ID"


async def test_the_key_is_echoed_in_the_message_but_not_in_the_ledger(
    client: httpx.AsyncClient, standin: StandIn
) -> None:
    response = await ask(client, "standin/echo-key")

    assert "sk-secret" in response.json()["error"]["message"]
    assert "sk-secret" not in json.dumps(standin.ledger.calls[-1].to_json())


async def test_a_gateway_answers_in_html(client: httpx.AsyncClient) -> None:
    response = await ask_streaming(client, "standin/html")

    assert response.status_code == 502
    assert response.headers["content-type"].startswith("text/html")
    assert response.text.startswith("<html>")


async def test_flaky_fails_twice_for_each_conversation(client: httpx.AsyncClient) -> None:
    other = [{"role": "user", "content": "Another conversation"}]

    mine = [(await ask(client, "standin/flaky")).status_code for _ in range(2)]
    others = [(await ask(client, "standin/flaky", messages=other)).status_code for _ in range(3)]
    mine += [(await ask(client, "standin/flaky")).status_code for _ in range(2)]

    assert mine == [503, 503, 200, 503]
    assert others == [503, 503, 200]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_can_come_with_status_200(client: httpx.AsyncClient, standin: StandIn, stream: bool) -> None:
    response = await ask(client, "standin/error-in-200", stream=stream)

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/json")
    assert response.json().keys() == {"id", "error"}
    assert response.json()["id"] == response.headers["x-generation-id"]
    assert last_outcome(standin) == "failed"


async def test_an_error_can_be_the_first_chunk(client: httpx.AsyncClient) -> None:
    response = await ask_streaming(client, "standin/error-first-chunk")
    (only,) = chunks(response)

    assert only["error"]["code"] == "502"
    assert only["choices"][0]["finish_reason"] == "error"
    assert events(response)[-1] == "[DONE]"


async def test_an_error_can_come_after_some_text(client: httpx.AsyncClient, standin: StandIn) -> None:
    response = await ask_streaming(client, "standin/error-mid-stream")

    assert text(response).startswith("Cherry here")
    assert chunks(response)[-1]["error"]["code"] == "server_error"
    assert events(response)[-1] == "[DONE]"
    assert standin.ledger.total_cost > 0


async def test_a_whole_answer_can_hold_an_error_beside_its_text(client: httpx.AsyncClient) -> None:
    choice = (await ask(client, "standin/error-mid-stream")).json()["choices"][0]

    assert choice["message"]["content"].startswith("Cherry here")
    assert choice["finish_reason"] == "error"
    assert choice["error"]["code"] == "server_error"


async def test_a_refusal_of_the_model_is_an_answer(client: httpx.AsyncClient, standin: StandIn) -> None:
    whole = (await ask(client, "standin/refusal")).json()["choices"][0]
    streamed = await ask_streaming(client, "standin/refusal")

    assert whole["message"]["refusal"] == text(streamed, "refusal") == "I cannot help with that."
    assert [whole["finish_reason"]] == finish_reasons(streamed) == ["content_filter"]
    assert last_outcome(standin) == "completed"


async def test_an_answer_can_be_empty_and_free(client: httpx.AsyncClient, standin: StandIn) -> None:
    response = await ask_streaming(client, "standin/empty")

    assert (text(response), finish_reasons(response)) == ("", ["stop"])
    assert chunks(response)[-1]["usage"]["completion_tokens"] == 0
    assert standin.ledger.total_cost == 0


@pytest.mark.parametrize(("name", "choices"), [("no-choices", None), ("empty-choices", [])])
async def test_an_answer_can_lack_choices(client: httpx.AsyncClient, name: str, choices: object) -> None:
    assert (await ask(client, f"standin/{name}")).json()["choices"] == choices
    assert chunks(await ask_streaming(client, f"standin/{name}"))[0]["choices"] == choices


async def test_reasoning_can_use_up_the_output(client: httpx.AsyncClient) -> None:
    response = await ask_streaming(client, "standin/output-limit")
    usage = chunks(response)[-1]["usage"]

    assert (text(response), finish_reasons(response)) == ("", ["length"])
    assert text(response, "reasoning").startswith("Let me think")
    assert usage["completion_tokens"] == usage["completion_tokens_details"]["reasoning_tokens"] > 0


async def test_a_truncated_stream_ends_cleanly_but_unfinished(client: httpx.AsyncClient, standin: StandIn) -> None:
    response = await ask_streaming(client, "standin/truncated")

    assert text(response).startswith("Cherry here")
    assert finish_reasons(response) == []
    assert "[DONE]" not in events(response)
    assert last_outcome(standin) == "failed"


async def test_a_truncated_body_is_no_json(client: httpx.AsyncClient) -> None:
    with pytest.raises(json.JSONDecodeError):
        (await ask(client, "standin/truncated")).json()


async def test_a_reset_breaks_the_connection_after_some_text(client: httpx.AsyncClient, standin: StandIn) -> None:
    received = bytearray()

    async def read() -> None:
        async with client.stream("POST", "/chat/completions", json=request("standin/reset", stream=True)) as response:
            async for data in response.aiter_bytes():
                received.extend(data)

    with pytest.raises(httpx.ReadError):  # a clean close would be a RemoteProtocolError
        await read()

    assert b'"content"' in received
    assert last_outcome(standin) == "failed"


async def test_an_early_reset_breaks_the_connection_before_the_status(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.ReadError):
        await ask_streaming(client, "standin/reset-early")


@pytest.mark.parametrize("name", ["stall", "silent"])
async def test_signs_of_life_go_on_without_data_until_the_client_leaves(
    client: httpx.AsyncClient, standin: StandIn, name: str
) -> None:
    async with client.stream("POST", "/chat/completions", json=request(f"standin/{name}", stream=True)) as response:
        received = ""
        async for data in response.aiter_text():
            received += data
            if received.count(": OPENROUTER PROCESSING") > 3:
                break

    await standin.ledger.until(lambda it: it.calls[-1].outcome is not None)
    assert ("data:" in received) == (name == "stall")
    assert 'finish_reason": "' not in received
    assert last_outcome(standin) == "aborted"
    assert (standin.ledger.total_cost > 0) == (name == "stall")


async def test_data_can_be_no_json(client: httpx.AsyncClient) -> None:
    with pytest.raises(json.JSONDecodeError):
        chunks(await ask_streaming(client, "standin/malformed"))
    with pytest.raises(json.JSONDecodeError):
        (await ask(client, "standin/malformed")).json()


@pytest.mark.parametrize("name", ["slow", "slow-stream"])
async def test_slow_answers_are_good_answers_that_take_their_time(client: httpx.AsyncClient, name: str) -> None:
    start = asyncio.get_running_loop().time()
    response = await ask_streaming(client, f"standin/{name}")

    assert GOOD in text(response)
    assert asyncio.get_running_loop().time() - start > 0.05


async def test_a_slow_whole_answer_is_preceded_by_blank_space(client: httpx.AsyncClient) -> None:
    response = await ask(client, "standin/slow")

    assert response.text.startswith("\n")
    assert GOOD in response.json()["choices"][0]["message"]["content"]


async def test_odd_framing_is_correct_all_the_same(client: httpx.AsyncClient) -> None:
    response = await ask_streaming(client, "standin/odd-framing")

    assert text(response).endswith("Déjà vu 🍒.")
    assert finish_reasons(response) == ["stop"]
    assert "[DONE]" not in events(response)
    assert response.text.count("\r\n") > 100
    assert "data: " not in response.text


async def test_odd_framing_cuts_a_character_in_two(client: httpx.AsyncClient, standin: StandIn) -> None:
    body = request("standin/odd-framing", stream=True)
    async with client.stream("POST", "/chat/completions", json=body) as response:
        reads = [data async for data in response.aiter_raw()]

    assert "🍒" in b"".join(reads).decode()
    with pytest.raises(UnicodeDecodeError):
        [data.decode() for data in reads]


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_can_be_missing_while_the_bill_knows_the_cost(
    client: httpx.AsyncClient, standin: StandIn, stream: bool
) -> None:
    response = await ask(client, "standin/no-usage", stream=stream)

    assert '"usage"' not in response.text
    assert standin.ledger.total_cost > 0


async def test_the_cost_can_be_null(client: httpx.AsyncClient) -> None:
    usage = (await ask(client, "standin/cost-null")).json()["usage"]

    assert usage["cost"] is None
    assert usage["completion_tokens"] > 0


async def test_with_an_own_key_the_price_is_the_upstreams(client: httpx.AsyncClient) -> None:
    usage = (await ask(client, "standin/own-key")).json()["usage"]

    assert (usage["is_byok"], usage["cost"]) == (True, 0)
    assert usage["cost_details"]["upstream_inference_cost"] > 0


@pytest.mark.parametrize(("name", "reason"), [("usage-open-choice", None), ("usage-repeated-finish", "stop")])
async def test_the_usage_chunk_has_other_shapes(client: httpx.AsyncClient, name: str, reason: str | None) -> None:
    last = chunks(await ask_streaming(client, f"standin/{name}"))[-1]

    assert last["usage"]["cost"] > 0
    assert last["choices"][0]["finish_reason"] == reason
    assert last["choices"][0]["delta"]["content"] == ""


async def test_a_stream_can_begin_with_a_chunk_for_debugging(client: httpx.AsyncClient) -> None:
    response = await ask_streaming(client, "standin/debug-chunk")
    first, *others = chunks(response)

    assert first["choices"] == []
    assert first["debug"]["echo_upstream_body"]["model"] == "standin/debug-chunk"
    assert GOOD in text(response)
    assert not any("debug" in chunk for chunk in others)


async def test_the_words_of_an_answer_can_hold_the_key_in_pieces(client: httpx.AsyncClient, standin: StandIn) -> None:
    response = await ask_streaming(client, "standin/echo-key-text")

    assert "(the key is sk-secret)" in text(response)
    assert "sk-secret" not in response.text
    assert GOOD in text(response)
    assert last_outcome(standin) == "completed"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_labels_of_an_answer_can_be_the_key(
    client: httpx.AsyncClient, standin: StandIn, stream: bool
) -> None:
    response = await ask(client, "standin/echo-key-labels", stream=stream)
    bodies = chunks(response) if stream else [response.json()]

    assert {body[label] for body in bodies for label in ("id", "model", "provider")} == {"sk-secret"}
    assert response.headers["x-generation-id"] == "sk-secret"
    assert '"finish_reason": "sk-secret"' in response.text
    assert GOOD in (text(response) if stream else response.text)
    assert last_outcome(standin) == "completed"
    assert "sk-secret" not in json.dumps(standin.ledger.calls[-1].to_json())


async def test_an_error_after_some_text_can_repeat_the_key(client: httpx.AsyncClient) -> None:
    response = await ask_streaming(client, "standin/echo-key-mid-stream")
    error = chunks(response)[-1]["error"]

    assert text(response).startswith("Cherry here")
    assert error["code"] == "sk-secret"
    assert "sk-secret" in error["message"]
    assert "sk-secret" in error["metadata"]["raw"]


@pytest.mark.parametrize("name", ["error-mid-stream", "truncated", "malformed", "no-usage", "cost-null", "own-key"])
async def test_the_record_of_any_call_tells_what_it_cost(
    client: httpx.AsyncClient, standin: StandIn, name: str
) -> None:
    response = await ask_streaming(client, f"standin/{name}")
    record = (await client.get("/generation", params={"id": response.headers["x-generation-id"]})).json()["data"]
    call = standin.ledger.calls[-1]

    assert record["total_cost"] + record["upstream_inference_cost"] * record["is_byok"] == float(call.cost) > 0
    assert record["is_byok"] is (name == "own-key")
    assert record["native_tokens_prompt"] == call.prompt_tokens
    assert record["native_tokens_completion"] == call.completion_tokens > 0
    assert (record["native_tokens_reasoning"], record["native_tokens_cached"]) == (0, 0)
    assert record["cancelled"] is False


@pytest.mark.parametrize("name", ["error-mid-stream", "truncated", "reset", "stall"])
async def test_an_answer_that_broke_off_can_be_continued_by_another_model(
    client: httpx.AsyncClient, standin: StandIn, name: str
) -> None:
    begun = await begin(client, standin, f"standin/{name}")
    messages = [*HELLO, {"role": "assistant", "content": begun}, {"role": "user", "content": "Please continue."}]
    rest = text(await ask_streaming(client, "openai/gpt-4", messages=messages))

    assert begun
    assert rest
    assert begun + rest == text(await ask_streaming(client, f"standin/{name}-not")).replace("-not", "")


async def begin(client: httpx.AsyncClient, standin: StandIn, model: str) -> str:
    """Return what a model says before it breaks off; one that falls silent is left then."""
    received = ""
    with suppress(httpx.TransportError):
        async with client.stream("POST", "/chat/completions", json=request(model, stream=True)) as response:
            async for data in response.aiter_text():
                received += data
                if received.count(": OPENROUTER PROCESSING") > 2:
                    break
    return text(httpx.Response(200, text=received))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", [name for name in FAULTS if name not in {"stall", "silent"}])
async def test_no_fault_breaks_the_stand_in_itself(
    client: httpx.AsyncClient, standin: StandIn, caplog: pytest.LogCaptureFixture, name: str, stream: bool
) -> None:
    try:
        await ask(client, f"standin/{name}", stream=stream)
    except httpx.TransportError:
        assert name.startswith("reset")

    assert last_outcome(standin) in {"completed", "failed"}
    assert [record for record in caplog.records if record.name.startswith(("aiohttp", "asyncio"))] == []
