"""Calls while the database is away, a worker is replaced, or somebody cancels."""

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from core.orchestrator.calls.calling import FailedCall
from core.orchestrator.contracts import AttemptStatus
from core.orchestrator.errors import (
    ErrorType,
    LLMProviderServiceError,
    StorageUnavailableError,
)
from core.orchestrator.interactions.store import Ending, InteractionStatus, InteractionStore
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.calls.line import THRICE, Line, is_cancelled, is_shut_down
from tests.core.orchestrator.domain import (
    PROMPT,
    FlakyLedger,
    completion,
    opened,
)
from tests.core.orchestrator.vendors import only_sqlite

pytestmark = only_sqlite  # about what callers make of models, with few and simple writes


async def test_an_answer_is_kept_once_the_database_is_back_and_not_asked_for_again(line: Line) -> None:
    line.script(["Hi", completion("Hi")])
    line.ledger.away = 2
    assert (await line.answer()).text == "Hi"
    assert len(line.provider.calls) == 1
    assert await line.outcomes() == [(AttemptStatus.SUCCEEDED, None)]


async def test_an_answer_whose_commit_was_done_but_never_confirmed_is_kept(line: Line) -> None:
    line.script(["Hi", completion("Hi")])
    line.ledger.lost_answers = 1
    assert (await line.answer()).text == "Hi"
    assert len(line.provider.calls) == 1


async def test_a_failure_is_recorded_once_the_database_is_back(line: Line) -> None:
    line.script([LLMProviderServiceError("broken", posture=THRICE)])
    line.ledger.away = 1
    assert (await line.failure()).retry_in is not None
    assert await line.outcomes() == [(AttemptStatus.FAILED, ErrorType.UPSTREAM)]


async def test_a_database_that_is_away_before_the_call_leaves_the_model_unasked(line: Line) -> None:
    class Away(FlakyLedger):
        async def begin(self, *_: Any, **__: Any) -> NoReturn:
            raise StorageUnavailableError("away")

    line.ledger = Away(line.ledger._database)
    with pytest.raises(StorageUnavailableError):
        await line.call()
    assert line.provider.calls == []


async def test_a_worker_that_was_replaced_drops_its_answer(line: Line) -> None:
    waiting = asyncio.Event()
    line.script(["Old", waiting, completion("Old")], ["New", completion("New")])
    paused = asyncio.create_task(line.call())
    await line.provider.speaking.wait()
    replacement = await line.answer()
    waiting.set()
    outcome = await paused
    assert isinstance(outcome, FailedCall)
    assert outcome.failure.error_type is ErrorType.WORKER_LOST
    assert (await line.answer()).text == replacement.text == "New"
    assert await line.outcomes() == [(AttemptStatus.FAILED, ErrorType.WORKER_LOST), (AttemptStatus.SUCCEEDED, None)]


async def test_a_worker_that_was_replaced_cannot_fail_its_replacement(line: Line) -> None:
    waiting = asyncio.Event()
    line.script(["Old", waiting, LLMProviderServiceError("broken")], ["New", completion("New")])
    paused = asyncio.create_task(line.call())
    await line.provider.speaking.wait()
    await line.answer()
    waiting.set()
    assert isinstance(await paused, FailedCall)
    assert await line.outcomes() == [(AttemptStatus.FAILED, ErrorType.WORKER_LOST), (AttemptStatus.SUCCEEDED, None)]


async def test_an_answer_that_comes_after_the_end_is_dropped(line: Line) -> None:
    waiting = asyncio.Event()
    line.script(["Late", waiting, completion("Late")])
    task = asyncio.create_task(line.call())
    await line.provider.speaking.wait()
    ended = await line.store.end(line.interaction_id, Ending(InteractionStatus.FAILED))
    waiting.set()
    assert isinstance(await task, FailedCall)
    assert await line.store.view(line.interaction_id) == ended.view


@pytest.mark.parametrize(
    ("why", "status"),
    [(is_cancelled, AttemptStatus.CANCELLED), (is_shut_down, AttemptStatus.FAILED)],
)
async def test_a_call_that_is_interrupted_says_why_and_closes_the_upstream(
    line: Line, why: Callable[[], ErrorType], status: AttemptStatus
) -> None:
    line.script(["Hi", asyncio.Event()])
    task = asyncio.create_task(line.call(interruption=why))
    await line.provider.speaking.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert line.provider.closed == 1
    assert await line.outcomes() == [(status, why())]


async def test_an_interrupted_call_ends_even_while_the_database_is_away(line: Line) -> None:
    line.script(["Hi", asyncio.Event()])
    line.ledger.away = 1
    task = asyncio.create_task(line.call())
    await line.provider.speaking.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_many_calls_at_once_keep_their_answers_apart(database: Database, store: InteractionStore) -> None:
    async def one(number: int) -> str:
        interaction_id = await opened(store, session_id=f"s{number}")
        await store.save_prompt(interaction_id, PROMPT, {})
        line = Line(store, FlakyLedger(database), interaction_id)
        line.script([LLMProviderServiceError("broken", posture=THRICE)], [completion(f"answer {number}")])
        await line.failure()
        return (await line.answer()).text

    assert await asyncio.gather(*(one(number) for number in range(25))) == [f"answer {n}" for n in range(25)]
