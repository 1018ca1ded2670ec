"""Structured logs: readable in a terminal, one JSON object a line elsewhere, and never a secret.

Library code logs through the standard library's `logging`; this module decides what becomes of it.
"""

import logging
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from core.orchestrator.events import (
    EVERY_EVENT,
    AttemptFailed,
    EventBus,
    InteractionEnded,
    InteractionEvent,
    InteractionFailed,
    InteractionIncomplete,
    TextDelta,
)
from core.orchestrator.log_context import name_interaction
from core.orchestrator.providers.untrusted import IDENTIFYING_LENGTH, REDACTED


def configure_logging(level: str, secrets: Collection[str] = (), naming: Sequence[Processor] = ()) -> None:
    """Send every log record of the process, and every warning, to standard error.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        secrets: values that never appear, wherever they come from.
        naming: say in what further context a record was written.
    """
    terminal = sys.stderr.isatty()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        *naming,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        name_interaction,
        # Text before it is redacted. A prettier traceback, drawn after, would show local variables and their secrets.
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = structlog.processors.JSONRenderer()
    if terminal:
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    handler = logging.StreamHandler()
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _redactor(secrets),
            renderer,
        ],
    )
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for noisy in ("alembic", "asyncio", "httpx", "sqlalchemy", "urllib3", "uvicorn"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    # At its debug level the SDK writes whole payloads, messages and replies included.
    logging.getLogger("temporalio").setLevel(max(logging.INFO, root.level))


def _redactor(secrets: Collection[str]) -> Processor:
    # A shorter one, such as `none` or `ollama`, is a word that stands in for a key.
    keys = [secret for secret in secrets if len(secret) >= IDENTIFYING_LENGTH]
    longest_first = sorted(keys, key=len, reverse=True)  # one may be the beginning of another

    def redacted(value: Any) -> Any:
        match value:
            case str():
                for secret in longest_first:
                    value = value.replace(secret, REDACTED)
                return value
            case Mapping():
                return {redacted(key): redacted(item) for key, item in value.items()}
            case list() | tuple():
                return [redacted(item) for item in value]
            case bool() | int() | float() | None:
                return value
            case _:
                return redacted(repr(value))

    def redact(_logger: object, _method: str, record: EventDict) -> EventDict:
        return {key: redacted(value) for key, value in record.items()}

    return redact


def log_events(bus: EventBus) -> None:
    """Log every event of a bus: one line each, named as the event, with the interaction's id.

    Nothing that was said is logged: it would outlive the erasure of its conversation.
    """
    logger = logging.getLogger("orchestrator")

    def log(event: InteractionEvent) -> None:
        if isinstance(event, TextDelta):
            return
        troubled = isinstance(event, AttemptFailed | InteractionFailed | InteractionIncomplete)
        level = logging.WARNING if troubled else logging.INFO
        if not logger.isEnabledFor(level):
            return
        fields = event.model_dump(mode="json", exclude={"response"})
        if isinstance(event, InteractionEnded):
            fields |= event.response.model_dump(
                mode="json", include={"status", "model", "agent", "degraded", "response_time_ms", "error"}
            )
        logger.log(level, event.type, extra=fields)

    bus.subscribe(EVERY_EVENT, log)
