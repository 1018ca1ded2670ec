"""The provider against a scripted upstream: what is sent, when it gives up, and what it never gives away."""

import asyncio
import traceback
from contextlib import aclosing
from datetime import timedelta

import httpx
import pytest
from pydantic import SecretStr

from core.orchestrator.errors import (
    ConfigurationError,
    ErrorType,
    LLMProviderAuthenticationError,
    LLMProviderConnectionError,
    LLMProviderError,
    LLMProviderInvalidRequestError,
)
from core.orchestrator.providers.base import CallAccepted, ChatCompletion
from core.orchestrator.providers.http import build_http_client
from core.orchestrator.providers.openrouter import OpenRouterProvider
from tests.core.orchestrator.providers.conftest import (
    DONE,
    HELLO,
    KEY,
    Script,
    Step,
    Told,
    Upstream,
    collect,
    delta,
    event,
    failure_of,
    head,
    json_answer,
    leaks,
    listening,
    provider_for,
)

ANSWER = [event(delta("Hello")), event(delta("", "stop")), DONE]


def chunked(*parts: bytes) -> bytes:
    """Return a whole answer that leaves the connection open."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + body


# --- the request ----------------------------------------------------------------------------------------------------


async def test_the_request_is_one_streaming_call_to_one_model(upstream: Upstream, provider: OpenRouterProvider) -> None:
    upstream.answers(head(), *ANSWER)
    completion = await provider.generate_chat_completion(HELLO, "maker/other", 0.2, 99)
    assert completion.content == "Hello"
    (request,) = upstream.requests
    assert request.body == {
        "model": "maker/other",
        "messages": HELLO,
        "temperature": 0.2,
        "max_tokens": 99,
        "stream": True,
    }
    assert request.head.startswith("POST /api/v1/chat/completions HTTP/1.1\r\n")
    sent = request.headers
    assert sent["authorization"] == f"Bearer {KEY}"
    assert sent["content-type"] == "application/json"
    assert sent["http-referer"]
    assert sent["x-openrouter-title"] == "AI Orchestration System"


async def test_the_default_model_is_asked_and_max_tokens_left_to_it(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    upstream.answers(head(), *ANSWER)
    await collect(provider)
    assert upstream.requests[0].body["model"] == "maker/model"
    assert "max_tokens" not in upstream.requests[0].body


async def test_parameters_are_sent_as_they_are(upstream: Upstream, provider: OpenRouterProvider) -> None:
    parameters = {"top_p": 0.5, "stop": ["\n"], "response_format": {"type": "json_object"}, "tools": [{"a": None}]}
    upstream.answers(head(), *ANSWER)
    await provider.generate_chat_completion(HELLO, "maker/other", 0.2, parameters=parameters)
    assert upstream.requests[0].body == {
        "model": "maker/other",
        "messages": HELLO,
        "temperature": 0.2,
        "stream": True,
        **parameters,
    }


async def test_no_parameter_changes_what_is_asked_of_whom_and_how_it_is_read(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    names = ("model", "models", "route", "messages", "temperature", "max_tokens", "max_completion_tokens", "n")
    how_read = ("stream", "stream_options", "usage")
    upstream.answers(head(), *ANSWER)
    await provider.generate_chat_completion(HELLO, parameters={"top_k": 1, **dict.fromkeys((*names, *how_read), 7)})
    assert upstream.requests[0].body == {
        "model": "maker/model",
        "messages": HELLO,
        "temperature": 0.7,
        "stream": True,
        "top_k": 1,
    }


async def test_a_lone_surrogate_in_a_message_is_no_obstacle(upstream: Upstream, provider: OpenRouterProvider) -> None:
    upstream.answers(head(), *ANSWER)
    await provider.generate_chat_completion([{"role": "user", "content": "\ud83d"}])
    assert upstream.requests[0].body["messages"] == [{"role": "user", "content": "\ud83d"}]


async def test_parameters_that_are_no_json_are_refused_without_a_call(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    with pytest.raises(LLMProviderInvalidRequestError, match="cannot be written as JSON"):
        await provider.generate_chat_completion(HELLO, parameters={"top_p": float("nan")})
    assert upstream.connections == 0


async def test_messages_that_are_no_json_are_refused_without_a_call(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    with pytest.raises(LLMProviderInvalidRequestError, match="cannot be written as JSON"):
        await provider.generate_chat_completion([{"role": "user", "content": object()}])
    assert upstream.connections == 0


@pytest.mark.parametrize("key", [None, "", "  \n", "schlüssel", "two\nlines"])
async def test_without_a_usable_key_there_is_no_call(upstream: Upstream, key: str | None) -> None:
    provider = provider_for(upstream.url, key=key)
    with pytest.raises(LLMProviderAuthenticationError, match="OPENROUTER_API_KEY") as caught:
        await provider.generate_chat_completion(HELLO)
    assert upstream.connections == 0
    assert caught.value.may_be_billed is False
    await provider.aclose()


@pytest.mark.parametrize(
    "base_url", ["", "openrouter.ai/api/v1", "ftp://openrouter.ai", "http://", "http://[::1", "http://xn--a/v1"]
)
def test_a_base_url_that_is_no_address_is_a_configuration_error(base_url: str) -> None:
    with pytest.raises(ConfigurationError, match="OPENROUTER_BASE_URL"):
        OpenRouterProvider(
            api_key=SecretStr(KEY),
            base_url=base_url,
            default_model="m",
            first_token_timeout=timedelta(seconds=1),
            stall_timeout=timedelta(seconds=1),
        )


# --- failures -------------------------------------------------------------------------------------------------------


async def test_an_http_error_is_classified_and_tried_once_only(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    body = {"error": {"code": 429, "message": "slow down"}}
    upstream.answers(json_answer(body, "429 Too Many Requests", Retry_After="7", X_Generation_Id="gen-7"))
    error = await failure_of(provider)
    assert (error.error_type, error.http_status, error.error_code) == (ErrorType.RATE_LIMIT, 429, "429")
    assert error.posture.retry_after == timedelta(seconds=7)
    assert error.generation_id == "gen-7"
    assert upstream.connections == 1


@pytest.mark.parametrize("ending", [Step.RESET, Step.HANG])
async def test_the_status_alone_classifies_when_its_body_never_comes(
    upstream: Upstream, hasty_provider: OpenRouterProvider, ending: Step
) -> None:
    upstream.answers(head("503 Service Unavailable", "text/html"), b"<html>", 0.01, ending)
    assert (await failure_of(hasty_provider)).error_type is ErrorType.UNAVAILABLE


async def test_a_closed_port_is_unreachable_and_free() -> None:
    async with listening() as upstream:
        pass
    provider = provider_for(upstream.url)
    error = await failure_of(provider)
    assert isinstance(error, LLMProviderConnectionError)
    assert (error.posture.tries, error.may_be_billed, error.http_status) == (3, False, None)
    await provider.aclose()


async def test_a_failed_handshake_is_unreachable_and_free() -> None:
    async def speak_no_tls(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(speak_no_tls, "127.0.0.1", 0) as server:
        provider = provider_for(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        error = await failure_of(provider)
        await provider.aclose()
    assert error.error_type is ErrorType.CONNECTION
    assert (error.posture.tries, error.may_be_billed) == (3, False)


@pytest.mark.parametrize("script", [[], [Step.RESET]])
async def test_a_connection_that_breaks_after_the_request_may_be_billed(
    upstream: Upstream, provider: OpenRouterProvider, script: list[Step]
) -> None:
    upstream.answers(*script)
    error = await failure_of(provider)
    assert error.error_type is ErrorType.CONNECTION
    assert (error.posture.tries, error.may_be_billed) == (2, True)
    assert len(upstream.requests) == 1


async def test_what_is_no_http_is_a_connection_error(upstream: Upstream, provider: OpenRouterProvider) -> None:
    upstream.answers(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    assert (await failure_of(provider)).error_type is ErrorType.CONNECTION


@pytest.mark.parametrize(
    "start",
    [head(X_Generation_Id="gen-3"), chunked().replace(b"\r\n\r\n", b"\r\nX-Generation-Id: gen-3\r\n\r\n")],
    ids=["no length", "chunked"],
)
@pytest.mark.parametrize("ending", [[], [0.01, Step.RESET]], ids=["close", "reset"])
async def test_a_stream_cut_in_the_middle_is_truncated_and_keeps_its_generation_id(
    upstream: Upstream, provider: OpenRouterProvider, start: bytes, ending: list[float | Step]
) -> None:
    first = event(delta("Hel"))
    upstream.answers(start, b"%x\r\n%s\r\n" % (len(first), first) if b"chunked" in start else first, *ending)
    error = await failure_of(provider)
    assert isinstance(error, LLMProviderConnectionError)
    assert (error.error_type, error.generation_id) == (ErrorType.TRUNCATED, "gen-3")
    assert (error.posture.tries, error.may_be_billed) == (2, True)


# --- time -----------------------------------------------------------------------------------------------------------

COMMENT = b": OPENROUTER PROCESSING\n\n"


@pytest.mark.parametrize(
    "script",
    [
        [Step.HANG],
        [head(), Step.HANG],
        [head(), *[COMMENT, 0.04] * 20],
        [head(content_type="application/json"), *[b" \n", 0.04] * 20],
        [head(), *[b"event: ping\n\n", 0.04] * 20],
    ],
    ids=["no head", "no body", "comments", "blanks before JSON", "events without data"],
)
async def test_no_data_in_time_is_a_timeout_whatever_keeps_the_line_alive(
    upstream: Upstream, hasty_provider: OpenRouterProvider, script: Script
) -> None:
    upstream.answers(*script)
    error = await failure_of(hasty_provider)
    assert error.error_type is ErrorType.TIMEOUT
    assert (error.posture.tries, error.may_be_billed) == (2, True)


@pytest.mark.parametrize(
    "script",
    [
        [head(), event(delta("Hi")), Step.HANG],
        [head(), event(delta("Hi")), *[COMMENT, 0.04] * 20],
        [head(content_type="application/json"), b'{"choices"', *[b" ", 0.04] * 20],
    ],
    ids=["silence", "comments", "blanks within JSON"],
)
async def test_no_further_data_in_time_is_a_stall_whatever_keeps_the_line_alive(
    upstream: Upstream, hasty_provider: OpenRouterProvider, script: Script
) -> None:
    upstream.answers(*script)
    error = await failure_of(hasty_provider)
    assert error.error_type is ErrorType.STALLED
    assert (error.posture.tries, error.may_be_billed) == (2, True)


async def test_a_slow_stream_that_keeps_sending_data_is_not_stalled(
    upstream: Upstream, hasty_provider: OpenRouterProvider
) -> None:
    slowly: Script = [event(delta("x")), 0.05]
    upstream.answers(head(), *slowly * 6, *ANSWER)
    _, completion = await collect(hasty_provider)
    assert completion.content == "xxxxxxHello"


async def test_a_slow_consumer_does_not_make_the_upstream_look_stalled(
    upstream: Upstream, hasty_provider: OpenRouterProvider
) -> None:
    upstream.answers(head(), event(delta("a")), 0.05, *ANSWER)
    async for piece in hasty_provider.stream_chat_completion(HELLO):
        if piece == "a":
            await asyncio.sleep(0.25)
    assert isinstance(piece, ChatCompletion)


# --- leaving --------------------------------------------------------------------------------------------------------


async def test_closing_the_iterator_closes_the_connection(upstream: Upstream, provider: OpenRouterProvider) -> None:
    upstream.answers(head(), event(delta("Hi")), Step.HANG)
    async with aclosing(provider.stream_chat_completion(HELLO)) as pieces:
        assert [await anext(pieces), await anext(pieces)] == [CallAccepted("gen-1"), "Hi"]
    async with asyncio.timeout(1):
        await upstream.client_left.wait()


@pytest.mark.parametrize("script", [[Step.HANG], [head(), Step.HANG], [head(), event(delta("Hi")), Step.HANG]])
async def test_cancellation_passes_through_and_closes_the_connection(
    upstream: Upstream, provider: OpenRouterProvider, script: list[bytes | Step]
) -> None:
    upstream.answers(*script)
    call = asyncio.create_task(provider.generate_chat_completion(HELLO))
    await upstream.request_came.wait()
    await asyncio.sleep(0.02)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(1):
        await upstream.client_left.wait()


async def test_the_callers_own_timeout_stays_the_callers(upstream: Upstream, provider: OpenRouterProvider) -> None:
    upstream.answers(head(), event(delta("Hi")), Step.HANG)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await provider.generate_chat_completion(HELLO)


@pytest.mark.parametrize("gap", [0.0, 0.02])
async def test_a_finished_stream_leaves_its_connection_to_the_next_call(
    upstream: Upstream, provider: OpenRouterProvider, gap: float
) -> None:
    for _ in range(3):
        upstream.answers(chunked(*ANSWER), gap, b"0\r\n\r\n", Step.KEEP_OPEN)
        await collect(provider)
    assert upstream.connections == 1


async def test_a_body_that_never_ends_after_done_delays_nobody(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    upstream.answers(chunked(*ANSWER), Step.HANG)
    async with asyncio.timeout(1):
        await collect(provider)
        await upstream.client_left.wait()


async def test_hundreds_of_streams_run_at_the_same_time(upstream: Upstream, provider: OpenRouterProvider) -> None:
    for _ in range(300):
        upstream.answers(head(), event(delta("a")), 0.5, *ANSWER)
    completions = await asyncio.gather(*(provider.generate_chat_completion(HELLO) for _ in range(300)))
    assert {completion.content for completion in completions} == {"aHello"}
    assert upstream.most_at_once > 250


async def test_a_client_that_was_passed_in_is_not_closed(upstream: Upstream) -> None:
    async with build_http_client() as client:
        provider = OpenRouterProvider(
            api_key=SecretStr(KEY),
            base_url=upstream.url,
            default_model="m",
            first_token_timeout=timedelta(seconds=1),
            stall_timeout=timedelta(seconds=1),
            client=client,
        )
        await provider.aclose()
        assert not client.is_closed


async def test_a_mocked_transport_serves_as_well() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=httpx.ByteStream(b"".join(ANSWER))))
    async with httpx.AsyncClient(transport=transport) as client:
        provider = OpenRouterProvider(
            api_key=SecretStr(KEY),
            base_url="http://upstream.test/v1/",
            default_model="m",
            first_token_timeout=timedelta(seconds=1),
            stall_timeout=timedelta(seconds=1),
            client=client,
        )
        assert (await provider.generate_chat_completion(HELLO)).content == "Hello"


# --- the id of a call ------------------------------------------------------------------------------------------------


async def test_the_id_is_told_before_the_first_data_where_the_head_knows_it(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    upstream.answers(head(X_Generation_Id="gen-7"), Step.HANG)
    async with aclosing(provider.stream_chat_completion(HELLO)) as pieces:
        assert await anext(pieces) == CallAccepted("gen-7")


async def test_the_head_outranks_the_chunks_and_the_id_is_told_once(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    upstream.answers(head(X_Generation_Id="gen-7"), *ANSWER)
    told = Told()
    await told.listen(provider)
    assert told.accepted == ["gen-7"]
    assert told.completion is not None
    assert told.completion.generation_id == "gen-7"


async def test_the_first_chunk_tells_the_id_also_of_a_call_that_breaks(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    upstream.answers(head(), event(delta("Hi")), event(delta("Hi", id="gen-other")))
    told = Told()
    with pytest.raises(LLMProviderError) as caught:
        await told.listen(provider)
    assert told.accepted == ["gen-1"]
    assert caught.value.generation_id == "gen-1"


@pytest.mark.parametrize("start", [head(), head("503 Oh", X_Generation_Id="gen-7")])
async def test_a_call_that_was_not_taken_has_no_id_to_tell(
    upstream: Upstream, provider: OpenRouterProvider, start: bytes
) -> None:
    upstream.answers(start)
    told = Told()
    with pytest.raises(LLMProviderError):
        await told.listen(provider)
    assert told.accepted == []


# --- secrets --------------------------------------------------------------------------------------------------------

ECHO = {"code": KEY, "message": f"bad key: {KEY}", "metadata": {"raw": f"Bearer {KEY[:24]}", "provider_name": KEY}}
HOSTILE: list[bytes] = [
    json_answer({"error": ECHO}, "401 Unauthorized", X_Generation_Id=KEY),
    json_answer({"error": {**ECHO, "message": "x" * 140 + KEY}}, "500 Oh"),
    json_answer({"error": ECHO}),
    head(X_Generation_Id=KEY) + event({"error": ECHO, "choices": []}),
    head(X_Generation_Id=KEY) + event(delta("", KEY)) + DONE,
    head() + event({"choices": [{"error": KEY}]}),
    f"HTTP/1.1 2x0 {KEY}\r\n{KEY}\r\n\r\n".encode(),
    f"HTTP/1.1 200 OK\r\nContent-Length: {KEY}\r\n\r\n".encode(),
]


@pytest.mark.parametrize("answer", HOSTILE)
async def test_an_upstream_that_echoes_the_key_leaks_nothing(
    upstream: Upstream, provider: OpenRouterProvider, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.answers(answer)
    error = await failure_of(provider)
    told = [str(error), repr(error), str(vars(error)), "".join(traceback.format_exception(error)), caplog.text]
    assert error.__cause__ is None
    for text in told:
        assert not leaks(text), text


@pytest.mark.parametrize("width", [1, 7, 8, len(KEY), 2 * len(KEY)])
async def test_the_key_in_a_text_is_redacted_however_it_is_cut(
    upstream: Upstream, provider: OpenRouterProvider, width: int
) -> None:
    said = f"My key is {KEY}, and {KEY}{KEY}. sk-or-v1 is how such keys begin, sk"
    cut = [said[start : start + width] for start in range(0, len(said), width)]
    upstream.answers(head(), *(event(delta(part)) for part in cut), event(delta("", "stop")), DONE)
    _, completion = await collect(provider)
    hidden = "[redacted]"
    assert completion.content == f"My key is {hidden}, and {hidden}{hidden}. sk-or-v1 is how such keys begin, sk"


async def test_the_key_in_a_refusal_is_redacted(upstream: Upstream, provider: OpenRouterProvider) -> None:
    upstream.answers(head(), event({"choices": [{"delta": {"refusal": f"not with {KEY}"}, "finish_reason": "stop"}]}))
    _, completion = await collect(provider)
    assert completion.content == "not with [redacted]"


async def test_the_text_before_a_break_is_shown_to_its_last_character(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    upstream.answers(head(), event(delta("So it is")))
    told = Told()
    with pytest.raises(LLMProviderError):
        await told.listen(provider)
    assert "".join(told.pieces) == "So it is"


async def test_a_text_that_breaks_off_deep_within_the_key_does_not_show_it(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    upstream.answers(head(), event(delta(f"It is {KEY[:-1]}")))
    told = Told()
    with pytest.raises(LLMProviderError):
        await told.listen(provider)
    assert "".join(told.pieces) == "It is [redacted]"


@pytest.mark.parametrize("start", [head(), head(X_Generation_Id=KEY)])
async def test_the_labels_of_a_good_answer_do_not_hold_the_key(
    upstream: Upstream, provider: OpenRouterProvider, start: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    labels = {"id": KEY, "model": f"maker/{KEY}", "provider": f"{KEY[:20]}…"}
    upstream.answers(start, event(delta("Hi", **labels)), event(delta("", KEY, **labels)), DONE)
    _, completion = await collect(provider)
    assert completion.content == "Hi"
    assert completion.generation_id is None
    assert (completion.model, completion.finish_reason) == ("maker/[redacted]", "[redacted]")
    assert not leaks(repr(completion) + caplog.text)


async def test_an_id_without_the_key_is_found_behind_one_with_it(
    upstream: Upstream, provider: OpenRouterProvider
) -> None:
    upstream.answers(head(X_Generation_Id=KEY), *ANSWER)
    _, completion = await collect(provider)
    assert completion.generation_id == "gen-1"


async def test_an_unknown_model_is_logged_as_an_error(
    upstream: Upstream, provider: OpenRouterProvider, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.answers(json_answer({"error": {"code": 400, "message": "x is not a valid model ID"}}, "400 Bad Request"))
    with pytest.raises(LLMProviderError):
        await provider.generate_chat_completion(HELLO, "maker/none")
    assert "maker/none" in caplog.text
