"""Who is refused at a limit, why, and who never is."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from core.orchestrator.contracts import CompletionRequest, InteractionStatus, MultitaskStrategy
from core.orchestrator.errors import (
    NotNowError,
    OverloadedError,
    RateLimitedError,
    SessionBusyError,
    SessionOwnershipError,
)
from core.orchestrator.interactions.limits import Allowance, Limits
from core.orchestrator.interactions.opening import IdempotencyKey, Opening
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.domain import PROMPT, new_id, request
from tests.core.orchestrator.interactions.test_limits import DONE, MINUTE, rows

FULL = Limits(Allowance(open_in_all=1, open_per_user=1, open_per_key=1, per_minute_and_user=1, per_minute_and_key=1))


async def test_a_request_that_came_before_is_never_refused(store: InteractionStore, database: Database) -> None:
    asked, key = request(), Opening(key=IdempotencyKey("k", "abc"), key_name="web")
    await store.open_turn(asked, key, FULL)
    assert (await store.open_turn(request(), key, FULL)).replayed
    assert (await store.open_turn(asked, Opening(), FULL)).request == asked
    await store.end(asked.interaction_id, DONE)
    assert (await store.open_turn(request(), key, FULL)).status is InteractionStatus.COMPLETED
    assert (await rows(database))["interactions"] == 1


def _turn(store: InteractionStore) -> Awaitable[object]:
    return store.open_turn(request(), Opening(), FULL)


def _completion(store: InteractionStore) -> Awaitable[object]:
    return store.open_completion(CompletionRequest(interaction_id=new_id(), user_id="ada"), PROMPT, Opening(), FULL)


@pytest.mark.parametrize("first", [_turn, _completion])
@pytest.mark.parametrize("second", [_turn, _completion])
async def test_turns_and_completions_count_alike(
    store: InteractionStore,
    first: Callable[[InteractionStore], Awaitable[object]],
    second: Callable[[InteractionStore], Awaitable[object]],
) -> None:
    await first(store)
    with pytest.raises(RateLimitedError):
        await second(store)


async def test_the_session_says_no_before_any_limit_does(store: InteractionStore) -> None:
    await store.open_turn(request(), Opening(), FULL)
    with pytest.raises(SessionOwnershipError):
        await store.open_turn(request(user_id="eve"), Opening(), FULL)
    with pytest.raises(SessionBusyError):
        await store.open_turn(request(), Opening(strategy=MultitaskStrategy.REJECT), FULL)


async def test_a_turn_that_is_refused_displaces_nobody(store: InteractionStore) -> None:
    asked = request()
    await store.open_turn(asked, Opening(), FULL)
    with pytest.raises(NotNowError):
        await store.open_turn(request(), Opening(strategy=MultitaskStrategy.ROLLBACK), FULL)
    assert not await store.is_cancelling(asked.interaction_id)


@pytest.mark.parametrize(
    ("allowance", "words"),
    [
        (Allowance(open_per_user=1), "1 interactions of this user have not ended"),
        (Allowance(open_per_key=1), "1 interactions of this API key have not ended"),
        (Allowance(per_minute_and_user=1), "this user has begun 1 interactions within a minute"),
        (Allowance(per_minute_and_key=1), "this API key has begun 1 interactions within a minute"),
        (Allowance(open_in_all=1), "the service is at its limit of 1 open interactions"),
    ],
)
async def test_a_refusal_says_which_limit_is_reached(store: InteractionStore, allowance: Allowance, words: str) -> None:
    web = Opening(key_name="web")
    await store.open_turn(request(), web, Limits(allowance))
    with pytest.raises(NotNowError, match=words) as refusal:
        await store.open_turn(request(), web, Limits(allowance))
    assert timedelta(0) < refusal.value.retry_after <= MINUTE


async def test_limits_of_keys_are_nothing_to_who_has_none(store: InteractionStore) -> None:
    limits = Limits(Allowance(open_per_key=1, per_minute_and_key=1))
    for _ in range(2):
        await store.open_turn(request(), Opening(), limits)


async def test_an_overloaded_service_does_not_call_everybody_back_at_once(store: InteractionStore) -> None:
    limits = Limits(Allowance(open_in_all=1))
    await store.open_turn(request(), Opening(), limits)
    waits = set()
    for _ in range(40):
        with pytest.raises(OverloadedError) as refusal:
            await store.open_turn(request(), Opening(), limits)
        waits.add(refusal.value.retry_after.total_seconds())
    assert len(waits) > 1
    assert min(waits) >= 1
    assert max(waits) <= 5


async def test_a_turn_that_was_accepted_is_opened_by_a_worker_whatever_the_limits(store: InteractionStore) -> None:
    """A worker that misses an accepted turn in the store opens it again, without any limits."""
    await store.open_turn(request(), Opening(), FULL)
    asked = request()
    assert (await store.open_turn(asked)).request == asked
