"""Which failures of a step are worth repeating.

Only one is: a database that does not answer will answer again, and an accepted message waits for it. Everything else
would fail the same way for ever and leave the workflow hanging, so it fails at once and the interaction ends with
what can honestly be said.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.exceptions import ApplicationError, FailureError

from core.orchestrator.errors import StorageUnavailableError


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
    except Exception as error:
        raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from error
