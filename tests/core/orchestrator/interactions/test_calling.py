import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from core.orchestrator.contracts import AttemptStatus, ModelAnswer, PlannedCall, Usage
from core.orchestrator.errors import (
    ErrorType,
    LLMProviderAuthenticationError,
    LLMProviderConnectionError,
    LLMProviderRateLimitError,
    LLMProviderServiceError,
    NextStep,
    Posture,
    StorageUnavailableError,
    UnknownResourceError,
)
from core.orchestrator.events import EVERY_EVENT, EventBus, InteractionEvent
from core.orchestrator.interactions.answers import Progress
from core.orchestrator.interactions.calling import FailedCall, ModelCaller
from core.orchestrator.interactions.store import Ending, InteractionStatus, InteractionStore
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.domain import (
    CALL,
    NOON,
    PROMPT,
    FlakyLedger,
    ScriptedProvider,
    Step,
    completion,
    opened,
)

SECOND = PlannedCall(place=1, provider="openrouter", model="b/model")
LIMIT_IN_A_PAYLOAD = 2_000_000
THRICE = Posture(tries=3)


def is_cancelled() -> ErrorType:
    return ErrorType.CANCELLED


def is_shut_down() -> ErrorType:
    return ErrorType.WORKER_LOST


@dataclass
class Line:
    """One interaction with its prompt built, a scripted provider, and the caller between them."""

    store: InteractionStore
    ledger: FlakyLedger
    interaction_id: str
    events: list[InteractionEvent] = field(default_factory=list)
    provider: ScriptedProvider = field(default_factory=ScriptedProvider)
    providers: Registry[LLMProvider] = field(default_factory=lambda: Registry("provider", LLMProvider))
    call_timeout: timedelta = timedelta(seconds=30)
    max_wait: timedelta = timedelta(seconds=20)

    def __post_init__(self) -> None:
        self.providers.register("openrouter", lambda: self.provider)
        self.bus = EventBus()
        self.bus.subscribe(EVERY_EVENT, self.events.append)

    def script(self, *scripts: list[Step]) -> None:
        self.provider.scripts = list(scripts)

    async def call(
        self,
        call: PlannedCall = CALL,
        interruption: Callable[[], ErrorType] = is_shut_down,
        progress: Progress | None = None,
    ) -> ModelAnswer | FailedCall:
        caller = ModelCaller(
            store=self.store,
            ledger=self.ledger,
            providers=self.providers,
            events=self.bus,
            call_timeout=self.call_timeout,
            max_wait=self.max_wait,
        )
        return await caller.call(self.interaction_id, call, progress or Progress(), interruption)

    async def answer(self, call: PlannedCall = CALL) -> ModelAnswer:
        outcome = await self.call(call)
        assert isinstance(outcome, ModelAnswer), outcome
        return outcome

    async def failure(self, call: PlannedCall = CALL) -> FailedCall:
        outcome = await self.call(call)
        assert isinstance(outcome, FailedCall), outcome
        return outcome

    async def outcomes(self) -> list[tuple[AttemptStatus, ErrorType | None]]:
        return [(attempt.status, attempt.error_type) for attempt in await self.ledger.attempts(self.interaction_id)]


@pytest.fixture
async def line(database: Database, store: InteractionStore) -> Line:
    interaction_id = await opened(store)
    await store.save_prompt(interaction_id, PROMPT, {})
    return Line(store, FlakyLedger(database), interaction_id)


# --- answers ---


async def test_an_answer_is_returned_with_what_it_used(line: Line) -> None:
    usage = Usage(prompt_tokens=3, cost_usd=0.1)
    line.script(["Hi ", "there", completion(model="a/model-v2", finish_reason="stop", usage=usage)])
    progress = Progress()
    answer = await line.call(progress=progress)
    assert isinstance(answer, ModelAnswer)
    assert (answer.text, answer.place, answer.model, answer.provider) == ("Hi there", 0, "a/model-v2", "openrouter")
    assert (answer.finish_reason, answer.usage) == ("stop", usage)
    assert [attempt.status for attempt in answer.attempts] == [AttemptStatus.SUCCEEDED]
    assert progress == Progress(ordinal=1, characters=8)


async def test_the_provider_gets_exactly_the_prompt(line: Line) -> None:
    prompt = type(PROMPT)([{"role": "system", "content": "Be Cherry."}], 0.0, 7)
    await line.store.save_prompt(line.interaction_id, prompt, {})
    line.script(["Hi", completion("Hi")])
    await line.answer()
    assert line.provider.calls == [(prompt.messages, "a/model", 0.0, 7)]


