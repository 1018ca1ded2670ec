"""A call that fails: what is recorded, what is told, and how often the model is tried."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from core.orchestrator.contracts import AttemptStatus, PlannedCall, Usage
from core.orchestrator.errors import (
    ErrorType,
    LLMProviderAuthenticationError,
    LLMProviderConnectionError,
    LLMProviderRateLimitError,
    LLMProviderServiceError,
    NextStep,
    Posture,
    UnknownResourceError,
)
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.providers.base import LLMProvider
from tests.core.orchestrator.calls.line import SECOND, THRICE, Line
from tests.core.orchestrator.domain import (
    CALL,
    NOON,
    ScriptedProvider,
    completion,
    opened,
)
from tests.core.orchestrator.vendors import only_sqlite

pytestmark = only_sqlite  # about what callers make of models, with few and simple writes


async def test_tries_are_counted_by_kind_of_error(line: Line) -> None:
    broken = LLMProviderServiceError("broken", posture=THRICE)
    limited = LLMProviderRateLimitError("limited", posture=Posture(tries=2))
    line.script([broken], [limited], [broken], [limited], [broken])
    waits = [(await line.failure()).retry_in for _ in range(5)]
    assert [wait is None for wait in waits] == [False, False, False, True, True]


async def test_tries_are_counted_by_place(line: Line) -> None:
    broken = LLMProviderServiceError("broken", posture=Posture(tries=2))
    line.script(*[[broken]] * 4)
    places = [CALL, SECOND, CALL, SECOND]
    assert [(await line.failure(call)).retry_in is None for call in places] == [False, False, True, True]


async def test_a_lost_worker_is_no_try(line: Line) -> None:
    for _ in range(5):
        await line.ledger.begin(line.interaction_id, CALL, NOON)
    line.script([LLMProviderServiceError("broken", posture=Posture(tries=2))])
    assert (await line.failure()).retry_in is not None


async def test_waits_grow_unless_the_upstream_names_one(line: Line) -> None:
    broken = LLMProviderServiceError("broken", posture=Posture(tries=4))
    asked = LLMProviderRateLimitError("limited", posture=Posture(tries=2, retry_after=timedelta(seconds=7)))
    now = LLMProviderConnectionError("gone", posture=Posture(tries=2, retry_after=timedelta(0)))
    line.script([broken], [broken], [broken], [asked], [now])
    waits = [(await line.failure()).retry_in for _ in range(5)]
    assert waits == [timedelta(seconds=seconds) for seconds in (0.5, 1, 2, 7, 0)]
    recorded = [attempt.wait_ms for attempt in await line.ledger.attempts(line.interaction_id)]
    assert recorded == [500, 1000, 2000, 7000, 0]


async def test_a_wait_longer_than_the_limit_means_the_next_model(line: Line) -> None:
    line.script([LLMProviderRateLimitError("limited", posture=Posture(tries=5, retry_after=timedelta(seconds=21)))])
    failed = await line.failure()
    assert failed.retry_in is None
    assert failed.failure.then is NextStep.NEXT_MODEL


async def test_a_failure_says_who_is_next_and_what_was_tried(line: Line) -> None:
    line.script(
        [LLMProviderServiceError("broken", posture=THRICE)],
        [LLMProviderAuthenticationError("wrong key", posture=Posture(then=NextStep.FAIL), http_status=401)],
    )
    await line.failure()
    failed = (await line.failure()).failure
    assert (failed.error_type, failed.detail, failed.then) == (ErrorType.AUTHENTICATION, "wrong key", NextStep.FAIL)
    assert [attempt.error_type for attempt in failed.attempts] == [ErrorType.UPSTREAM, ErrorType.AUTHENTICATION]


async def test_events_tell_what_follows_a_failure(line: Line) -> None:
    line.script(
        [LLMProviderServiceError("broken", posture=Posture(tries=2))],
        [LLMProviderServiceError("broken", posture=Posture(tries=2))],
        [LLMProviderAuthenticationError("wrong key", posture=Posture(then=NextStep.FAIL))],
        ["Hi", completion("Hi")],
    )
    for _ in range(4):
        await line.call()
    told = [(event.type, getattr(event, "attempt", None), getattr(event, "next", None)) for event in line.events]
    assert told == [
        ("attempt.started", 1, None),
        ("attempt.failed", 1, "retry"),
        ("attempt.started", 2, None),
        ("attempt.failed", 2, "next_model"),
        ("attempt.started", 3, None),
        ("attempt.failed", 3, "give_up"),
        ("attempt.started", 4, None),
    ]


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ([KeyError("choices")], ErrorType.UPSTREAM),
        ([RecursionError("deep")], ErrorType.UPSTREAM),
        ([BaseException("a panic of another language")], ErrorType.UPSTREAM),
        ([SystemExit(3)], ErrorType.UPSTREAM),
        ([Exception("a\ud800\0" + "b" * 100_000)], ErrorType.UPSTREAM),
        ([None], ErrorType.UPSTREAM),
        ([asyncio.CancelledError("a task of the provider's own")], ErrorType.UPSTREAM),
        (["partial"], ErrorType.TRUNCATED),
        ([], ErrorType.TRUNCATED),
        ([completion("")], ErrorType.EMPTY),
        (["  \n", completion("  \n")], ErrorType.EMPTY),
        ([completion("\0\0")], ErrorType.EMPTY),
    ],
)
async def test_whatever_a_provider_does_is_a_failed_call(
    line: Line, script: list[Any], kind: ErrorType, caplog: pytest.LogCaptureFixture
) -> None:
    # The log holds the provider's own words, and pytest's workers cannot send each other a lone surrogate.
    caplog.set_level(logging.CRITICAL, logger="core.orchestrator.calls")
    line.script([TypeError("not iterable") if step is None else step for step in script])
    failed = await line.failure()
    assert failed.failure.error_type is kind
    assert len(failed.failure.detail) <= 300
    [attempt] = await line.ledger.attempts(line.interaction_id)
    assert (attempt.status, attempt.error_type, attempt.usage) == (AttemptStatus.FAILED, kind, Usage())
    assert line.provider.closed == 1


@pytest.mark.parametrize("value", [None, 7, {"text": "Hi"}, {"content": None}, []])
async def test_a_provider_that_returns_nothing_of_use_is_a_failed_call(line: Line, value: Any) -> None:
    class Odd(ScriptedProvider):
        stream_chat_completion = LLMProvider.stream_chat_completion

        async def generate_chat_completion(self, *_: Any, **__: Any) -> Any:
            return value

    line.provider = Odd()
    failed = await line.failure()
    assert failed.failure.error_type in (ErrorType.EMPTY, ErrorType.MALFORMED)


async def test_pieces_that_are_no_text_are_a_failed_call(line: Line) -> None:
    class Odd(ScriptedProvider):
        async def stream_chat_completion(self, *_: Any, **__: Any) -> Any:
            yield None

    line.provider = Odd()
    assert (await line.failure()).failure.error_type is ErrorType.UPSTREAM


async def test_a_provider_that_is_unknown_or_cannot_be_made_means_the_next_model(line: Line) -> None:
    def broken() -> LLMProvider:
        raise OSError("no licence")

    line.providers.register("broken", broken)
    for name in ("nobody", "broken"):
        failed = await line.failure(PlannedCall(place=0, provider=name, model="m"))
        assert name in failed.failure.detail
        assert (failed.retry_in, failed.failure.then) == (None, NextStep.NEXT_MODEL)


async def test_an_empty_answer_is_asked_for_once_more(line: Line) -> None:
    line.script([completion("")], [completion("")])
    assert [(await line.failure()).retry_in is None for _ in range(2)] == [False, True]


async def test_a_call_that_takes_too_long_ends_itself_and_lets_go_of_the_upstream(line: Line) -> None:
    line.call_timeout = timedelta(milliseconds=50)
    line.script(["Hi", asyncio.Event()], ["Hi", asyncio.Event()])
    failed = [await line.failure() for _ in range(2)]
    assert [one.failure.error_type for one in failed] == [ErrorType.TIMEOUT] * 2
    assert [one.retry_in is None for one in failed] == [False, True]
    assert line.provider.closed == 2
    [attempt, _] = failed[1].failure.attempts
    assert attempt.usage == Usage(), "it may have generated something: unknown, not nothing"


async def test_a_call_that_cost_nothing_says_so(line: Line) -> None:
    line.script([LLMProviderConnectionError("refused", may_be_billed=False)])
    await line.failure()
    [attempt] = await line.ledger.attempts(line.interaction_id)
    assert attempt.usage is None


async def test_without_a_prompt_nothing_is_asked(line: Line, store: InteractionStore) -> None:
    line.interaction_id = await opened(store)
    with pytest.raises(UnknownResourceError):
        await line.call()
    assert line.provider.calls == []
