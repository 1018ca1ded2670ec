"""What a provider is asked besides chats: its models, and what a call has cost."""

import asyncio
import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from core.orchestrator.contracts import ModelInfo, Usage
from core.orchestrator.errors import ErrorType, LLMProviderAuthenticationError, LLMProviderError
from core.orchestrator.providers.openrouter import OpenRouterProvider
from tests.core.orchestrator.providers.conftest import (
    KEY,
    Script,
    Step,
    Upstream,
    head,
    json_answer,
    leaks,
    provider_for,
)

ENTRY = {
    "id": "maker/model",
    "name": "Maker: Model",
    "context_length": 8192,
    "pricing": {"prompt": "0.0000005", "completion": "0.0000015", "request": "0"},
    "top_provider": {"context_length": 4096, "max_completion_tokens": 1024},
}


async def listed(provider: OpenRouterProvider, upstream: Upstream, *entries: object) -> list[ModelInfo]:
    upstream.answers(json_answer({"data": list(entries)}))
    return list(await provider.list_models())


# --- models ---------------------------------------------------------------------------------------------------------


async def test_a_model_is_read_with_its_window_and_its_prices(upstream: Upstream, provider: OpenRouterProvider) -> None:
    assert await listed(provider, upstream, ENTRY) == [
        ModelInfo(
            id="maker/model",
            name="Maker: Model",
            context_length=8192,
            max_completion_tokens=1024,
            prompt_usd=0.0000005,
            completion_usd=0.0000015,
        )
    ]
    assert upstream.requests[0].head.startswith("GET /api/v1/models HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"context_length": None}, {"context_length": 4096}),
        ({"context_length": None, "top_provider": None}, {"context_length": None, "max_completion_tokens": None}),
        ({"context_length": "many", "top_provider": []}, {"context_length": None}),
        ({"context_length": -1, "top_provider": {"context_length": 0}}, {"context_length": None}),
        ({"context_length": "8192"}, {"context_length": 8192}),
        ({"context_length": 10**400}, {"context_length": 4096}),
        ({"pricing": {"prompt": "-1", "completion": "-1"}}, {"prompt_usd": None, "completion_usd": None}),
        ({"pricing": {"prompt": "0", "completion": 0}}, {"prompt_usd": 0, "completion_usd": 0}),
        ({"pricing": {"prompt": "NaN", "completion": "1e400"}}, {"prompt_usd": None, "completion_usd": None}),
        ({"pricing": "free"}, {"prompt_usd": None, "completion_usd": None}),
        ({"name": None}, {"name": None}),
        ({"name": "two\nlines"}, {"name": "two lines"}),
        ({"new": {"a": [1]}}, {}),
    ],
)
async def test_what_a_list_does_not_tell_is_unknown(
    upstream: Upstream, provider: OpenRouterProvider, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    (model,) = await listed(provider, upstream, {**ENTRY, **fields})
    assert {name: getattr(model, name) for name in expected} == expected


async def test_one_bad_entry_does_not_spoil_the_list(upstream: Upstream, provider: OpenRouterProvider) -> None:
    bad = [None, 7, "maker/model", [], {}, {"id": None}, {"id": ""}, {"id": "a\nb"}, {"id": "x" * 5000}, {"id": KEY}]
    twice = {**ENTRY, "name": "Another"}
    models = await listed(provider, upstream, *bad, ENTRY, *bad, twice)
    assert [(model.id, model.name) for model in models] == [("maker/model", "Maker: Model")]


async def test_the_models_are_listed_without_a_key(upstream: Upstream) -> None:
    provider = provider_for(upstream.url, key=None)
    assert await listed(provider, upstream, ENTRY)
    assert "authorization" not in upstream.requests[0].headers
    await provider.aclose()


# --- what a call has cost -------------------------------------------------------------------------------------------

RECORD = {
    "id": "gen-1",
    "total_cost": 0.25,
    "is_byok": False,
    "upstream_inference_cost": 0.25,
    "native_tokens_prompt": 10,
    "native_tokens_completion": 5,
    "native_tokens_reasoning": 3,
    "native_tokens_cached": 4,
    "cancelled": True,
}
USED = Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15, cached_tokens=4, reasoning_tokens=3, cost_usd=0.25)


async def recorded(provider: OpenRouterProvider, upstream: Upstream, **fields: object) -> Usage | None:
    upstream.answers(json_answer({"data": {**RECORD, **fields}}))
    return await provider.find_usage("gen-1")


async def test_the_record_of_a_call_tells_tokens_and_cost(upstream: Upstream, provider: OpenRouterProvider) -> None:
    assert provider.keeps_records
    assert await recorded(provider, upstream) == USED
    assert upstream.requests[0].head.startswith("GET /api/v1/generation?id=gen-1 HTTP/1.1\r\n")
    assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("fields", "cost"),
    [
        ({"total_cost": 0.01, "is_byok": True}, 0.26),
        ({"total_cost": 0.01, "is_byok": True, "upstream_inference_cost": None}, None),
        ({"total_cost": None}, None),
        ({"total_cost": "0.25"}, 0.25),
        ({"total_cost": 0}, 0),
        ({"total_cost": -1}, None),
    ],
)
async def test_a_cost_that_is_not_told_whole_is_unknown(
    upstream: Upstream, provider: OpenRouterProvider, fields: dict[str, Any], cost: float | None
) -> None:
    usage = await recorded(provider, upstream, **fields)
    assert usage is not None
    assert usage.cost_usd == cost


