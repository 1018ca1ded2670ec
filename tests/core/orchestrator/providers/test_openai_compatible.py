"""A server that speaks OpenAI's chat API, scripted to answer as OpenAI, Ollama and vLLM do."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from pydantic import SecretStr

from core.orchestrator.application import register_further_providers
from core.orchestrator.config import Settings
from core.orchestrator.contracts import Usage
from core.orchestrator.errors import (
    ConfigurationError,
    ErrorType,
    LLMProviderAuthenticationError,
    LLMProviderModelError,
    NextStep,
)
from core.orchestrator.providers.openai_compatible import OpenAICompatibleProvider
from core.orchestrator.providers.registry import get_llm_provider, split_model_name
from tests.core.orchestrator.providers.conftest import (
    DONE,
    HELLO,
    KEY,
    Upstream,
    collect,
    event,
    failure_of,
    head,
    json_answer,
)


def make(url: str, key: str | None = None) -> OpenAICompatibleProvider:
    return OpenAICompatibleProvider(
        "ollama",
        url,
        api_key=SecretStr(key) if key is not None else None,
        first_token_timeout=timedelta(seconds=5),
        stall_timeout=timedelta(seconds=5),
    )


@pytest.fixture
async def server(upstream: Upstream) -> AsyncIterator[OpenAICompatibleProvider]:
    provider = make(upstream.url)
    yield provider
    await provider.aclose()


def chunk(content: str = "", finish_reason: str | None = None) -> dict[str, object]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "llama3", "choices": [choice]}


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ANSWER = [event(chunk("Hel")), event(chunk("lo", "stop")), event({**chunk(), "choices": [], "usage": USAGE}), DONE]


async def test_a_server_without_a_key_is_called_without_one_and_asked_for_usage(
    upstream: Upstream, server: OpenAICompatibleProvider
) -> None:
    upstream.answers(head(), *ANSWER)
    await server.generate_chat_completion(HELLO, "llama3", 0.2, 99)
    (request,) = upstream.requests
    assert request.head.startswith("POST /api/v1/chat/completions HTTP/1.1\r\n")
    assert request.body == {
        "model": "llama3",
        "messages": HELLO,
        "temperature": 0.2,
        "max_tokens": 99,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert not {"authorization", "http-referer", "x-openrouter-title"} & request.headers.keys()


async def test_parameters_are_sent_beside_the_wish_for_usage(
    upstream: Upstream, server: OpenAICompatibleProvider
) -> None:
    upstream.answers(head(), *ANSWER)
    await collect(server, "llama3", seed=3, stream_options={"include_usage": False})
    assert upstream.requests[0].body["seed"] == 3
    assert upstream.requests[0].body["stream_options"] == {"include_usage": True}


async def test_a_server_with_a_key_is_called_with_it(upstream: Upstream) -> None:
    provider = make(upstream.url, KEY)
    upstream.answers(head(), *ANSWER)
    await collect(provider, "llama3")
    assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"
    await provider.aclose()


async def test_its_answer_is_read_with_tokens_and_an_unknown_cost(
    upstream: Upstream, server: OpenAICompatibleProvider
) -> None:
    upstream.answers(head(), *ANSWER)
    pieces, completion = await collect(server, "llama3")
    assert pieces == ["Hel", "lo"]
    assert completion.usage == Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5, cost_usd=None)
    assert (completion.model, completion.finish_reason, completion.generation_id) == ("llama3", "stop", "chatcmpl-1")
    assert completion.upstream_provider is None


async def test_a_cost_that_it_does_report_is_kept(upstream: Upstream, server: OpenAICompatibleProvider) -> None:
    upstream.answers(head(), event({**chunk("Hi", "stop"), "usage": {**USAGE, "cost": 0.25}}), DONE)
    _, completion = await collect(server, "llama3")
    assert completion.usage is not None
    assert completion.usage.cost_usd == 0.25


async def test_without_a_model_there_is_no_call(upstream: Upstream, server: OpenAICompatibleProvider) -> None:
    with pytest.raises(LLMProviderModelError, match="no default model: name one, as in ollama:model") as caught:
        await server.generate_chat_completion(HELLO)
    assert caught.value.error_type is ErrorType.MODEL_NOT_FOUND
    assert caught.value.may_be_billed is False
    assert upstream.connections == 0


async def test_an_unusable_key_names_its_setting_and_is_not_sent(upstream: Upstream) -> None:
    provider = make(upstream.url, "schlüssel")
    with pytest.raises(LLMProviderAuthenticationError, match="LLM_PROVIDER_KEYS: the key of ollama"):
        await provider.generate_chat_completion(HELLO, "llama3")
    assert upstream.connections == 0
    await provider.aclose()


def test_an_address_that_is_none_names_its_setting() -> None:
    with pytest.raises(ConfigurationError, match="LLM_PROVIDERS: the address of ollama"):
        make("http://")


async def test_an_error_in_openais_form_is_classified(upstream: Upstream, server: OpenAICompatibleProvider) -> None:
    body = {"error": {"message": "You have no quota", "type": "insufficient_quota", "code": "insufficient_quota"}}
    upstream.answers(json_answer(body, "429 Too Many Requests"))
    error = await failure_of(server, "gpt-4")
    assert (error.error_type, error.posture.then) == (ErrorType.CREDIT, NextStep.NEXT_PROVIDER)
    assert (error.http_status, error.error_code) == (429, "insufficient_quota")
    assert "You have no quota" in str(error)


async def test_an_error_in_ollamas_form_is_classified(
    upstream: Upstream, server: OpenAICompatibleProvider, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.answers(json_answer({"error": "model 'llama9' not found, try pulling it first"}, "404 Not Found"))
    error = await failure_of(server, "llama9")
    assert (error.error_type, error.posture.then) == (ErrorType.MODEL_NOT_FOUND, NextStep.NEXT_MODEL)
    assert "try pulling it first" in str(error)
    assert "ollama cannot serve the model llama9" in caplog.text


async def test_its_models_are_listed_with_what_it_tells_of_them(
    upstream: Upstream, server: OpenAICompatibleProvider
) -> None:
    listing = [{"id": "llama3", "object": "model", "owned_by": "library"}, {"id": "qwen", "max_model_len": 8192}]
    upstream.answers(json_answer({"object": "list", "data": listing}))
    models = await server.list_models()
    assert [(model.id, model.context_length, model.prompt_usd) for model in models] == [
        ("llama3", None, None),
        ("qwen", 8192, None),
    ]
    assert upstream.requests[0].head.startswith("GET /api/v1/models HTTP/1.1\r\n")
    assert "authorization" not in upstream.requests[0].headers


async def test_it_keeps_no_records(upstream: Upstream, server: OpenAICompatibleProvider) -> None:
    assert server.keeps_records is False
    assert await server.find_usage("chatcmpl-1") is None
    assert upstream.connections == 0


async def test_the_settings_make_a_provider_of_each_server(upstream: Upstream) -> None:
    settings = Settings(
        _env_file=None,
        LLM_PROVIDERS={"test-ollama": upstream.url, "test-vllm": f"{upstream.url}/vllm/"},
        LLM_PROVIDER_KEYS={"test-vllm": SecretStr(KEY)},
    )
    register_further_providers(settings)
    for name, path, authorization in (
        ("test-ollama", "/api/v1/chat/completions", None),
        ("test-vllm", "/api/v1/vllm/chat/completions", f"Bearer {KEY}"),
    ):
        provider_name, model = split_model_name(f"{name}:llama3:8b")
        provider = get_llm_provider(provider_name)
        assert (provider.provider_name, model) == (name, "llama3:8b")
        upstream.answers(head(), *ANSWER)
        await collect(provider, model)
        assert upstream.requests[-1].head.startswith(f"POST {path} HTTP/1.1\r\n")
        assert upstream.requests[-1].headers.get("authorization") == authorization
        await provider.aclose()
