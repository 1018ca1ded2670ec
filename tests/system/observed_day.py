"""A scripted day of a whole system that is measured, traced and logged at its most talkative, told once for all tests.

Everything that must not be told on is marked: what users say, their ids, and every secret.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from temporalio.client import Client

from core.orchestrator.access.caller import Scope
from core.orchestrator.access.keys import create_key
from standin import StandIn
from temporal.payloads import data_converter
from tests.harness import Process, System, closed_run, free_port
from tests.system.collector import Collector
from tests.system.stories import HELD, PLUGINS, Json, worker_calling

SAID = "marked-words"
USER = "marked-user"
PROVIDER_KEY = "sk-or-marked-provider-key"
ENCRYPTION_KEY = b64encode(b"marked-encryption-key-32-bytes-!").decode()
SESSION = "marked-session"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
KNOWN = "openai/gpt-4"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(*texts: str) -> Samples:
    """The values of several processes' metrics, added up."""
    found: Samples = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                found[key] = found.get(key, 0) + sample.value
    return found


def has_a_bill_to_come(call: Json) -> bool:
    """Whether what a call cost was unknown at its interaction's end, and its provider can be asked."""
    return bool(call["generation_id"] and call["usage"] and call["usage"]["cost_usd"] is None)


@dataclass
class Day:
    """What there is to look at in the evening."""

    collector: Collector
    replies: Mapping[str, Json]
    """By story."""
    metrics: list[str]
    """The API's and the surviving worker's."""
    usage: Json
    output: dict[str, str]
    """By process."""
    secrets: list[str]
    heard_upstream: set[str]
    """The names of the headers that the provider was sent."""
    statuses: dict[str, int]

    @property
    def samples(self) -> Samples:
        return samples_of(*self.metrics)

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric over all its series that have some labels."""
        wanted = set(labels.items())
        return sum(value for (found, its), value in self.samples.items() if found == name and wanted <= its)

    def lines(self, process: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output[process].splitlines() if line.startswith("{")]


class Observed:
    """The system."""

    def __init__(self, temporal: Client, standin: StandIn, collector: Collector, directory: Path) -> None:
        converter = data_converter({"a": SecretStr(ENCRYPTION_KEY)})
        self.temporal = Client(temporal.service_client, data_converter=converter)
        self.collector = collector
        self.key = create_key("everything", frozenset(Scope))
        self.probes = [free_port(), free_port()]
        self.system = System(
            temporal.service_client.config.target_host,
            standin,
            directory,
            OPENROUTER_API_KEY=PROVIDER_KEY,
            PAYLOAD_ENCRYPTION_KEYS=f"a={ENCRYPTION_KEY}",
            API_KEYS=str(self.key.entry),
            LLM_FALLBACK_MODELS=KNOWN,
            LLM_COOLDOWN_AFTER_FAILURES="0",
            HEARTBEAT_TIMEOUT_SECONDS="1",
            PLUGINS=f"{PLUGINS}.talkative",
            LOG_LEVEL="debug",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_SERVICE_NAME="observed",
            OTEL_BSP_SCHEDULE_DELAY="50",
        )
        self.system.client.headers["Authorization"] = f"Bearer {self.key.key}"

    async def day(self) -> Day:
        """Live through it."""
        system, standin = self.system, self.system.standin
        api, first = await asyncio.gather(system.start_api(), self._worker(0))
        standin.script("test/lost", HELD)
        standin.script("test/shaky", "down")
        lost = asyncio.create_task(
            self._say("lost", {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "lost-1"}, model="test/lost")
        )
        await standin.ledger.until_held()
        second = await self._worker(1)
        assert worker_calling([first], (await self._newest())["interaction_id"]) is first
        await first.kill()
        stories = await asyncio.gather(
            self._say("plain", session_id=SESSION, max_tokens=500),
            self._say("retried", model="test/shaky", fallback_models=[]),
            self._say("fallen back", model="standin/unknown-model"),
            self._say("broken", model="standin/echo-key-mid-stream", fallback_models=[KNOWN]),
            self._say("free", model="standin/cost-null"),
            self._say("degraded", model="standin/unknown-model", fallback_models=[], persona_id="karen"),
            self._direct(),
            lost,
        )
        stories.append(await self._say("again", session_id=SESSION))
        replies = dict(stories)
        await asyncio.gather(*(self._settled(view) for view in replies.values()))
        refused = await system.client.get("/metrics", headers={"Authorization": "Bearer marked-wrong-key"})
        unknown = await system.client.get(f"/no/such/{USER}")
        metrics = [await self._metrics(system.url), await self._metrics(self._probe(1))]
        usage = (await system.client.get("/api/usage")).json()
        answered = await system.client.get("/healthz", headers={"X-Request-Id": "sane-1"})
        made = await system.client.get("/healthz", headers={"X-Request-Id": "not sane\t" + "x" * 200})
        statuses = {"refused": refused.status_code, "unknown": unknown.status_code}
        assert (answered.headers["x-request-id"], len(made.headers["x-request-id"])) == ("sane-1", 32)
        await asyncio.gather(api.stop(), second.stop())
        return Day(
            self.collector,
            replies,
            metrics,
            usage,
            {"api": api.output, "first": first.output, "second": second.output},
            [PROVIDER_KEY, ENCRYPTION_KEY, self.key.key, "marked-wrong-key"],
            {name for call in standin.ledger.calls for name in call.headers},
            statuses,
        )

    async def _worker(self, number: int) -> Process:
        return await self.system.start_worker(WORKER_METRICS_PORT=str(self.probes[number]))

    def _probe(self, number: int) -> str:
        return f"http://127.0.0.1:{self.probes[number]}"

    async def _say(self, story: str, headers: Mapping[str, str] | None = None, **fields: Any) -> tuple[str, Json]:
        body = {"message": f"{SAID} {story}", "user_id": USER, **fields}
        response = await self.system.client.post("/api/llm/interact", json=body, headers=headers)
        assert response.status_code == 200, response.text
        return story, response.json()

    async def _direct(self) -> tuple[str, Json]:
        body = {"messages": [{"role": "user", "content": f"{SAID} direct"}], "user_id": USER, "model": KNOWN}
        response = await self.system.client.post("/api/llm/direct", json=body)
        assert response.status_code == 200, response.text
        return "direct", response.json() | {"status": "completed", "degraded": False, "persona_id": None}

    async def _newest(self) -> Json:
        response = await self.system.client.get("/api/llm/interactions", params={"user_id": USER})
        newest: Json = response.json()["items"][0]
        return newest

    async def _settled(self, view: Json) -> None:
        """Return when nothing more is to come of an interaction, not even a bill."""
        await closed_run(self.temporal, f"interaction-{view['interaction_id']}")
        if any(has_a_bill_to_come(call) for call in view["attempts"]):
            await closed_run(self.temporal, f"reconcile-{view['interaction_id']}")

    async def _metrics(self, url: str) -> str:
        async with httpx.AsyncClient() as client:
            response = await client.get(f"{url}/metrics", headers=dict(self.system.client.headers))
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        return response.text
