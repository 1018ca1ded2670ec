"""Structured logs: readable in a terminal, one JSON object a line elsewhere, and never a secret.

Library code logs through the standard library's `logging`; this module decides what becomes of it.
"""

import logging
import sys
from collections.abc import Collection

import structlog
from structlog.typing import EventDict, Processor

from core.orchestrator.events import EVERY_EVENT, AttemptFailed, EventBus, InteractionEvent, InteractionFailed

_REDACTED = "[redacted]"


def configure_logging(level: str, secrets: Collection[str] = ()) -> None:
    """Send every log record of the process to standard error.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        secrets: values that never appear, wherever they come from.
    """
    terminal = sys.stderr.isatty()
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    if not terminal:
        shared.append(structlog.processors.format_exc_info)
    renderer: Processor = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    handler = logging.StreamHandler()
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _redactor([secret for secret in secrets if secret]),
            renderer,
        ],
    )
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiosqlite", "httpx", "alembic", "asyncio", "uvicorn"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def _redactor(secrets: Collection[str]) -> Processor:
    def redact(_logger: object, _method: str, record: EventDict) -> EventDict:
        for key, value in record.items():
            text = value if isinstance(value, str) else repr(value)
            if any(secret in text for secret in secrets):
                for secret in secrets:
                    text = text.replace(secret, _REDACTED)
                record[key] = text
        return record

    return redact


def log_events(bus: EventBus) -> None:
    """Log every event of a bus: one line each, named as the event, with the interaction's id."""
    logger = logging.getLogger("orchestrator")

    def log(event: InteractionEvent) -> None:
        troubled = isinstance(event, AttemptFailed | InteractionFailed)
        level = logging.WARNING if troubled else logging.INFO
        if not logger.isEnabledFor(level):
            return
        fields = event.model_dump(mode="json", exclude={"response"})
        response = getattr(event, "response", None)
        if response is not None:
            fields |= response.model_dump(
                mode="json", include={"status", "model", "agent", "degraded", "response_time_ms", "error"}
            )
        logger.log(level, event.type, extra=fields)

    bus.subscribe(EVERY_EVENT, log)
