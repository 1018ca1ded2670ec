"""How long an upstream asks us to wait.

The value is a stranger's: a date in the past, a negative number, the end of time. It is clamped to >= 0 and to a
year, which every caller finds longer than its wait budget; whether to wait at all is the caller's decision.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from core.orchestrator.providers.untrusted import as_mapping, as_number

LONGEST = timedelta(days=365)

_EARLIEST_EPOCH_MS = 100_000_000_000
"""A reset below this (the year 1973 in milliseconds) was written in seconds."""

_EARLIEST_EPOCH = 1_000_000_000
"""And one below this (the year 2001) counts them from now, as some servers do."""


def read_retry_after(
    headers: Mapping[str, str] | None,
    metadata: Mapping[str, object],
    *,
    window_resets: bool,
    now: datetime | None = None,
) -> timedelta | None:
    """Return the wait that was asked for, or None where nothing legible was said.

    OpenRouter sends the `Retry-After` header (seconds or an HTTP date), `metadata.retry_after_seconds`, or
    `metadata.headers["X-RateLimit-Reset"]` in epoch milliseconds; the first legible one counts. The reset is read
    only for a rate limit (`window_resets`): elsewhere it tells when a window ends that was not the trouble.
    """
    now = now or datetime.now(UTC)
    passed_on = as_mapping(metadata.get("headers"))
    waits = (
        _of_header(_find(headers, "retry-after"), now),
        as_number(metadata.get("retry_after_seconds")),
        _of_header(_find(passed_on, "retry-after"), now),
        *(_of_reset(_find(holder, "x-ratelimit-reset"), now) for holder in (passed_on, headers) if window_resets),
    )
    wait = next((wait for wait in waits if wait is not None), None)
    return None if wait is None else _clamp(wait)


def _of_header(value: object, now: datetime) -> float | None:
    seconds = as_number(value)
    if seconds is not None or not isinstance(value, str):
        return seconds
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _of_reset(value: object, now: datetime) -> float | None:
    reset = as_number(value)
    if reset is None or reset < _EARLIEST_EPOCH:
        return reset
    return (reset / 1000 if reset > _EARLIEST_EPOCH_MS else reset) - now.timestamp()


def _find(headers: Mapping[str, object] | None, name: str) -> object:
    """Look a header up in whatever case it came."""
    return next((value for key, value in (headers or {}).items() if str(key).lower() == name), None)


def _clamp(seconds: float) -> timedelta:
    return timedelta(seconds=min(max(seconds, 0.0), LONGEST.total_seconds()))
