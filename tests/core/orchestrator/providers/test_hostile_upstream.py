"""An upstream that means harm, or is broken in a way that harms: cookies, compressed bodies, events without end."""

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable

import pytest

from core.orchestrator.errors import ErrorType, LLMProviderError
from core.orchestrator.providers.openrouter import OpenRouterProvider
from tests.core.orchestrator.providers.conftest import (
    DONE,
    HELLO,
    KEY,
    Script,
    Step,
    Upstream,
    collect,
    delta,
    event,
    failure_of,
    head,
    json_answer,
    provider_for,
)

ANSWER = event(delta("Hello")) + event(delta("", "stop")) + DONE
MIB = 1024 * 1024

REQUESTS: dict[str, tuple[Callable[[OpenRouterProvider], Awaitable[object]], bytes]] = {
    "chat": (lambda provider: provider.generate_chat_completion(HELLO), ANSWER),
    "models": (lambda provider: provider.list_models(), b'{"data": []}'),
    "generation": (lambda provider: provider.find_usage("gen-1"), b'{"data": {"id": "gen-1", "total_cost": 0.5}}'),
}


async def error_of(call: Awaitable[object]) -> LLMProviderError:
    with pytest.raises(LLMProviderError) as caught:
        await call
    return caught.value


# --- cookies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("cookie", ["sid=user-1; Path=/", "sid=a\x01b", "\x01bad=1", "sid=" + "c" * 7000])
async def test_no_cookie_outlives_its_answer(
    upstream: Upstream, provider: OpenRouterProvider, name: str, cookie: str
) -> None:
    ask, body = REQUESTS[name]
    for _ in range(3):
        upstream.answers(head(Set_Cookie=cookie) + body)
        await ask(provider)
    assert len(upstream.requests) == 3
    assert not any("cookie" in request.headers for request in upstream.requests)


@pytest.mark.parametrize("host", ["127.0.0.1:99999", "a..b", "a" * 70, "1.2.3.4.5"])
async def test_a_request_that_the_client_cannot_send_is_unreachable_and_free(host: str) -> None:
    provider = provider_for(f"http://{host}/v1")
    error = await failure_of(provider)
    assert (error.error_type, error.may_be_billed) == (ErrorType.CONNECTION, False)
    assert (await error_of(provider.list_models())).error_type is ErrorType.CONNECTION
    await provider.aclose()


