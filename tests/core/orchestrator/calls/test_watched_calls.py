"""Calls that somebody may watch: what is shown is what was said, once, and a call that is to stop stops."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from core.orchestrator.calls.calling import FailedCall
from core.orchestrator.calls.cancelling import Cancellations
from core.orchestrator.contracts import AfterOutput, AttemptStatus, InteractionStatus, ModelAnswer
from core.orchestrator.errors import ErrorType, LLMProviderServiceError, NextStep, StorageUnavailableError
from core.orchestrator.interactions.store import CANCELLED, Ending, InteractionStore
from core.orchestrator.replies.log import LoggedEvent, read_events, shown_text
from core.orchestrator.storage.changes import reply_topic
from core.orchestrator.storage.database import Database, open_database
from tests.core.orchestrator.calls.line import THRICE, Line, is_cancelled, is_shut_down
from tests.core.orchestrator.domain import CALL, PROMPT, FlakyLedger, begun, completion, opened, opened_watched
from tests.core.orchestrator.replies.events import delta

BROKEN = LLMProviderServiceError("broken", posture=THRICE, may_be_billed=True)
KEY = "sk-or-v1-0123456789abcdef"


@pytest.fixture
async def watched(database: Database, store: InteractionStore) -> Line:
    interaction_id = await opened_watched(store)
    await store.save_prompt(interaction_id, PROMPT, {})
    return Line(store, FlakyLedger(database), interaction_id)


async def events(line: Line) -> Sequence[LoggedEvent]:
    async with line.ledger._database.read() as connection:
        return (await read_events(connection, line.interaction_id, 0, 1000))[1:]  # without its creation


async def shown(line: Line) -> str:
    async with line.ledger._database.read() as connection:
        return await shown_text(connection, line.interaction_id)


async def until_shown(line: Line, text: str) -> None:
    async with line.ledger._database.changes.watch(reply_topic(line.interaction_id)) as watch:
        while await shown(line) != text:
            await watch.changed()


# --- showing ---


async def test_text_is_shown_while_it_comes_and_adds_up_to_the_answer(watched: Line) -> None:
    held = asyncio.Event()
    watched.script(["Once", held, " upon", " a time", completion("Once upon a time")])
    task = asyncio.create_task(watched.call())
    await until_shown(watched, "Once")
    held.set()
    assert isinstance(await task, ModelAnswer)
    log = await events(watched)
    assert [event.type for event in log] == ["attempt.started", "text.delta", "text.delta"]
    assert await shown(watched) == "Once upon a time"


async def test_a_call_that_nobody_may_watch_logs_nothing(line: Line) -> None:
    line.script(["Once", completion("Once")])
    await line.call()
    async with line.ledger._database.read() as connection:
        assert await read_events(connection, line.interaction_id, 0, 10) == []


async def test_what_was_published_is_what_was_logged(watched: Line) -> None:
    watched.script(["Once", BROKEN], ["Twice", completion("Twice")])
    await watched.call()
    await watched.call()
    log = await events(watched)
    assert [event.type for event in watched.events] == [event.type for event in log]
    assert "text.reset" in [event.type for event in log]


async def test_a_text_that_breaks_is_shown_whole_before_its_failure_where_it_is_kept(watched: Line) -> None:
    for policy in (AfterOutput.INCOMPLETE, AfterOutput.CONTINUE):
        watched.provider.calls.clear()
        watched.script(["Once", " upon", BROKEN])
        before = await shown(watched)
        await watched.failure(after_output=policy)
        assert (await shown(watched)).removeprefix(before) == "Once upon"
        assert (await events(watched))[-1].type == "attempt.failed"


class LogAway(FlakyLedger):
    """A ledger whose database is away for what is shown alone."""

    async def show(self, *_: object) -> bool:
        raise StorageUnavailableError("away")


async def test_a_log_that_cannot_be_written_holds_no_call_up(watched: Line) -> None:
    watched.ledger = LogAway(watched.ledger._database)
    watched.script(["Once", " upon", completion("Once upon")])
    assert (await watched.answer()).text == "Once upon"
    assert await shown(watched) == "Once upon"  # with the end of the call


# --- lost workers ---


async def lose_worker(line: Line, *said: str) -> int:
    """Let a call show some text, and vanish."""
    ordinal = await begun(line.ledger, line.interaction_id, CALL)
    for text in said:
        assert await line.ledger.show(delta(line.interaction_id, text, ordinal))
    return ordinal


async def test_what_a_lost_worker_had_shown_is_forgotten(watched: Line) -> None:
    await lose_worker(watched, "Once", " upon")
    watched.script(["Twice", completion("Twice")])
    assert (await watched.answer()).text == "Twice"
    assert [event.type for event in await events(watched)][:5] == [
        "attempt.started",
        "text.delta",
        "text.delta",
        "attempt.failed",
        "text.reset",
    ]
    assert await shown(watched) == "Twice"


async def test_what_a_lost_worker_had_shown_is_continued_where_that_is_wanted(watched: Line) -> None:
    await lose_worker(watched, "Once", " upon")
    watched.script([" a time", completion(" a time")])
    assert (await watched.answer(after_output=AfterOutput.CONTINUE)).text == "Once upon a time"
    assert await shown(watched) == "Once upon a time"
    messages = watched.provider.calls[0][0]
    assert messages[-2] == {"role": "assistant", "content": "Once upon"}


async def test_a_lost_worker_that_wakes_shows_nothing_and_leaves_its_upstream(watched: Line) -> None:
    held, ended = asyncio.Event(), asyncio.Event()
    watched.script(["Old", held, " news", ended], ["New", completion("New")])
    paused = asyncio.create_task(watched.call())
    await until_shown(watched, "Old")
    await watched.answer()
    held.set()
    outcome = await paused
    assert isinstance(outcome, FailedCall)
    assert outcome.failure.error_type is ErrorType.WORKER_LOST
    assert watched.provider.closed == 2
    assert await shown(watched) == "New"


async def test_a_stopped_worker_says_so_and_its_text_is_forgotten(watched: Line) -> None:
    watched.script(["Once", asyncio.Event()])
    task = asyncio.create_task(watched.call(interruption=is_shut_down))
    await until_shown(watched, "Once")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [event.type for event in await events(watched)][-2:] == ["attempt.failed", "text.reset"]
    assert await shown(watched) == ""


# --- stopping ---


@pytest.fixture
async def elsewhere(place: Path | str) -> AsyncIterator[Database]:
    database = open_database(place)
    yield database
    await database.close()


async def test_a_call_stops_as_soon_as_its_interaction_is_to_end(line: Line, elsewhere: Database) -> None:
    line.script(["Once upon", asyncio.Event()])
    task = asyncio.create_task(line.call())
    await line.provider.speaking.wait()
    await Cancellations(elsewhere).mark(line.interaction_id)  # by another process
    async with asyncio.timeout(5):
        outcome = await task
    assert isinstance(outcome, FailedCall)
    assert (outcome.failure.error_type, outcome.failure.then) == (ErrorType.CANCELLED, NextStep.FAIL)
    assert outcome.retry_in is None
    assert line.provider.closed == 1
    assert await line.outcomes() == [(AttemptStatus.CANCELLED, ErrorType.CANCELLED)]
    partial = await line.ledger.partial_text(line.interaction_id)
    assert partial is not None
    assert partial.text == "Once upon"


async def test_what_a_cancelled_call_had_said_is_shown_and_kept_to_the_letter(watched: Line) -> None:
    watched.script(["Once", " upon", asyncio.Event()])
    task = asyncio.create_task(watched.call())
    await watched.provider.speaking.wait()
    await Cancellations(watched.ledger._database).mark(watched.interaction_id)
    await task
    ended = await watched.store.end(watched.interaction_id, Ending(InteractionStatus.CANCELLED))
    assert ended.view.message == "Once upon"
    assert await shown(watched) == "Once upon"


async def test_a_cancelled_call_whose_worker_was_lost_keeps_what_was_shown(watched: Line) -> None:
    await lose_worker(watched, "Once", " upon")
    ended = await watched.store.end(watched.interaction_id, Ending(InteractionStatus.CANCELLED, error=CANCELLED))
    assert ended.view.message == "Once upon"
    assert await shown(watched) == "Once upon"


async def test_no_call_begins_for_an_interaction_that_is_to_end(line: Line) -> None:
    await Cancellations(line.ledger._database).mark(line.interaction_id)
    outcome = await line.failure()
    assert outcome.failure.error_type is ErrorType.CANCELLED
    assert line.provider.calls == []


async def test_other_calls_go_on(line: Line, store: InteractionStore) -> None:
    held = asyncio.Event()
    line.script([held, completion("Hi")])
    task = asyncio.create_task(line.call(interruption=is_cancelled))
    await line.provider.speaking.wait()
    await Cancellations(line.ledger._database).mark(await opened(store))
    held.set()
    assert isinstance(await task, ModelAnswer)


# --- secrets ---


async def test_a_key_of_which_two_models_said_a_part_each_is_never_shown(watched: Line) -> None:
    watched.secrets = (KEY,)
    await lose_worker(watched, f"It is {KEY[:9]}")
    watched.script([*KEY[9:], ", they say", completion(f"{KEY[9:]}, they say")])
    answer = await watched.answer(after_output=AfterOutput.CONTINUE)
    assert KEY not in answer.text
    log = "".join(event.data.get("delta", "") for event in await events(watched))
    assert KEY not in log
    await watched.store.end(
        watched.interaction_id, Ending(InteractionStatus.COMPLETED, reply=answer.text, answered_place=0)
    )
    assert await shown(watched) == answer.text


async def test_a_text_that_only_begins_like_a_key_goes_on_as_it_was_said(watched: Line) -> None:
    watched.secrets = (KEY,)
    await lose_worker(watched, "The s")
    watched.script(["ky", " is blue", completion("ky is blue")])
    assert (await watched.answer(after_output=AfterOutput.CONTINUE)).text == "The sky is blue"
    assert await shown(watched) == "The sky is blue"


async def test_a_call_stops_when_its_interaction_is_ended_without_it(line: Line, elsewhere: Database) -> None:
    """As after an operator terminated the run: nobody tells the call but the store."""
    line.script(["Once upon", asyncio.Event()])
    task = asyncio.create_task(line.call())
    await line.provider.speaking.wait()
    await InteractionStore(elsewhere).end(line.interaction_id, Ending(InteractionStatus.FAILED))
    async with asyncio.timeout(5):
        assert isinstance(await task, FailedCall)
    assert line.provider.closed == 1
