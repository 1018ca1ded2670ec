"""Which failures of a step are worth repeating.

Only one is: a database that does not answer will answer again, and an accepted message waits for it. Everything else
would fail the same way for ever and leave the workflow hanging, so it fails at once and the interaction ends with
what can honestly be said.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, FailureError

from core.orchestrator.errors import OrchestratorError, StorageUnavailableError, UnknownResourceError
from core.orchestrator.foreign import must_go_on
from core.orchestrator.providers.untrusted import one_line

logger = logging.getLogger(__name__)


@contextmanager
def only_storage_is_retried() -> Iterator[None]:
    """Turn every failure of the block into one that Temporal does not retry, except an absent database.

    Raises:
        ApplicationError: not retryable, with the class of the error as its type.
        StorageUnavailableError: as it came.
    """
    try:
        yield
    except (StorageUnavailableError, FailureError):
        raise
    except OrchestratorError as error:
        raise _final(one_line(str(error)), error) from None
    except BaseException as error:
        if must_go_on(error):
            raise
        # Its words are for our log only: they may hold what belongs to no history and no client, such as a prompt.
        logger.exception("a step failed as it should not")
        raise _final(f"an error of ours ({type(error).__name__}); it has been logged", error) from None


def _final(message: str, error: BaseException) -> ApplicationError:
    # An interaction that was erased while a step was under way is nobody's mistake, and no alarm in the log.
    benign = isinstance(error, UnknownResourceError)
    category = ApplicationErrorCategory.BENIGN if benign else ApplicationErrorCategory.UNSPECIFIED
    return ApplicationError(message, type=type(error).__name__, non_retryable=True, category=category)