async def test_a_head_that_the_client_cannot_take_in_may_be_billed(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    upstream.answers(b"HTTP/1.1 200 \xff\xfe\r\nConnection: close\r\n\r\n" + ANSWER)
    error = await failure_of(provider)
    assert (error.error_type, error.may_be_billed) == (ErrorType.CONNECTION, True)


# --- compressed bodies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REQUESTS)
async def test_nothing_compressed_is_asked_for(upstream: Upstream, provider: OpenRouterProvider, name: str) -> None:
    ask, body = REQUESTS[name]
    upstream.answers(head() + body)
    await ask(provider)
    assert upstream.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip, gzip", "identity, GZip", "deflate", "br", "zstd", "new"])
async def test_a_compressed_answer_is_malformed_and_never_unpacked(
    upstream: Upstream, provider: OpenRouterProvider, name: str, encoding: str
) -> None:
    ask, body = REQUESTS[name]
    packed = body
    for _ in range(encoding.lower().count("gzip")):
        packed = gzip.compress(packed)
    upstream.answers(head(Content_Encoding=encoding, X_Generation_Id="gen-1") + packed, Step.HANG)
    error = await error_of(ask(provider))
    assert (error.error_type, error.generation_id) == (ErrorType.MALFORMED, "gen-1")
    async with asyncio.timeout(1):
        await upstream.client_left.wait()


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("encoding", ["identity", "Identity, identity", ""])
async def test_an_answer_that_is_said_to_be_plain_is_read(
    upstream: Upstream, provider: OpenRouterProvider, name: str, encoding: str
) -> None:
    ask, body = REQUESTS[name]
    upstream.answers(head(Content_Encoding=encoding) + body)
    await ask(provider)


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_compressed_refusal_is_classified_by_its_status_alone(
    upstream: Upstream, provider: OpenRouterProvider, name: str
) -> None:
    ask, _ = REQUESTS[name]
    said = gzip.compress(b'{"error": {"code": 401, "message": "who?"}}')
    upstream.answers(head("429 Slow", Content_Encoding="gzip", Retry_After="7") + said, Step.HANG)
    error = await error_of(ask(provider))
    assert (error.error_type, error.http_status) == (ErrorType.RATE_LIMIT, 429)
    assert error.posture.retry_after is not None


# --- events without end ---------------------------------------------------------------------------------------------

ENDLESS: dict[str, Script] = {
    "a line": [b"data: " + b"a" * 17 * MIB],
    "a line after an answer's beginning": [event(delta("Hi")), b"data: " + b"a" * 17 * MIB],
    "lines": [(b"data: " + b"a" * 1000 + b"\n") * (17 * 1024)],
    "short lines": [b"data:\n" * (3 * MIB)],
    "a comment": [b": " + b"a" * 17 * MIB],
    "a field nobody knows": [(b"new: " + b"a" * 1000 + b"\r\n") * (17 * 1024)],
    "small events": [(b":" + b"a" * MIB + b"\n\n")] * 130,
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_an_event_without_end_is_malformed_and_delays_nobody(
    upstream: Upstream, provider: OpenRouterProvider, name: str
) -> None:
    upstream.answers(head(), *ENDLESS[name], Step.HANG)
    call = asyncio.create_task(failure_of(provider))
    longest, before = 0.0, time.monotonic()
    while not call.done():
        await asyncio.wait([call], timeout=0.01)
        longest, before = max(longest, time.monotonic() - before), time.monotonic()
    error = await call
    assert error.error_type is ErrorType.MALFORMED
    assert "too long" in str(error)
    assert longest < 1
    async with asyncio.timeout(1):
        await upstream.client_left.wait()


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r\n", b"\r\n\n"])
async def test_comments_and_events_of_any_framing_may_be_long_together(
    upstream: Upstream, provider: OpenRouterProvider, end: bytes
) -> None:
    long_comment = b":" + b"a" * 6 * MIB  # three of them are longer than one event may be
    upstream.answers(head(), *[long_comment, end[:1], 0.01, end[1:]] * 3, ANSWER)
    _, completion = await collect(provider)
    assert completion.content == "Hello"


# --- the key, and the record of a call ------------------------------------------------------------------------------


async def test_the_key_is_taken_out_of_an_error_in_any_case(upstream: Upstream) -> None:
    key = "sk-proj-AbCdEfGhIjKlMnOpQrStUvWxYz"
    provider = provider_for(upstream.url, key=key)
    echoes = {"code": key, "type": key, "message": key.upper(), "metadata": {"error_type": key, "raw": key.lower()}}
    upstream.answers(json_answer({"error": echoes}, "401 Unauthorized"))
    error = await failure_of(provider)
    told = f"{error!r} {vars(error)}".lower()
    assert not any(key.lower()[at : at + 8] in told for at in range(len(key) - 7))
    await provider.aclose()


@pytest.mark.parametrize("other", ["gen-somebody-else", "GEN-1", "gen-1 ", "", 1, ["gen-1"], KEY])
async def test_the_record_of_another_call_is_not_believed(
    upstream: Upstream, provider: OpenRouterProvider, other: object
) -> None:
    upstream.answers(json_answer({"data": {"id": other, "total_cost": 99}}))
    assert await provider.find_usage("gen-1") is None


# --- half an event, and a whole one that is none ---------------------------------------------------------------------


@pytest.mark.parametrize("pause", [[], [0.02]], ids=["in one piece", "in two"])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n"])
async def test_a_last_event_that_is_no_json_is_malformed_where_it_is_whole(
    upstream: Upstream, provider: OpenRouterProvider, pause: list[float], end: bytes
) -> None:
    half = b'data: {"choices": ['
    upstream.answers(head() + event(delta("Hi")), *pause, half + end)
    assert (await failure_of(provider)).error_type is ErrorType.MALFORMED
    upstream.answers(head() + event(delta("Hi")), *pause, half)
    assert (await failure_of(provider)).error_type is ErrorType.TRUNCATED
