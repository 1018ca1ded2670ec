"""What is known of every request from outside: its id, how long it took, and its span where traces are wanted.

It stands before everything else of the API, so that a refusal, and an error of ours, is seen like any answer.
"""

import re
import time
from collections.abc import Iterable
from contextlib import ExitStack
from uuid import uuid4

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.orchestrator.log_context import answering
from core.orchestrator.telemetry import names
from core.orchestrator.telemetry.metrics import Labels, Metrics

REQUEST_ID = "X-Request-Id"
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ANY_METHOD = "_OTHER"
"""The conventions' word for a method that nobody knows."""
_NO_ROUTE = "unmatched"
_TRACED = ("/api/", "/v1/")
"""Probes, scrapes and documents are in no trace."""
_TRACE_CONTEXT = TraceContextTextMapPropagator()


class Observed:
    """An application whose requests are counted, and traced."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer | None) -> None:
        """Count into `metrics`; without a `tracer` no span is made."""
        self._app = app
        self._metrics = metrics
        self._tracer = tracer
        self._active = 0
        metrics.observe(names.HTTP_ACTIVE, self._read)

    def _read(self) -> Iterable[tuple[float, Labels]]:
        return [(self._active, {})]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        answering(request_id)
        status = 500  # what is answered where nothing else was
        began = time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        self._active += 1
        with ExitStack() as stack:
            span = self._span(scope)
            if span is not None:
                stack.enter_context(
                    use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False)
                )
            try:
                await self._app(scope, receive, answer)
            finally:
                self._active -= 1
                method, route = _method(scope), _route(scope)
                labels = {
                    names.HTTP_METHOD: method,
                    names.HTTP_ROUTE: route or _NO_ROUTE,
                    names.STATUS_CLASS: f"{status // 100}xx",
                }
                self._metrics.record(names.HTTP_DURATION, time.perf_counter() - began, labels)
                if span is not None:
                    _describe(span, method, route, status)

    def _span(self, scope: Scope) -> Span | None:
        if self._tracer is None or not scope["path"].startswith(_TRACED):
            return None
        headers = Headers(scope=scope)
        carrier = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        method = _method(scope)
        return self._tracer.start_span(
            method,
            context=_TRACE_CONTEXT.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={names.HTTP_METHOD: method},
        )


def _describe(span: Span, method: str, route: str | None, status: int) -> None:
    """Say what a request came to. Not its path: it holds ids of users and sessions."""
    if route is not None:
        span.update_name(f"{method} {route}")
        span.set_attribute(names.HTTP_ROUTE, route)
    span.set_attribute(names.HTTP_STATUS, status)
    if status >= 500:  # noqa: PLR2004
        span.set_attribute(names.ERROR_TYPE, str(status))
        span.set_status(Status(StatusCode.ERROR))


def _request_id(scope: Scope) -> str:
    sent = Headers(scope=scope).getlist(REQUEST_ID)
    return sent[0] if len(sent) == 1 and _SANE.fullmatch(sent[0]) else uuid4().hex


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else _ANY_METHOD


def _route(scope: Scope) -> str | None:
    """Return the template of the route that was taken; one of few, whatever paths are asked for."""
    route: BaseRoute | None = scope.get("route")
    return getattr(route, "path_format", None) or getattr(route, "path", None)
