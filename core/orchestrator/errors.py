"""Every error of the domain, named by what the caller should do about it.

OrchestratorError
├── ConfigurationError              mend a setting, a persona file or a plugin, then start again
├── KeyRequiredError                send an API key that the service knows
├── NotAllowedError                 use a key that may do this
├── UnknownResourceError            ask for something that exists
├── SessionOwnershipError           use a session of your own
├── SessionBusyError                wait for the session's earlier turn, or send with another strategy
├── SessionErasingError             wait until the session is erased: then its id is free
├── IdempotencyConflictError        use a key of its own for each request
├── NotNowError                     send the same again after `retry_after`
│   ├── RateLimitedError                   and begin fewer interactions within a minute
│   ├── TooManyOpenError                   or when one of your own has ended
│   └── OverloadedError                    or when the service has less to do
├── StorageUnavailableError         try again when the database answers
├── WorkflowServiceUnavailableError try again when Temporal answers
├── PromptError                     mend the agent, formatter or persona template that failed
└── LLMProviderError                a model call failed; `posture` says who should be tried next
    ├── LLMProviderAuthenticationError     mend the key
    ├── LLMProviderConnectionError         the request, or the rest of the answer, never arrived
    ├── LLMProviderRateLimitError          wait, or ask another model
    ├── LLMProviderResourceExhaustedError  pay, or raise a limit
    ├── LLMProviderInvalidRequestError     send something else
    ├── LLMProviderServiceError            the upstream broke
    ├── LLMProviderTimeoutError            the upstream was too slow
    └── LLMProviderModelError              this model cannot answer this; another may

The domain knows no HTTP status of our own API: `api/troubles.py` translates. The tree above is compared with the
classes by a test.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class OrchestratorError(Exception):
    """Base of every error this project raises on purpose."""


class ConfigurationError(OrchestratorError):
    """A setting, persona file or plugin is wrong. The message is one line that says where."""


class KeyRequiredError(OrchestratorError):
    """A request came without an API key, or with none that is known; which of both is not told."""

    def __init__(self) -> None:
        super().__init__("send a key of this service: Authorization: Bearer KEY")


class NotAllowedError(OrchestratorError):
    """The key does not allow this, or is another user's."""


class UnknownResourceError(OrchestratorError):
    """Something was asked for by a name that nothing has: a persona, an agent, an interaction, a session."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"unknown {kind} '{name}'")
        self.kind = kind
        self.name = name


class SessionOwnershipError(OrchestratorError):
    """The session belongs to another user."""


class SessionBusyError(OrchestratorError):
    """An earlier turn of the session has not ended, and the sender would not wait for it."""

    def __init__(self, session_id: str, interaction_id: str) -> None:
        super().__init__(f"session '{session_id}' is busy with interaction {interaction_id}")
        self.interaction_id = interaction_id
        """The earlier turn."""


class SessionErasingError(OrchestratorError):
    """The session is being erased, and takes no message until that is done."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session '{session_id}' is being erased; send again in a moment")


class IdempotencyConflictError(OrchestratorError):
    """The same user sent another request under the same idempotency key."""


