"""The faults that are a plain HTTP error in OpenRouter's format: a table, nothing more."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from standin import wire
from standin.answer import Answer
from standin.wire import Json


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer with an error status."""

    name: str
    description: str
    status: int
    message: str
    """`{model}` stands for the model asked for."""
    metadata: Json = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, answer: Answer) -> None:
        """Refuse a call."""
        message = self.message.format(model=answer.call.model)
        answer.respond(self.status, wire.error_body(self.status, message, **self.metadata), self.headers)


_UPSTREAM_429 = "{model} is temporarily rate-limited upstream. Please retry shortly."
_UPSTREAM_400 = '{"error": {"message": "Unsupported parameter: top_k"}}'

DOWN = Refusal(
    "down",
    "503, always.",
    503,
    "No instances available for {model}",
    {"error_type": "provider_overloaded", "provider_name": "StandIn"},
)

REFUSALS = (
    DOWN,
    Refusal(
        "rate-limited",
        "429 from the upstream provider, with Retry-After: 1.",
        429,
        _UPSTREAM_429,
        {"error_type": "rate_limit_exceeded", "provider_name": "StandIn"},
        {"Retry-After": "1"},
    ),
    Refusal(
        "rate-limited-long",
        "429 with Retry-After: 3600: longer than anybody waits.",
        429,
        _UPSTREAM_429,
        {"error_type": "rate_limit_exceeded", "provider_name": "StandIn"},
        {"Retry-After": "3600"},
    ),
    Refusal("unauthorized", "401: the key is not known.", 401, "User not found.", {"error_type": "authentication"}),
    Refusal(
        "no-credit",
        "402: the account's credit is used up.",
        402,
        "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
        {"error_type": "payment_required"},
    ),
    Refusal(
        "in-flight-budget",
        "402 that passes: too much is in flight at once. Retry-After: 1.",
        402,
        "The requests in flight exceed the remaining budget. Please retry.",
        {"error_type": "payment_required", "limit_source": "openrouter_in_flight_budget"},
        {"Retry-After": "1"},
    ),
    Refusal(
        "key-limit",
        "403: the limit set on the key is reached.",
        403,
        "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys",
        {"error_type": "permission_denied"},
    ),
    Refusal(
        "moderated",
        "403: the input was flagged, with the reasons and the text.",
        403,
        "{model} requires moderation. Your input was flagged.",
        {
            "reasons": ["violence"],
            "flagged_input": "the text that was flagged",
            "provider_name": "StandIn",
            "model_slug": "standin/moderated",
        },
    ),
    Refusal(
        "content-policy",
        "403: against the content policy of this provider.",
        403,
        "The request violates the content policy of the provider.",
        {"error_type": "content_policy_violation", "provider_name": "StandIn"},
    ),
    Refusal(
        "bad-request",
        "400: the request itself is wrong.",
        400,
        "temperature must be between 0 and 2",
        {"error_type": "invalid_request"},
    ),
    Refusal(
        "provider-400",
        "400 passed on from the provider, with its own words.",
        400,
        "Provider returned error",
        {"provider_name": "StandIn", "raw": _UPSTREAM_400},
    ),
    Refusal(
        "context-length",
        "400: the prompt is longer than the context window.",
        400,
        "This endpoint's maximum context length is 8192 tokens. However, you requested about 120000 tokens.",
        {"error_type": "context_length_exceeded"},
    ),
    Refusal("unknown-model", "400: there is no such model.", 400, "{model} is not a valid model ID"),
    Refusal(
        "no-endpoints",
        "404: nobody serves this model.",
        404,
        "No endpoints found for {model}.",
        {"error_type": "not_found"},
    ),
    Refusal("server-error", "500.", 500, "Internal Server Error", {"error_type": "server"}),
    Refusal("overloaded", "529.", 529, "Provider overloaded", {"error_type": "provider_overloaded"}),
    Refusal("gateway-timeout", "504.", 504, "The operation was aborted due to timeout", {"error_type": "timeout"}),
)