@pytest.mark.parametrize(
    "answer",
    [
        json_answer({"error": {"code": 404, "message": "Generation gen-1 not found"}}, "404 Not Found"),
        head("404 Not Found"),
        json_answer({"data": None}),
        json_answer({}),
    ],
)
async def test_a_call_that_is_not_recorded_yet_is_unknown(
    upstream: Upstream, provider: OpenRouterProvider, answer: bytes
) -> None:
    upstream.answers(answer)
    assert await provider.find_usage("gen-1") is None


async def test_without_a_key_nobody_is_asked(upstream: Upstream) -> None:
    provider = provider_for(upstream.url, key=None)
    with pytest.raises(LLMProviderAuthenticationError, match="OPENROUTER_API_KEY"):
        await provider.find_usage("gen-1")
    assert upstream.connections == 0
    await provider.aclose()


# --- either ---------------------------------------------------------------------------------------------------------

FAILURES: dict[str, tuple[Script, ErrorType]] = {
    "an error": ([json_answer({"error": {"code": 401, "message": "who?"}}, "401 No")], ErrorType.AUTHENTICATION),
    "an error at 200": ([json_answer({"error": {"code": 429, "message": "slow"}})], ErrorType.RATE_LIMIT),
    "a page": ([head(content_type="text/html"), b"<html>Hello</html>"], ErrorType.MALFORMED),
    "nothing": ([head()], ErrorType.MALFORMED),
    "a redirect": ([head("302 Found", Location="/")], ErrorType.MALFORMED),
    "no connection": ([Step.RESET], ErrorType.CONNECTION),
    "half a body": ([b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"data": ['], ErrorType.CONNECTION),
    "no head": ([Step.HANG], ErrorType.TIMEOUT),
    "no body": ([head(), Step.HANG], ErrorType.TIMEOUT),
    "a body without end": ([head(), *[b" ", 0.05] * 20], ErrorType.TIMEOUT),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_look_up_fails_with_a_typed_error(
    upstream: Upstream, hasty_provider: OpenRouterProvider, name: str
) -> None:
    script, error_type = FAILURES[name]
    for look_up in (hasty_provider.list_models, lambda: hasty_provider.find_usage("gen-1")):
        upstream.answers(*script)
        with pytest.raises(LLMProviderError) as caught:
            await look_up()
        assert caught.value.error_type is error_type


async def test_a_body_that_is_too_long_is_not_read_to_its_end(upstream: Upstream, provider: OpenRouterProvider) -> None:
    upstream.answers(head(), b"[" + b" " * 17 * 1024 * 1024, Step.HANG)
    with pytest.raises(LLMProviderError, match="too long") as caught:
        await provider.list_models()
    assert caught.value.error_type is ErrorType.MALFORMED


async def test_the_callers_own_time_limit_stays_the_callers(upstream: Upstream, provider: OpenRouterProvider) -> None:
    upstream.answers(Step.HANG)

    async def expire(limit: asyncio.Timeout) -> None:
        await upstream.request_came.wait()
        limit.reschedule(asyncio.get_running_loop().time())

    async def look_up_until_the_request_has_come() -> None:
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as others:
            others.create_task(expire(limit))
            await provider.list_models()

    with pytest.raises(TimeoutError):
        await look_up_until_the_request_has_come()
    async with asyncio.timeout(1):
        await upstream.client_left.wait()


@pytest.mark.parametrize(
    "answer",
    [
        json_answer({"error": {"code": KEY, "message": f"bad {KEY}", "metadata": {"raw": KEY}}}, "401 No"),
        json_answer({"error": f"bad {KEY}"}),
        f"HTTP/1.1 200 OK\r\nContent-Length: {KEY}\r\n\r\n".encode(),
        json_answer({"data": [{**ENTRY, "name": f"It is {KEY}"}]}),
    ],
)
async def test_a_look_up_does_not_give_the_key_away(
    upstream: Upstream, provider: OpenRouterProvider, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for look_up in (provider.list_models, lambda: provider.find_usage("gen-1")):
        upstream.answers(answer)
        try:
            told = repr(await look_up())
        except LLMProviderError as error:
            told = f"{error!r} {vars(error)} {error.__cause__!r}"
        assert not leaks(told + caplog.text)


WAIT = timedelta(seconds=5)
NAMES = ["data", "error", "id", "name", "context_length", "top_provider", "pricing", "prompt", "completion"]
NAMES += ["max_model_len", "total_cost", "is_byok", "native_tokens_prompt", "upstream_inference_cost", "code"]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
)
BODIES = st.binary() | JSON.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 100_000)


@given(status=st.sampled_from([200, 204, 302, 404, 429, 500, 599]), body=BODIES, generation_id=st.text())
@settings(deadline=None)
def test_any_bytes_are_an_answer_or_a_typed_error(status: int, body: bytes, generation_id: str) -> None:
    async def look_up() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(status, stream=httpx.ByteStream(body)))
        async with httpx.AsyncClient(transport=transport) as client:
            provider = OpenRouterProvider(
                api_key=SecretStr(KEY),
                base_url="http://upstream.test/v1",
                default_model="m",
                first_token_timeout=WAIT,
                stall_timeout=WAIT,
                client=client,
            )
            with suppress(LLMProviderError):
                assert all(isinstance(model, ModelInfo) for model in await provider.list_models())
            with suppress(LLMProviderError):
                usage = await provider.find_usage(generation_id)
                assert usage is None or usage != Usage()

    asyncio.run(look_up())
