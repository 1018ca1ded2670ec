"""Somebody who traces are sent to: a real HTTP server that takes OTLP in protobuf."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


@dataclass(frozen=True)
class Span:
    """One span as it came."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    failed: bool
    service: str
    attributes: dict[str, Any]
    raw: str
    """Everything in it, as text."""


class Collector:
    """Takes spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.port = 0
        self._more = asyncio.Condition()
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, access_log=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of_trace(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]

    async def until(self, condition: Callable[[Sequence[Span]], bool], seconds: float = 20) -> None:
        """Return when what has come satisfies a condition."""
        async with asyncio.timeout(seconds), self._more:
            await self._more.wait_for(lambda: condition(self.spans))

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest()
        sent.ParseFromString(await request.read())
        for resource in sent.resource_spans:
            service = {pair.key: _value(pair.value) for pair in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                self.spans += [
                    Span(
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.kind,
                        span.status.code == 2,
                        service,
                        {pair.key: _value(pair.value) for pair in span.attributes},
                        f"{resource.resource} {span}",
                    )
                    for span in scope.spans
                ]
        async with self._more:
            self._more.notify_all()
        return web.Response(content_type="application/x-protobuf")


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
