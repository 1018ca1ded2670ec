"""What is known of every request from outside: its id, and how long it took, under one of few names."""

import logging

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from structlog.contextvars import get_contextvars

from api.observing import Observed
from core.orchestrator.telemetry.metrics import Metrics

COUNT = "http_server_request_duration_seconds_count"


def _front(metrics: Metrics) -> httpx.AsyncClient:
    app = FastAPI()

    @app.get("/things/{name}")
    async def thing(name: str) -> str:
        if name == "broken":
            raise RuntimeError(name)
        return str(get_contextvars()["request_id"])

    transport = httpx.ASGITransport(Observed(app, metrics, None), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def _counted(metrics: Metrics) -> dict[tuple[str, str, str], float]:
    return {
        (sample.labels["http_request_method"], sample.labels["http_route"], sample.labels["status_class"]): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name == COUNT
    }


async def test_requests_are_counted_by_route_however_many_paths_are_asked_for() -> None:
    metrics = Metrics()
    async with _front(metrics) as client:
        for number in range(200):
            await client.get(f"/things/{number}")
            await client.get(f"/nothing/{number}")
            await client.request(f"METHOD{number}", "/things/1")
        await client.get("/things/broken")
    assert _counted(metrics) == {
        ("GET", "/things/{name}", "2xx"): 200,
        ("GET", "/things/{name}", "5xx"): 1,
        ("GET", "unmatched", "4xx"): 200,
        ("_OTHER", "/things/{name}", "4xx"): 200,
    }


@pytest.mark.parametrize("sent", ["a", "0198-aB_c.d:e", "x" * 128])
async def test_a_sane_id_is_the_requests(sent: str) -> None:
    async with _front(Metrics()) as client:
        answer = await client.get("/things/1", headers={"X-Request-Id": sent})
    assert (answer.headers["x-request-id"], answer.json()) == (sent, sent)


@pytest.mark.parametrize("sent", [[], [""], ["x" * 129], ["a b"], ["é"], ["a", "b"], ['"}']])
@pytest.mark.parametrize("path", ["/things/1", "/things/broken", "/nothing"])
async def test_every_other_request_is_given_one(sent: list[str], path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    async with _front(Metrics()) as client:
        ids = {
            (await client.get(path, headers=[("X-Request-Id", one.encode()) for one in sent])).headers["x-request-id"]
            for _ in range(2)
        }
    assert {len(one) for one in ids} == {32}
    assert len(ids) == 2


async def test_what_is_asked_of_either_api_is_traced_and_a_probe_is_not() -> None:
    app = FastAPI()
    for path in ("/api/things", "/v1/things", "/v1things", "/healthz"):
        app.add_api_route(path, lambda: "ok")
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    observed = Observed(app, Metrics(), provider.get_tracer("test"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(observed), base_url="http://test") as client:
        for path in ("/api/things", "/v1/things", "/v1things", "/healthz"):
            assert (await client.get(path)).status_code == 200
    assert [span.name for span in kept.get_finished_spans()] == ["GET /api/things", "GET /v1/things"]
