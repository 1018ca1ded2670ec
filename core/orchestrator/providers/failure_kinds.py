"""The kinds of failure a model call can have, and what each means for the next call: the table, and nothing else.

`tries` counts the calls to the same model in all, `then` says who is asked when they are spent. The postures follow
what OpenRouter documents about its errors; where it is silent, what cannot change by itself is never asked again,
and what may have cost money is asked again once at most.
"""

from dataclasses import dataclass
from enum import Enum, auto

from core.orchestrator.errors import (
    ErrorType,
    LLMProviderAuthenticationError,
    LLMProviderConnectionError,
    LLMProviderError,
    LLMProviderInvalidRequestError,
    LLMProviderModelError,
    LLMProviderRateLimitError,
    LLMProviderResourceExhaustedError,
    LLMProviderServiceError,
    LLMProviderTimeoutError,
    NextStep,
)


class Billing(Enum):
    """Whether a call that failed so, before any output, may appear on the bill."""

    NO = auto()
    """It was refused before anything was generated."""
    IF_ACCEPTED = auto()
    """Only inside a 200: OpenRouter sends that status once an upstream provider has accepted the request."""
    MAYBE = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One row of the table. Rows are compared by identity: two may share every column."""

    error: type[LLMProviderError]
    type: ErrorType
    tries: int
    then: NextStep
    billing: Billing = Billing.NO


_FAIL, _NEXT, _ELSEWHERE = NextStep.FAIL, NextStep.NEXT_MODEL, NextStep.NEXT_PROVIDER

# --- the account: whatever is asked of this provider, it refuses; another provider's model may answer --------------
UNAUTHENTICATED = Kind(LLMProviderAuthenticationError, ErrorType.AUTHENTICATION, 1, _ELSEWHERE)
FORBIDDEN = Kind(LLMProviderAuthenticationError, ErrorType.AUTHENTICATION, 1, _ELSEWHERE)
NO_CREDIT = Kind(LLMProviderResourceExhaustedError, ErrorType.CREDIT, 1, _ELSEWHERE)
LIMIT_SPENT = Kind(LLMProviderResourceExhaustedError, ErrorType.QUOTA, 1, _ELSEWHERE)
# Requests under way hold the credit; it comes back when they settle.
CREDIT_IN_FLIGHT = Kind(LLMProviderRateLimitError, ErrorType.RATE_LIMIT, 3, _NEXT)

# --- rate limits --------------------------------------------------------------------------------------------------
RATE_LIMITED = Kind(LLMProviderRateLimitError, ErrorType.RATE_LIMIT, 2, _NEXT)
FREE_MINUTE_SPENT = Kind(LLMProviderRateLimitError, ErrorType.RATE_LIMIT, 3, _NEXT)
# Account-wide, until the next UTC day: no other free model can answer either.
FREE_DAY_SPENT = Kind(LLMProviderRateLimitError, ErrorType.RATE_LIMIT, 1, NextStep.NEXT_PAID_MODEL)

# --- the request --------------------------------------------------------------------------------------------------
# The generic refusal. Others can say more, so `classification` refines it; UNACCEPTABLE is final.
INVALID_REQUEST = Kind(LLMProviderInvalidRequestError, ErrorType.INVALID_REQUEST, 1, _FAIL)
UNACCEPTABLE = Kind(LLMProviderInvalidRequestError, ErrorType.INVALID_REQUEST, 1, _FAIL)
CONTEXT_TOO_LONG = Kind(LLMProviderInvalidRequestError, ErrorType.CONTEXT_LENGTH, 1, NextStep.LARGER_CONTEXT)
FLAGGED_INPUT = Kind(LLMProviderInvalidRequestError, ErrorType.MODERATION, 1, _FAIL)
OUTPUT_LIMIT = Kind(LLMProviderInvalidRequestError, ErrorType.OUTPUT_LIMIT, 1, _FAIL, Billing.MAYBE)

# --- the model ----------------------------------------------------------------------------------------------------
# The same request may suit another model's provider; when a second one refuses it too, it is the request.
REFUSED_BY_PROVIDER = Kind(LLMProviderModelError, ErrorType.INVALID_REQUEST, 1, NextStep.NEXT_MODEL_ONCE)
# Whoever serves the model does not accept the account; ours with the router is in order.
ACCOUNT_REFUSED_BY_PROVIDER = Kind(LLMProviderAuthenticationError, ErrorType.AUTHENTICATION, 1, _NEXT)
UNKNOWN_MODEL = Kind(LLMProviderModelError, ErrorType.MODEL_NOT_FOUND, 1, _NEXT)
UNWILLING = Kind(LLMProviderModelError, ErrorType.CONTENT_POLICY, 1, _NEXT, Billing.IF_ACCEPTED)

# --- the service --------------------------------------------------------------------------------------------------
SERVER_ERROR = Kind(LLMProviderServiceError, ErrorType.UPSTREAM, 3, _NEXT, Billing.IF_ACCEPTED)
UNAVAILABLE = Kind(LLMProviderServiceError, ErrorType.UNAVAILABLE, 3, _NEXT, Billing.IF_ACCEPTED)
EMPTY = Kind(LLMProviderServiceError, ErrorType.EMPTY, 2, _NEXT, Billing.MAYBE)
MALFORMED = Kind(LLMProviderServiceError, ErrorType.MALFORMED, 2, _NEXT, Billing.MAYBE)

# --- time and connection ------------------------------------------------------------------------------------------
UNREACHABLE = Kind(LLMProviderConnectionError, ErrorType.CONNECTION, 3, _NEXT)
CONNECTION_LOST = Kind(LLMProviderConnectionError, ErrorType.CONNECTION, 2, _NEXT, Billing.MAYBE)
TRUNCATED = Kind(LLMProviderConnectionError, ErrorType.TRUNCATED, 2, _NEXT, Billing.MAYBE)
TIMED_OUT = Kind(LLMProviderTimeoutError, ErrorType.TIMEOUT, 2, _NEXT, Billing.MAYBE)
STALLED = Kind(LLMProviderTimeoutError, ErrorType.STALLED, 2, _NEXT, Billing.MAYBE)

BY_LIMIT_SOURCE = {
    "openrouter_in_flight_budget": CREDIT_IN_FLIGHT,
    "openrouter_credits": NO_CREDIT,
    "openrouter_key_limit": LIMIT_SPENT,
    "openrouter_guardrail_budget": LIMIT_SPENT,
    "openrouter_workspace_budget": LIMIT_SPENT,
}

BY_WORD = {
    # OpenRouter's `metadata.error_type`
    "authentication": UNAUTHENTICATED,
    "permission_denied": FORBIDDEN,
    "payment_required": NO_CREDIT,
    "token_limit_exceeded": LIMIT_SPENT,  # documented as a token budget that OpenRouter enforces
    "rate_limit_exceeded": RATE_LIMITED,
    "invalid_request": INVALID_REQUEST,
    "invalid_prompt": UNACCEPTABLE,
    "invalid_image": UNACCEPTABLE,
    "string_too_long": UNACCEPTABLE,
    "precondition_failed": UNACCEPTABLE,
    "payload_too_large": UNACCEPTABLE,
    "unprocessable": UNACCEPTABLE,
    "context_length_exceeded": CONTEXT_TOO_LONG,
    "max_tokens_exceeded": OUTPUT_LIMIT,  # documented as: generation stopped because max_tokens was reached
    "content_policy_violation": UNWILLING,
    "refusal": UNWILLING,
    "not_found": UNKNOWN_MODEL,
    "server": SERVER_ERROR,
    "unmapped": SERVER_ERROR,
    "provider_unavailable": UNAVAILABLE,
    "provider_overloaded": UNAVAILABLE,
    "timeout": TIMED_OUT,
    # words that OpenAI and servers like it put into `code` or `type`, also where OpenRouter passes them on
    "invalid_api_key": UNAUTHENTICATED,
    "authentication_error": UNAUTHENTICATED,
    "insufficient_quota": NO_CREDIT,
    "billing_hard_limit_reached": LIMIT_SPENT,
    "rate_limit_error": RATE_LIMITED,
    "invalid_request_error": INVALID_REQUEST,
    "content_filter": UNWILLING,
    "model_not_found": UNKNOWN_MODEL,
    "server_error": SERVER_ERROR,
    "internal_server_error": SERVER_ERROR,
    "api_error": SERVER_ERROR,
    "overloaded_error": UNAVAILABLE,
    "service_unavailable": UNAVAILABLE,
}

BY_STATUS = {
    400: INVALID_REQUEST,
    401: UNAUTHENTICATED,
    402: NO_CREDIT,
    403: FORBIDDEN,
    404: UNKNOWN_MODEL,
    408: TIMED_OUT,
    429: RATE_LIMITED,
    500: SERVER_ERROR,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: TIMED_OUT,
    524: TIMED_OUT,  # Cloudflare in front of OpenRouter: the origin accepted the connection and did not answer
    529: UNAVAILABLE,
}
"""The statuses that mean something of their own; any other 4xx is UNACCEPTABLE, any other 5xx a SERVER_ERROR."""
