"""What a worker process answers to those who run it."""

import httpx
import pytest

from core.orchestrator.config import Settings
from core.orchestrator.errors import ConfigurationError
from core.orchestrator.telemetry.metrics import Metrics
from core.orchestrator.telemetry.names import BEGUN
from temporal.probes import probes_answered
from tests.harness import free_port


async def test_a_probe_tells_whether_the_worker_polls_and_what_was_counted() -> None:
    settings = Settings(_env_file=None, WORKER_METRICS_PORT=free_port())
    metrics = Metrics()
    metrics.add(BEGUN, 3, {"persona": "cherry"})
    url = f"http://127.0.0.1:{settings.WORKER_METRICS_PORT}"
    async with probes_answered(settings, metrics) as probes, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/healthz")).status_code == 503
        probes.polls = lambda: True
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.head("/healthz")).content == b""
        told = await client.get("/metrics")
        assert told.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'orchestrator_interactions_begun_total{persona="cherry"} 3.0' in told.text
        assert (await client.post("/metrics")).status_code == 405
        assert (await client.get("/")).status_code == 404
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{url}/healthz")


async def test_a_port_in_use_is_named() -> None:
    settings = Settings(_env_file=None, WORKER_METRICS_PORT=free_port())
    async with probes_answered(settings, Metrics()):
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{settings.WORKER_METRICS_PORT} cannot be listened on"):
            async with probes_answered(settings, Metrics()):
                pass


async def test_without_a_port_nothing_is_listened_on() -> None:
    async with probes_answered(Settings(_env_file=None), Metrics()) as probes:
        assert not probes.polls()
