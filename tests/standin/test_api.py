import httpx
import pytest

from standin import StandIn
from tests.standin.talk import HELLO, ask, ask_streaming, chunks, connect, events, finish_reasons, request, text

SAID = 'Cherry here (a stand-in for openai/gpt-4 speaking). You said: "Hello". I remember 0 earlier messages.'


async def test_a_stream_is_comment_text_finish_usage_done(client: httpx.AsyncClient) -> None:
    response = await ask_streaming(client)

    assert response.headers["content-type"] == "text/event-stream"
    assert response.text.startswith(": OPENROUTER PROCESSING\n\n")
    assert text(response) == SAID
    assert finish_reasons(response) == ["stop"]
    assert chunks(response)[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks(response)[-1]["choices"] == []
    assert events(response)[-1] == "[DONE]"


async def test_every_chunk_names_the_generation_the_model_and_the_provider(client: httpx.AsyncClient) -> None:
    response = await ask_streaming(client)

    named = {(chunk["id"], chunk["model"], chunk["provider"]) for chunk in chunks(response)}
    assert named == {(response.headers["x-generation-id"], "openai/gpt-4", "OpenAI")}
    assert response.headers["x-generation-id"].startswith("gen-")


async def test_a_whole_answer_says_what_a_stream_says(client: httpx.AsyncClient) -> None:
    response = await ask(client)
    body = response.json()

    assert body["id"] == response.headers["x-generation-id"]
    assert body["choices"][0]["message"]["content"] == SAID
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == chunks(await ask_streaming(client))[-1]["usage"]


async def test_usage_adds_up_at_the_price_of_the_catalogue(client: httpx.AsyncClient) -> None:
    usage = (await ask(client)).json()["usage"]

    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["cost"] == pytest.approx(usage["prompt_tokens"] * 0.00003 + usage["completion_tokens"] * 0.00006)
    assert usage["is_byok"] is False
    assert usage["cost_details"]["upstream_inference_cost"] == usage["cost"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 0


async def test_a_free_model_costs_nothing(client: httpx.AsyncClient) -> None:
    assert (await ask(client, "deepseek/deepseek-r1:free")).json()["usage"]["cost"] == 0


async def test_a_model_nobody_knows_is_answered_under_its_own_name(client: httpx.AsyncClient) -> None:
    body = (await ask(client, "acme/llm-9")).json()

    assert body["model"] == "acme/llm-9"
    assert "a stand-in for acme/llm-9" in body["choices"][0]["message"]["content"]


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_cuts_the_answer(client: httpx.AsyncClient, limit: str) -> None:
    body = (await client.post("/chat/completions", json=request() | {limit: 2})).json()

    assert body["choices"][0]["message"]["content"] == "Cherry here"
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer"}, {"Authorization": "Basic abc"}])
@pytest.mark.parametrize("path", ["/chat/completions", "/generation?id=gen-1", "/key"])
async def test_without_a_key_nothing_is_answered(standin: StandIn, path: str, headers: dict[str, str]) -> None:
    method, body = ("POST", request()) if path.startswith("/chat") else ("GET", None)
    async with connect(standin.base_url, key=None) as stranger:
        response = await stranger.request(method, path, json=body, headers=headers)

    assert response.status_code == 401
    assert response.json()["error"]["code"] == 401
    assert standin.ledger.total_calls == 0


@pytest.mark.parametrize(
    "body",
    [
        {"model": "openai/gpt-4"},
        {"model": "openai/gpt-4", "messages": []},
        {"model": "openai/gpt-4", "messages": "Hello"},
        {"model": "openai/gpt-4", "messages": ["Hello"]},
        {"model": 4, "messages": HELLO},
        {"model": "", "messages": HELLO},
        {"model": "openai/gpt-4", "messages": HELLO, "max_tokens": "many"},
        {"model": "openai/gpt-4", "messages": HELLO, "max_tokens": 0},
        ["no", "object"],
    ],
)
async def test_a_malformed_request_is_refused_in_the_error_format(
    client: httpx.AsyncClient, standin: StandIn, body: object
) -> None:
    response = await client.post("/chat/completions", json=body)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == 400
    assert response.json()["error"]["metadata"] == {"error_type": "invalid_request"}
    assert standin.ledger.total_calls == 0


async def test_a_body_that_is_no_json_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post("/chat/completions", content=b"{")).status_code == 400


async def test_the_models_are_listed_without_a_key_and_priced_in_strings(standin: StandIn) -> None:
    async with connect(standin.base_url, key=None) as stranger:
        models = {it["id"]: it for it in (await stranger.get("/models")).json()["data"]}

    assert {"openai/gpt-3.5-turbo", "openai/gpt-4", "standin/down"} <= models.keys()
    assert any(name.startswith("anthropic/") for name in models)
    assert any(name.endswith(":free") for name in models)
    assert all(isinstance(price, str) for model in models.values() for price in model["pricing"].values())
    assert models["openai/gpt-4"]["context_length"] == 8191
    assert models["openrouter/auto"]["context_length"] is None


async def test_the_record_of_a_generation_agrees_with_its_usage(client: httpx.AsyncClient) -> None:
    body = (await ask(client)).json()
    record = (await client.get("/generation", params={"id": body["id"]})).json()["data"]

    assert record["total_cost"] == body["usage"]["cost"]
    assert record["native_tokens_prompt"] == body["usage"]["prompt_tokens"]
    assert record["native_tokens_completion"] == body["usage"]["completion_tokens"]
    assert record["provider_name"] == "OpenAI"
    assert record["finish_reason"] == "stop"
    assert record["cancelled"] is False


async def test_the_key_has_spent_what_the_bill_says(client: httpx.AsyncClient, standin: StandIn) -> None:
    await ask(client)

    key = (await client.get("/key")).json()["data"]
    assert key["usage"] == float(standin.ledger.total_cost) > 0
    assert key["limit"] is None