async def test_an_answer_that_is_kept_is_not_paid_for_again(line: Line) -> None:
    line.script(["Hi", completion("Hi")])
    assert await line.answer() == await line.answer()
    assert len(line.provider.calls) == 1


async def test_each_place_of_the_plan_has_an_answer_of_its_own(line: Line) -> None:
    line.script(["Hi", completion("Hi")], ["Ho", completion("Ho")])
    assert [(await line.answer(call)).text for call in (CALL, SECOND)] == ["Hi", "Ho"]


async def test_the_upstream_is_let_go_of_after_an_answer(line: Line) -> None:
    line.script(["Hi", completion("Hi"), "never asked for"])
    await line.answer()
    assert line.provider.closed == 1


async def test_a_refusal_is_an_answer_even_without_text(line: Line) -> None:
    line.script([completion("", finish_reason="content_filter")])
    assert (await line.answer()).finish_reason == "content_filter"


async def test_an_answer_in_one_piece_is_an_answer(line: Line) -> None:
    class Simple(ScriptedProvider):
        stream_chat_completion = LLMProvider.stream_chat_completion

        async def generate_chat_completion(self, *_: Any, **__: Any) -> str:
            return "All at once."

    line.provider = Simple()
    assert (await line.answer()).text == "All at once."


async def test_a_provider_that_fails_after_its_answer_has_answered(line: Line) -> None:
    class Untidy(ScriptedProvider):
        async def stream_chat_completion(self, *_: Any, **__: Any) -> Any:
            self.calls.append(([], None, 0, None))
            try:
                yield completion("Hi")
            finally:
                raise OSError("could not be closed")

    line.provider = Untidy()
    assert (await line.answer()).text == "Hi"
    assert len(line.provider.calls) == 1


async def test_what_no_encoder_takes_is_replaced_in_an_answer(line: Line) -> None:
    line.script([completion("a\ud800b\0c")])
    assert (await line.answer()).text == "a\ufffdbc"


async def test_numbers_that_cannot_be_are_taken_for_untold(line: Line) -> None:
    line.script([completion("Hi", usage=Usage(prompt_tokens=10**30, completion_tokens=-1, cost_usd=float("inf")))])
    assert (await line.answer()).usage == Usage()


async def test_an_error_with_odd_fields_is_recorded_without_them(line: Line) -> None:
    odd: dict[str, Any] = {"http_status": "abc", "posture": "now", "error_type": "?", "generation_id": "g" * 3_000_000}
    line.script([LLMProviderRateLimitError("odd", error_code="c\ud800" * 1_000_000, **odd)])
    failed = await line.failure()
    assert (failed.failure.error_type, failed.failure.then) == (ErrorType.RATE_LIMIT, NextStep.NEXT_MODEL)
    [attempt] = await line.ledger.attempts(line.interaction_id)
    assert attempt.http_status is None
    assert len(attempt.model_dump_json()) < 2000


# --- replies too long to carry ---


@pytest.mark.parametrize("piece", ["a" * 1000, "漢" * 1000, "😀" * 1000, '"\n' * 500, "\x01" * 1000])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_reply_too_long_for_a_payload_is_cut(line: Line, piece: str, streamed: bool) -> None:
    text = piece * 1100
    line.script([*([piece] * 1100 if streamed else []), completion(text, finish_reason="stop")])
    answer = await line.answer()
    assert len(answer.model_dump_json().encode()) < LIMIT_IN_A_PAYLOAD
    assert len(answer.text) > 200_000
    assert text.startswith(answer.text)
    assert answer.finish_reason == "length"
    assert line.provider.closed == 1


async def test_a_long_reply_that_fits_is_left_alone(line: Line) -> None:
    line.script(["é" * 500_000, completion("é" * 500_000, finish_reason="stop")])
    answer = await line.answer()
    assert (len(answer.text), answer.finish_reason) == (500_000, "stop")


# --- failures ---


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
    caplog.set_level(logging.CRITICAL, logger="core.orchestrator.interactions")
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


# --- a database that is away ---


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
    class Away(InteractionStore):
        async def prompt(self, interaction_id: str) -> Any:
            raise StorageUnavailableError("away")

    line.store = Away(line.ledger._database)
    with pytest.raises(StorageUnavailableError):
        await line.call()
    assert line.provider.calls == []


# --- two workers, and cancellation ---


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
