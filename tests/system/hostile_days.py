"""Everything an upstream can do to a call, and what has to become of it: the table that `test_hostile_days` plays.

Each row follows OpenRouter's documentation of its errors. `tries` are the calls to the same model, `waits` the pauses
after each of them in milliseconds; after the last one there is none.
"""

from dataclasses import dataclass
from enum import Enum, auto

BACKOFF = (500, 1000)
"""Where the upstream does not say how long to wait."""


class Then(Enum):
    """What follows when the tries are spent."""

    NEXT = auto()
    """The fallback answers."""
    NOBODY = auto()
    """No model can mend it: the fallback is not asked."""


class Cost(Enum):
    """What the calls to the model cost in the end."""

    NOTHING = auto()
    """They were refused."""
    AS_BILLED = auto()
    """What the upstream's bill says, at the latest when its record was looked up."""
    UNKNOWN = auto()
    """They may have cost something, and nobody can be asked: the upstream never told the id of the call."""


@dataclass(frozen=True)
class HostileDay:
    """One way to fail."""

    fault: str
    error_type: str
    http_status: int | None
    tries: int = 1
    then: Then = Then.NEXT
    waits: tuple[int, ...] = BACKOFF
    cost: Cost = Cost.NOTHING


HOSTILE_DAYS = (
    # the account
    HostileDay("unauthorized", "authentication", 401, then=Then.NOBODY),
    HostileDay("echo-key", "authentication", 401, then=Then.NOBODY),
    HostileDay("no-credit", "credit", 402, then=Then.NOBODY),
    HostileDay("key-limit", "quota", 403, then=Then.NOBODY),
    HostileDay("in-flight-budget", "rate_limit", 402, tries=3, waits=(1000, 1000)),
    # rate limits
    HostileDay("rate-limited", "rate_limit", 429, tries=2, waits=(1000,)),
    HostileDay("rate-limited-long", "rate_limit", 429),
    HostileDay("free-per-minute", "rate_limit", 429, tries=3, waits=(1000, 1000)),
    HostileDay("free-per-day", "rate_limit", 429),
    # the request
    HostileDay("bad-request", "invalid_request", 400, then=Then.NOBODY),
    HostileDay("moderated", "moderation", 403, then=Then.NOBODY),
    HostileDay("context-length", "context_length", 400, then=Then.NOBODY),
    HostileDay("output-limit", "output_limit", 200, then=Then.NOBODY, cost=Cost.AS_BILLED),
    # the model
    HostileDay("provider-400", "invalid_request", 400),
    HostileDay("unknown-model", "model_not_found", 400),
    HostileDay("no-endpoints", "model_not_found", 404),
    HostileDay("content-policy", "content_policy", 403),
    # the service
    HostileDay("down", "unavailable", 503, tries=3),
    HostileDay("overloaded", "unavailable", 529, tries=3),
    HostileDay("html", "unavailable", 502, tries=3),
    HostileDay("server-error", "upstream", 500, tries=3),
    HostileDay("gateway-timeout", "timeout", 504, tries=2, cost=Cost.UNKNOWN),
    # failures inside a 200
    HostileDay("error-in-200", "unavailable", 200, tries=3, cost=Cost.AS_BILLED),
    HostileDay("error-first-chunk", "unavailable", 200, tries=3, cost=Cost.AS_BILLED),
    HostileDay("error-mid-stream", "upstream", 200, tries=3, cost=Cost.AS_BILLED),
    HostileDay("echo-key-mid-stream", "upstream", 200, tries=3, cost=Cost.AS_BILLED),
    HostileDay("no-choices", "empty", 200, tries=2, cost=Cost.AS_BILLED),
    HostileDay("empty-choices", "empty", 200, tries=2, cost=Cost.AS_BILLED),
    HostileDay("empty", "empty", 200, tries=2, cost=Cost.AS_BILLED),
    HostileDay("tool-calls", "empty", 200, tries=2, cost=Cost.AS_BILLED),
    HostileDay("malformed", "malformed", 200, tries=2, cost=Cost.AS_BILLED),
    # time and connection
    HostileDay("truncated", "truncated", 200, tries=2, cost=Cost.AS_BILLED),
    HostileDay("reset", "truncated", 200, tries=2, cost=Cost.AS_BILLED),
    HostileDay("stall", "stalled", 200, tries=2, cost=Cost.AS_BILLED),
    HostileDay("silent", "timeout", 200, tries=2, cost=Cost.AS_BILLED),
    HostileDay("reset-early", "connection", None, tries=2, cost=Cost.UNKNOWN),
)


@dataclass(frozen=True)
class OddDay:
    """A strange way to succeed."""

    fault: str
    finish_reason: str = "stop"
    tries: int = 1
    model: str | None = None
    """Who is said to have answered; None: who was asked."""
    cost: Cost = Cost.AS_BILLED


ODD_DAYS = (
    OddDay("slow"),
    OddDay("slow-stream"),
    OddDay("odd-framing"),
    OddDay("no-usage"),
    OddDay("cost-null"),
    OddDay("own-key"),
    OddDay("usage-open-choice"),
    OddDay("usage-repeated-finish"),
    OddDay("refusal", finish_reason="content_filter"),
    OddDay("flaky", tries=3),
    OddDay("debug-chunk"),
    OddDay("echo-key-text"),
    OddDay("echo-key-labels", finish_reason="[redacted]", model="[redacted]"),
)
