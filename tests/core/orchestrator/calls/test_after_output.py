"""Every point at which a call can fail, under every policy, with and without a next model: over real sockets.

What is expected follows from a few facts about each point; the table lists them.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from core.orchestrator.contracts import AfterOutput, AttemptStatus, InteractionStatus, StoreResults
from core.orchestrator.errors import ErrorType
from core.orchestrator.providers.openrouter import OpenRouterProvider
from core.orchestrator.storage.database import Database
from standin import Call, Pace, StandIn
from tests.core.orchestrator.calls.stage import (
    FIRST,
    HELD,
    HELD_AFTER,
    SECOND,
    Stage,
    broken_stream,
    half_of,
    said_by,
)
from tests.core.orchestrator.domain import PROMPT, opened
from tests.core.orchestrator.vendors import only_sqlite

pytestmark = only_sqlite  # about what callers make of models, with few and simple writes

SOON = timedelta(milliseconds=800)
FLAGGED = {"code": 403, "message": "flagged", "metadata": {"reasons": ["violence"]}}


@dataclass(frozen=True)
class Point:
    """A way to fail."""

    step: str | dict[str, Any]
    kind: ErrorType
    tries: int
    """Calls to the same model before the next one is asked."""
    said: Callable[[Call], str] | None = half_of
    """What had been said by then; None: nothing."""
    is_final: bool = False
    """Nobody else can mend it."""
    call_timeout: timedelta = timedelta(seconds=20)
    remaining: timedelta | None = None


def first_words(call: Call) -> str:
    return said_by(call, HELD_AFTER)


POINTS = {
    "refused": Point("down", ErrorType.UNAVAILABLE, 3, said=None),
    "error in the first chunk": Point("error-first-chunk", ErrorType.UNAVAILABLE, 3, said=None),
    "empty": Point("empty", ErrorType.EMPTY, 2, said=None),
    "error in the middle": Point("error-mid-stream", ErrorType.UPSTREAM, 3),
    "truncated": Point("truncated", ErrorType.TRUNCATED, 2),
    "reset": Point("reset", ErrorType.TRUNCATED, 2),
    "stalled": Point("stall", ErrorType.STALLED, 2),
    "malformed": Point("malformed", ErrorType.MALFORMED, 2),
    "call limit": Point(HELD, ErrorType.TIMEOUT, 2, said=first_words, call_timeout=SOON),
    "deadline": Point(HELD, ErrorType.TIMEOUT, 1, said=first_words, remaining=SOON, is_final=True),
    "final": Point(broken_stream(FLAGGED), ErrorType.MODERATION, 1, said=lambda _: "Once upon", is_final=True),
}


@pytest.fixture(scope="module")
async def standin() -> AsyncIterator[StandIn]:
    async with StandIn(pace=Pace(keep_alive=timedelta(milliseconds=50))) as server:
        yield server


@pytest.fixture
async def stage(request: pytest.FixtureRequest, database: Database, standin: StandIn) -> AsyncIterator[Stage]:
    standin.reset()
    patient = "stalled" not in request.node.name
    provider = OpenRouterProvider(
        api_key=SecretStr("sk-or-test-key"),
        base_url=standin.base_url,
        default_model=FIRST,
        first_token_timeout=timedelta(seconds=10),
        stall_timeout=timedelta(seconds=10) if patient else timedelta(milliseconds=150),
    )
    yield Stage(database, standin, provider)
    await provider.aclose()


@pytest.mark.parametrize("models", [[FIRST, SECOND], [FIRST]], ids=["with a next", "alone"])
@pytest.mark.parametrize("policy", AfterOutput)
@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
async def test_what_becomes_of_a_call_that_breaks(
    stage: Stage, point: Point, policy: AfterOutput, models: list[str]
) -> None:
    stage.call_timeout, stage.remaining = point.call_timeout, point.remaining
    shown, has_next = point.said is not None, len(models) > 1
    stage.standin.script(FIRST, *[point.step] * point.tries)
    view = await stage.ask(await stage.open(policy, models))

    tries = point.tries
    if shown and (policy is AfterOutput.INCOMPLETE or (policy is AfterOutput.CONTINUE and has_next)):
        tries = 1
    goes_on = has_next and not point.is_final and not (shown and policy is AfterOutput.INCOMPLETE)
    assert stage.asked == [FIRST] * tries + [SECOND] * goes_on

    calls = stage.standin.ledger.calls
    broken = [point.said(call) for call in calls[:tries]] if point.said else []
    text_so_far = "".join(broken) if policy is AfterOutput.CONTINUE else "".join(broken[-1:])
    if goes_on:
        kept = said_by(calls[-1])
        assert view.message == (text_so_far + kept if policy is AfterOutput.CONTINUE else kept)
        assert (view.status, view.model, view.error) == (InteractionStatus.COMPLETED, SECOND, None)
    elif shown and policy is not AfterOutput.RESTART:
        assert (view.status, view.message, view.degraded) == (InteractionStatus.INCOMPLETE, text_so_far, False)
        assert (view.model, view.provider, view.finish_reason) == (FIRST, "openrouter", None)
    else:
        assert (view.status, view.degraded, view.model) == (InteractionStatus.FAILED, True, None)
    if not goes_on:
        assert view.error is not None
        assert view.error.type is point.kind

    outcomes = [(attempt.status, attempt.error_type) for attempt in view.attempts]
    succeeded = [(AttemptStatus.SUCCEEDED, None)] * goes_on
    assert outcomes == [(AttemptStatus.FAILED, point.kind)] * tries + succeeded
    followed = tries if goes_on else tries - 1
    assert stage.resets == (list(range(1, followed + 1)) if shown and policy is AfterOutput.RESTART else [])
    for call, so_far in zip(calls, _texts_before(broken, len(calls), policy), strict=True):
        assert call.messages == PROMPT.continuing(so_far)


def _texts_before(broken: list[str], calls: int, policy: AfterOutput) -> list[str]:
    """Return what each call was sent to continue."""
    return ["".join(broken[:number]) if policy is AfterOutput.CONTINUE else "" for number in range(calls)]


@pytest.mark.parametrize("policy", AfterOutput)
async def test_a_call_whose_worker_vanished_is_made_afresh(stage: Stage, policy: AfterOutput) -> None:
    plan = await stage.open(policy, [FIRST, SECOND])
    await stage.lose_worker(plan)
    view = await stage.ask(plan)
    [call] = stage.standin.ledger.calls
    assert (view.status, view.message, call.messages) == (InteractionStatus.COMPLETED, said_by(call), PROMPT.messages)
    assert [attempt.error_type for attempt in view.attempts] == [ErrorType.WORKER_LOST, None]
    assert stage.resets == []


@pytest.mark.parametrize("policy", AfterOutput)
async def test_a_call_whose_worker_stopped_is_made_afresh_unless_it_can_be_continued(
    stage: Stage, policy: AfterOutput
) -> None:
    plan = await stage.open(policy, [FIRST, SECOND])
    stage.standin.script(FIRST, HELD)
    await stage.interrupt(plan, ErrorType.WORKER_LOST)
    view = await stage.ask(plan)
    stopped, made_again = stage.standin.ledger.calls
    continues = policy is AfterOutput.CONTINUE
    assert view.message == (first_words(stopped) if continues else "") + said_by(made_again)
    assert stage.resets == ([] if continues else [1])


@pytest.mark.parametrize("policy", AfterOutput)
async def test_a_cancelled_interaction_keeps_what_its_call_had_said(stage: Stage, policy: AfterOutput) -> None:
    plan = await stage.open(policy, [FIRST])
    stage.standin.script(FIRST, HELD)
    await stage.interrupt(plan, ErrorType.CANCELLED)
    partial = await stage.ledger.partial_text(stage.interaction_id)
    assert partial is not None
    assert partial.text == first_words(stage.standin.ledger.calls[0])
    cancelled = StoreResults.model_validate(
        {"interaction_id": stage.interaction_id, "error": {"type": "cancelled", "detail": "cancelled"}}
    )
    view = await stage.end(cancelled)
    assert (view.status, view.message, view.model) == (InteractionStatus.CANCELLED, partial.text, FIRST)


async def test_the_same_model_continues_when_no_other_is_left(stage: Stage) -> None:
    stage.standin.script(FIRST, "truncated")
    view = await stage.ask(await stage.open(AfterOutput.CONTINUE, [FIRST]))
    broken, whole = stage.standin.ledger.calls
    assert view.status is InteractionStatus.COMPLETED
    assert view.message == half_of(broken) + said_by(whole)
    assert whole.messages[-2] == {"role": "assistant", "content": half_of(broken)}


CALL_BEGUN = {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": "{"}}]}
WEATHER = {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize("policy", AfterOutput)
async def test_calls_of_tools_that_had_begun_when_a_call_broke_are_dropped(stage: Stage, policy: AfterOutput) -> None:
    plan = await stage.open(policy, [FIRST, SECOND], tools=[WEATHER])
    stage.standin.script(FIRST, *[broken_stream({"code": 502, "message": "gone"}, CALL_BEGUN)] * 3)
    view = await stage.ask(plan)
    *_, last = stage.standin.ledger.calls
    text = {
        AfterOutput.RESTART: said_by(last),
        AfterOutput.INCOMPLETE: "Once upon",
        AfterOutput.CONTINUE: "Once upon" + said_by(last),
    }
    assert (view.message, view.tool_calls) == (text[policy], None)
    assert all(call.parameters["tools"] == [WEATHER] for call in stage.standin.ledger.calls)


async def test_a_call_of_tools_that_breaks_before_any_text_leaves_nothing_to_continue(stage: Stage) -> None:
    plan = await stage.open(AfterOutput.CONTINUE, [FIRST, SECOND], tools=[WEATHER], tool_choice="required")
    stage.standin.script(FIRST, *[broken_stream({"code": 502, "message": "gone"}, CALL_BEGUN, words=())] * 3)
    view = await stage.ask(plan)
    *_, last = stage.standin.ledger.calls
    assert (last.model, last.messages) == (SECOND, PROMPT.messages)
    assert (view.status, view.message, view.finish_reason) == (InteractionStatus.COMPLETED, "", "tool_calls")
    [called] = view.tool_calls or ()
    assert called["function"] == {"name": "weather", "arguments": "{}"}


async def test_a_model_that_is_down_keeps_its_tries_while_it_is_to_continue(stage: Stage) -> None:
    stage.standin.script(FIRST, "truncated")
    stage.standin.script(SECOND, "down", "down")
    view = await stage.ask(await stage.open(AfterOutput.CONTINUE, [FIRST, SECOND]))
    assert stage.asked == [FIRST, SECOND, SECOND, SECOND]
    broken, *_, whole = stage.standin.ledger.calls
    assert view.message == half_of(broken) + said_by(whole)


async def test_an_incomplete_reply_is_part_of_the_conversation(stage: Stage) -> None:
    stage.standin.script(FIRST, "truncated")
    await stage.ask(await stage.open(AfterOutput.INCOMPLETE, [FIRST]))
    window = await stage.store.take_place(await opened(stage.store), 1000)
    assert (window.first_sequence, window.last_sequence, window.messages) == (1, 2, 2)


@pytest.mark.parametrize("policy", [AfterOutput.INCOMPLETE, AfterOutput.CONTINUE])
async def test_whoever_ends_an_interaction_finds_what_was_said(stage: Stage, policy: AfterOutput) -> None:
    plan = await stage.open(policy, [FIRST])
    stage.standin.script(FIRST, HELD)
    await stage.interrupt(plan, ErrorType.WORKER_LOST)
    terminated = StoreResults.model_validate(
        {"interaction_id": stage.interaction_id, "error": {"type": "unavailable", "detail": "ended from outside"}}
    )
    view = await stage.end(terminated)
    assert (view.status, view.message) == (
        InteractionStatus.INCOMPLETE,
        first_words(stage.standin.ledger.calls[0]),
    )
    assert view.error == terminated.error
