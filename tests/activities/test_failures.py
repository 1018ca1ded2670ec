"""Only a database that is away is worth another try of a local step."""

import asyncio

import pytest
from temporalio.exceptions import ApplicationError

from activities.failures import only_storage_is_retried
from core.orchestrator.errors import PromptError, StorageUnavailableError


def test_an_absent_database_is_waited_for() -> None:
    with pytest.raises(StorageUnavailableError), only_storage_is_retried():
        raise StorageUnavailableError("away")


@pytest.mark.parametrize("error", [PromptError("the template is broken"), ZeroDivisionError("the template is broken")])
def test_any_other_failure_is_final_and_named_after_its_class(error: Exception) -> None:
    with pytest.raises(ApplicationError) as failure, only_storage_is_retried():
        raise error
    assert failure.value.non_retryable
    assert (failure.value.type, failure.value.message) == (type(error).__name__, "the template is broken")


def test_what_is_meant_for_temporal_passes_as_it_is() -> None:
    meant = ApplicationError("as it is", type="mine")
    with pytest.raises(ApplicationError) as failure, only_storage_is_retried():
        raise meant
    assert failure.value is meant


def test_a_cancellation_is_no_failure() -> None:
    with pytest.raises(asyncio.CancelledError), only_storage_is_retried():
        raise asyncio.CancelledError
