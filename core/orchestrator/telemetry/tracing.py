"""Whether traces are wanted: as the standard OTEL_* variables say, which OpenTelemetry's SDK reads itself.

Unless they are, no tracer is made, and nothing of tracing is on the way of an interaction.
"""

import os
from collections.abc import Mapping

from opentelemetry.trace import Tracer, get_current_span, get_tracer
from structlog.typing import EventDict

from core.orchestrator.errors import ConfigurationError

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"


def tracing_is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether the environment names somebody to send traces to.

    Raises:
        ConfigurationError: it wants them sent in a way that is not spoken here.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter == "none" or not (exporter == "otlp" or any(environment.get(name) for name in _ENDPOINTS)):
        return False
    for name in _PROTOCOLS:
        if (protocol := environment.get(name, "").strip()) and protocol != _SPOKEN:
            raise ConfigurationError(f"{name}: {protocol} is not spoken here; {_SPOKEN} is")
    return True


def tracer() -> Tracer:
    """Return what makes our spans; call it where traces are wanted."""
    return get_tracer("orchestrator")


def name_trace(_logger: object, _method: str, record: EventDict) -> EventDict:
    """Put into a record of the log which span it was written in; a processor of structlog."""
    context = get_current_span().get_span_context()
    if context.is_valid:
        record["trace_id"] = format(context.trace_id, "032x")
        record["span_id"] = format(context.span_id, "016x")
    return record