class NotNowError(OrchestratorError):
    """Nothing is wrong with the request, and nothing of it was kept: there is no room for it now."""

    def __init__(self, message: str, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """After it there may be room; never less than nothing."""


class RateLimitedError(NotNowError):
    """A user, or an API key, has begun as many interactions within a minute as it may."""


class TooManyOpenError(NotNowError):
    """As many interactions of a user, or of an API key, have not ended as may be open; `retry_after` is a guess."""

    def __init__(
        self, message: str, retry_after: timedelta, *, user_id: str | None = None, key_name: str | None = None
    ) -> None:
        """Tell whose they are, by either `user_id` or `key_name`."""
        super().__init__(message, retry_after)
        self.user_id = user_id
        self.key_name = key_name


class OverloadedError(NotNowError):
    """As many interactions have not ended in all as the service takes; `retry_after` is a guess."""


class StorageUnavailableError(OrchestratorError):
    """The database did not answer, or refused to."""


class WorkflowServiceUnavailableError(OrchestratorError):
    """Temporal did not answer in time.

    `interaction_id` is set where the start may have been recorded all the same: the interaction can be looked up.
    """

    def __init__(self, message: str, *, interaction_id: str | None = None) -> None:
        super().__init__(message)
        self.interaction_id = interaction_id


class PromptError(OrchestratorError):
    """An agent, a formatter or a persona's template failed while a prompt was built."""


class ErrorType(StrEnum):
    """Why a model call, or a whole interaction, failed: the `error_type` of the HTTP contract."""

    AUTHENTICATION = "authentication"
    CREDIT = "credit"
    QUOTA = "quota"
    RATE_LIMIT = "rate_limit"
    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH = "context_length"
    MODERATION = "moderation"
    CONTENT_POLICY = "content_policy"
    MODEL_NOT_FOUND = "model_not_found"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    CONNECTION = "connection"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    OUTPUT_LIMIT = "output_limit"
    MALFORMED = "malformed"
    UPSTREAM = "upstream"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"
    WORKER_LOST = "worker_lost"


class NextStep(StrEnum):
    """Who should be tried when a call's own tries are spent."""

    NEXT_MODEL = "next_model"
    """The next model of the plan."""
    NEXT_MODEL_ONCE = "next_model_once"
    """The next model; when that one says the same, nobody: then it is not the model."""
    NEXT_PROVIDER = "next_provider"
    """The next model of another provider: this one refuses our account, whatever is asked of it."""
    NEXT_PAID_MODEL = "next_paid_model"
    """The next model whose name does not end in `:free`: the free allowance of the account is used up."""
    LARGER_CONTEXT = "larger_context"
    """The next model with a larger context window; nobody where no such model is known."""
    FAIL = "fail"
    """Nobody: no model can mend this."""


@dataclass(frozen=True, slots=True)
class Posture:
    """What to do after one failed call: how often to try the same model, when, and who comes next."""

    tries: int = 1
    """Calls to the same model in all, this kind of error counted; 1 means never again."""
    then: NextStep = NextStep.NEXT_MODEL
    retry_after: timedelta | None = None
    """What the upstream asked us to wait, clamped to >= 0; None where it said nothing."""


class LLMProviderError(OrchestratorError):
    """A model call failed. The message is safe to show: it never holds a key."""

    default_error_type = ErrorType.UPSTREAM

    def __init__(
        self,
        message: str,
        *,
        error_type: ErrorType | None = None,
        posture: Posture | None = None,
        http_status: int | None = None,
        error_code: str | None = None,
        generation_id: str | None = None,
        may_be_billed: bool = False,
    ) -> None:
        """Record what the upstream said.

        `http_status` is what HTTP said, `error_code` what the body said. `may_be_billed` is true when the upstream
        may have generated something: then the cost of the call is unknown rather than nothing.
        """
        super().__init__(message)
        self.error_type = error_type or self.default_error_type
        self.posture = posture or Posture()
        self.http_status = http_status
        self.error_code = error_code
        self.generation_id = generation_id
        self.may_be_billed = may_be_billed


class LLMProviderAuthenticationError(LLMProviderError):
    """The provider does not accept our key."""

    default_error_type = ErrorType.AUTHENTICATION


class LLMProviderConnectionError(LLMProviderError):
    """The provider could not be reached, or the connection broke before the answer was whole."""

    default_error_type = ErrorType.CONNECTION


class LLMProviderRateLimitError(LLMProviderError):
    """Too many requests, for the account or at the upstream provider."""

    default_error_type = ErrorType.RATE_LIMIT


class LLMProviderResourceExhaustedError(LLMProviderError):
    """The account's credit, or a limit set on the key, is used up."""

    default_error_type = ErrorType.CREDIT


class LLMProviderInvalidRequestError(LLMProviderError):
    """The request itself is refused: malformed, too long, or flagged."""

    default_error_type = ErrorType.INVALID_REQUEST


class LLMProviderServiceError(LLMProviderError):
    """The provider broke, is overloaded, or sent something that is no answer."""

    default_error_type = ErrorType.UPSTREAM


class LLMProviderTimeoutError(LLMProviderError):
    """No first data in time, no further data in time, or the whole call took too long."""

    default_error_type = ErrorType.TIMEOUT


class LLMProviderModelError(LLMProviderError):
    """This model is unknown, unavailable or unwilling; another one may answer."""

    default_error_type = ErrorType.MODEL_NOT_FOUND
