"""Only a database that is away is worth another try of a local step."""

import asyncio

import pytest
from temporalio.exceptions import ApplicationError

from activities.failures import only_storage_is_retried
from core.orchestrator.errors import PromptError, StorageUnavailableError


def test_an_absent_database_is_waited_for() -> None:
    with pytest.raises(StorageUnavailableError), only_storage_is_retried():
        raise StorageUnavailableError("away")


def test_any_other_failure_is_final_and_named_after_its_class() -> None:
    with pytest.raises(ApplicationError) as failure, only_storage_is_retried():
        raise PromptError("the template is broken")
    assert failure.value.non_retryable
    assert (failure.value.type, failure.value.message) == ("PromptError", "the template is broken")


@pytest.mark.parametrize("error", [ZeroDivisionError("the whole prompt"), BaseException("the whole prompt")])
def test_what_nobody_foresaw_is_told_without_its_words(error: BaseException) -> None:
    with pytest.raises(ApplicationError) as failure, only_storage_is_retried():
        raise error
    assert failure.value.non_retryable
    assert type(error).__name__ in failure.value.message
    assert "prompt" not in str(failure.value.message)


def test_a_message_of_any_length_fits_a_history() -> None:
    with pytest.raises(ApplicationError) as failure, only_storage_is_retried():
        raise PromptError("z\ud800" * 5_000_000)
    failure.value.message.encode()
    assert len(failure.value.message) <= 300


def test_what_is_meant_for_temporal_passes_as_it_is() -> None:
    meant = ApplicationError("as it is", type="mine")
    with pytest.raises(ApplicationError) as failure, only_storage_is_retried():
        raise meant
    assert failure.value is meant


async def test_a_cancellation_is_no_failure() -> None:
    started = asyncio.Event()

    async def step() -> None:
        with only_storage_is_retried():
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(step())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_nobody_asked_for_is_a_failure() -> None:
    with pytest.raises(ApplicationError), only_storage_is_retried():
        raise asyncio.CancelledError
