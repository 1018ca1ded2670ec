"""From whatever a provider raised to an error that can be recorded: a plugin may raise anything, with any fields."""

import logging

from core.orchestrator.calls.identification import LABEL_CHARACTERS
from core.orchestrator.errors import (
    ErrorType,
    LLMProviderError,
    LLMProviderModelError,
    LLMProviderServiceError,
    LLMProviderTimeoutError,
    OrchestratorError,
    Posture,
)
from core.orchestrator.providers.untrusted import one_line

logger = logging.getLogger(__name__)


def as_provider_error(error: BaseException, provider: str) -> LLMProviderError:
    """Return an error whose fields can be stored and read again."""
    match error:
        case LLMProviderError():
            return _sound(error)
        case TimeoutError():
            return LLMProviderTimeoutError(
                f"provider '{provider}' did not answer in time", posture=Posture(tries=2), may_be_billed=True
            )
        case OrchestratorError():  # the provider is unknown, or could not be made
            return LLMProviderModelError(str(error))
        case _:
            logger.warning("provider '%s' raised what no provider should", provider, exc_info=error)
            return LLMProviderServiceError(
                f"provider '{provider}' failed: {type(error).__name__}: {error}", may_be_billed=True
            )


def _sound(error: LLMProviderError) -> LLMProviderError:
    if not isinstance(error.error_type, ErrorType):
        error.error_type = error.default_error_type
    if not isinstance(error.posture, Posture):
        error.posture = Posture()
    status = error.http_status  # an HTTPStatus is a number too
    error.http_status = int(status) if isinstance(status, int) and not isinstance(status, bool) else None
    error.error_code = one_line(error.error_code, LABEL_CHARACTERS) or None
    error.generation_id = one_line(error.generation_id, LABEL_CHARACTERS) or None
    error.may_be_billed = bool(error.may_be_billed)
    return error
