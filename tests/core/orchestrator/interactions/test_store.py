import asyncio
from collections.abc import Awaitable, Callable

import pytest

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.contracts import (
    AttemptStatus,
    CompletionRequest,
    InteractionError,
    InteractionStatus,
    MemoryWindow,
    Usage,
)
from core.orchestrator.errors import ErrorType, SessionOwnershipError, UnknownResourceError
from core.orchestrator.interactions.store import Abandonment, Ending, InteractionStore
from core.orchestrator.memory.conversations import Conversations, StoredMessage
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.domain import (
    ANY_BUDGET,
    LATER,
    NOON,
    PROMPT,
    SettableClock,
    answered,
    begun,
    new_id,
    opened,
    request,
    talked,
)

FAILED = Ending(
    InteractionStatus.FAILED, error=InteractionError(type=ErrorType.UNAVAILABLE, detail="no model answered")
)
CANCELLED = Ending(InteractionStatus.CANCELLED, error=InteractionError(type=ErrorType.CANCELLED, detail="by the user"))


async def transcript(conversations: Conversations, session_id: str = "s1") -> list[StoredMessage]:
    return list(await conversations.transcript(session_id, user_id=None, after=0, limit=1000))


async def said(conversations: Conversations, session_id: str = "s1") -> list[tuple[int, str, str]]:
    return [(line.sequence, line.role, line.content) for line in await transcript(conversations, session_id)]


# --- opening ---


async def test_a_new_turn_is_queued_and_its_message_is_kept(
    store: InteractionStore, conversations: Conversations
) -> None:
    interaction_id = await opened(store, "Hello")
    view = await store.view(interaction_id)
    assert (view.status, view.session_id, view.persona_id) == (InteractionStatus.QUEUED, "s1", "cherry")
    assert (view.message, view.attempts, view.response_time_ms) == (None, [], None)
    assert view.workflow_id == f"interaction-{interaction_id}"
    assert await said(conversations) == [(1, "user", "Hello")]


async def test_opening_a_turn_again_changes_nothing(store: InteractionStore, conversations: Conversations) -> None:
    asked = request("Hello")
    await asyncio.gather(*(store.open_turn(asked) for _ in range(10)))
    await store.open_turn(asked.model_copy(update={"message": "Something else"}))
    assert await said(conversations) == [(1, "user", "Hello")]
    assert await store.request(asked.interaction_id) == asked


async def test_a_session_of_another_user_is_refused_and_nothing_is_kept(
    store: InteractionStore, conversations: Conversations
) -> None:
    await opened(store, user_id="ada")
    asked = request("Mine now", user_id="bob")
    with pytest.raises(SessionOwnershipError, match="s1"):
        await store.open_turn(asked)
    with pytest.raises(UnknownResourceError):
        await store.view(asked.interaction_id)
    assert len(await said(conversations)) == 1


async def test_of_users_that_race_for_a_session_one_gets_it(store: InteractionStore) -> None:
    outcomes = await asyncio.gather(
        *(store.open_turn(request(user_id=f"user{n}")) for n in range(5)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Opened"] + ["SessionOwnershipError"] * 4


async def test_fifty_turns_opened_at_once_are_numbered_in_the_order_they_came_in(
    store: InteractionStore, database: Database, conversations: Conversations
) -> None:
    async def open_in_line(number: int) -> None:
        async with database.in_line("the session"):
            await store.open_turn(request(f"message {number}"))

    await asyncio.gather(*map(open_in_line, range(50)))
    assert await said(conversations) == [(2 * n + 1, "user", f"message {n}") for n in range(50)]


async def test_sessions_are_numbered_apart(store: InteractionStore, conversations: Conversations) -> None:
    for session_id in ("s1", "s2", "s1"):
        await opened(store, session_id=session_id)
    assert [number for number, _, _ in await said(conversations, "s1")] == [1, 3]
    assert [number for number, _, _ in await said(conversations, "s2")] == [1]


async def test_a_request_comes_back_as_it_was_accepted(store: InteractionStore) -> None:
    asked = request(
        "Grüße 😀 \u2028 \\ '",
        model="a/b",
        fallback_models=[],
        temperature=0,
        max_tokens=1,
        context={"a": {"b": [1, None, "é"]}},
        agent="code",
        on_failure="error",
    )
    await store.open_turn(asked)
    assert await store.request(asked.interaction_id) == asked


# --- taking places ---


async def test_the_first_turn_has_its_place_at_once_and_begins_with_its_prompt(store: InteractionStore) -> None:
    interaction_id = await opened(store)
    assert await store.take_place(interaction_id, ANY_BUDGET) == MemoryWindow()
    assert (await store.view(interaction_id)).status is InteractionStatus.QUEUED
    assert await store.save_prompt(interaction_id, PROMPT, {})
    assert (await store.view(interaction_id)).status is InteractionStatus.IN_PROGRESS


async def test_a_turn_waits_for_the_earliest_that_has_not_ended(store: InteractionStore) -> None:
    first, second, third = [await opened(store) for _ in range(3)]
    assert (await store.take_place(third, ANY_BUDGET)).waiting_on == first
    await store.take_place(first, ANY_BUDGET)
    assert (await store.take_place(third, ANY_BUDGET)).waiting_on == first
    await store.end(first, FAILED)
    assert (await store.take_place(third, ANY_BUDGET)).waiting_on == second
    assert (await store.view(third)).status is InteractionStatus.QUEUED
    await store.end(second, CANCELLED)
    assert (await store.take_place(third, ANY_BUDGET)).waiting_on is None


async def test_turns_of_other_sessions_are_not_waited_for(store: InteractionStore) -> None:
    await opened(store, session_id="s1")
    other = await opened(store, session_id="s2")
    assert (await store.take_place(other, ANY_BUDGET)).waiting_on is None


async def test_of_two_turns_that_ask_at_once_only_the_earlier_begins(store: InteractionStore) -> None:
    first, second = [await opened(store) for _ in range(2)]
    windows = await asyncio.gather(*(store.take_place(turn, ANY_BUDGET) for turn in (second, first) * 5))
    assert [window.waiting_on for window in windows] == [first, None] * 5


async def test_taking_a_place_twice_gives_the_same_memory(store: InteractionStore, ledger: AttemptLedger) -> None:
    await talked(store, ledger, "Hello", "Hi there")
    interaction_id = await opened(store, "And now?")
    windows = [await store.take_place(interaction_id, ANY_BUDGET) for _ in range(2)]
    assert windows[0] == windows[1]
    assert (windows[0].first_sequence, windows[0].last_sequence) == (1, 2)


async def test_a_turn_that_has_ended_has_nothing_left_to_do(store: InteractionStore) -> None:
    interaction_id = await opened(store)
    await store.end(interaction_id, CANCELLED)
    assert await store.take_place(interaction_id, ANY_BUDGET) == MemoryWindow(ended=True)
    assert (await store.view(interaction_id)).status is InteractionStatus.CANCELLED


# --- ending ---


async def test_the_first_ending_stays(store: InteractionStore, conversations: Conversations) -> None:
    interaction_id = await opened(store)
    first = await store.end(interaction_id, Ending(InteractionStatus.COMPLETED, reply="Hi"))
    late = await store.end(interaction_id, CANCELLED)
    again = await store.end(interaction_id, Ending(InteractionStatus.COMPLETED, reply="Hello again"))
    assert (first.first, late.first, again.first) == (True, False, False)
    assert first.view == late.view == again.view == await store.view(interaction_id)
    assert await said(conversations) == [(1, "user", "Hello"), (2, "assistant", "Hi")]


async def test_of_endings_that_race_exactly_one_is_first(store: InteractionStore, conversations: Conversations) -> None:
    interaction_id = await opened(store)
    endings = [Ending(InteractionStatus.COMPLETED, reply=f"reply {n}") for n in range(5)]
    ended = await asyncio.gather(*(store.end(interaction_id, ending) for ending in endings))
    [first] = [one for one in ended if one.first]
    assert {one.view.message for one in ended} == {first.view.message}
    assert len(await said(conversations)) == 2


async def test_an_ending_names_the_next_turn_in_line(store: InteractionStore) -> None:
    first, second, third = [await opened(store) for _ in range(3)]
    await opened(store, session_id="s2")
    assert (await store.end(second, CANCELLED)).following == third
    assert (await store.end(first, FAILED)).following == third
    assert (await store.end(third, FAILED)).following is None


async def test_an_answer_is_told_with_who_gave_it_and_what_it_cost(
    store: InteractionStore, ledger: AttemptLedger
) -> None:
    interaction_id = await opened(store)
    usage = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5, cost_usd=0.25)
    await answered(store, ledger, interaction_id, "Hi", usage=usage)
    view = await store.view(interaction_id)
    assert (view.message, view.model, view.provider, view.usage) == ("Hi", "a/model", "openrouter", usage)
    assert [attempt.status for attempt in view.attempts] == [AttemptStatus.SUCCEEDED]
    assert (view.degraded, view.error) == (False, None)


async def test_the_response_time_runs_from_acceptance_to_the_end(database: Database) -> None:
    clock = SettableClock()
    store = InteractionStore(database, clock)
    interaction_id = await opened(store)
    clock.advance(seconds=1.5)
    assert (await store.end(interaction_id, FAILED)).view.response_time_ms == 1500
    assert await store.offered_at(interaction_id) == NOON


async def test_a_degraded_line_is_shown_but_not_remembered(
    store: InteractionStore, conversations: Conversations
) -> None:
    interaction_id = await opened(store)
    await store.end(interaction_id, Ending(FAILED.status, reply="One moment.", degraded=True, error=FAILED.error))
    following = await opened(store, "Still there?")
    window = await store.take_place(following, ANY_BUDGET)
    assert await conversations.history("s1", window) == [{"role": "user", "content": "Hello"}]
    assert (2, "assistant", "One moment.") in await said(conversations)
    assert (await store.view(interaction_id)).degraded


async def test_an_ending_closes_the_calls_that_nobody_closed(store: InteractionStore, ledger: AttemptLedger) -> None:
    outcomes = {}
    late = InteractionError(type=ErrorType.TIMEOUT, detail="too late")
    for ending in (Ending(InteractionStatus.FAILED, error=late), CANCELLED, Ending(InteractionStatus.COMPLETED)):
        interaction_id = await opened(store)
        await begun(ledger, interaction_id)
        [attempt] = (await store.end(interaction_id, ending)).view.attempts
        outcomes[ending.status] = (attempt.status, attempt.error_type)
    assert outcomes == {
        InteractionStatus.FAILED: (AttemptStatus.FAILED, ErrorType.TIMEOUT),
        InteractionStatus.CANCELLED: (AttemptStatus.CANCELLED, ErrorType.CANCELLED),
        InteractionStatus.COMPLETED: (AttemptStatus.FAILED, ErrorType.WORKER_LOST),
    }


async def test_a_turn_in_line_is_told_how_many_come_before_it(store: InteractionStore) -> None:
    for _ in range(12):
        last = await opened(store)
    third = await opened(store, session_id="short")
    assert (await store.take_place(last, ANY_BUDGET)).ahead == 10
    assert (await store.take_place(third, ANY_BUDGET)).waiting_on is None
    fourth = await opened(store, session_id="short")
    window = await store.take_place(fourth, ANY_BUDGET)
    assert (window.waiting_on, window.ahead) == (third, 1)


# --- abandoning ---


async def test_an_abandoned_turn_leaves_no_message_and_frees_its_place(
    store: InteractionStore, conversations: Conversations
) -> None:
    abandoned = await opened(store, "Never accepted")
    following = await opened(store, "Accepted")
    await store.abandon(abandoned, LATER)
    assert (await store.take_place(following, ANY_BUDGET)).waiting_on is None
    assert await said(conversations) == [(3, "user", "Accepted")]
    view = await store.view(abandoned)
    assert view.status is InteractionStatus.FAILED
    assert view.error is not None
    assert view.error.type is ErrorType.UNAVAILABLE


async def test_a_turn_that_has_begun_cannot_be_abandoned(store: InteractionStore, conversations: Conversations) -> None:
    interaction_id = await opened(store)
    await store.save_prompt(interaction_id, PROMPT, {})
    assert await store.abandon(interaction_id, LATER) is Abandonment.BEGUN
    assert await said(conversations) == [(1, "user", "Hello")]
    assert (await store.view(interaction_id)).status is InteractionStatus.IN_PROGRESS


async def test_what_has_ended_cannot_be_abandoned(store: InteractionStore, conversations: Conversations) -> None:
    interaction_id = await opened(store)
    ended = await store.end(interaction_id, Ending(InteractionStatus.COMPLETED, reply="Hi"))
    await store.abandon(interaction_id, LATER)
    await store.abandon("unknown", LATER)
    assert await store.view(interaction_id) == ended.view
    assert len(await said(conversations)) == 2


# --- prompts and explanations ---


async def test_a_prompt_comes_back_exactly_and_a_retry_replaces_it(store: InteractionStore) -> None:
    interaction_id = await opened(store)
    parts = [{"type": "text", "text": "Grüße\u0000?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    await store.save_prompt(interaction_id, PROMPT, {})
    changed = type(PROMPT)([{"role": "user", "content": parts}], 0.0, 7)
    about = {"persona_name": "Cherry", "persona_version": "abc", "agent": "code"}
    await store.save_prompt(interaction_id, changed, {"plan": 1}, **about)
    assert await store.prompt(interaction_id) == changed
    assert (await store.view(interaction_id)).model_dump(include=set(about)) == about


async def test_an_explanation_grows_with_what_is_known(store: InteractionStore) -> None:
    interaction_id = await opened(store)
    assert await store.explanation(interaction_id) == {
        "interaction_id": interaction_id,
        "status": InteractionStatus.QUEUED,
        "error": None,
        "attempts": [],
        "partials": [],
    }
    await store.save_prompt(interaction_id, PROMPT, {"plan": {"models": []}})
    await store.end(interaction_id, FAILED)
    explanation = await store.explanation(interaction_id)
    assert explanation["messages"] == PROMPT.messages
    assert explanation["plan"] == {"models": []}
    assert explanation["error"] == FAILED.error


async def test_a_prompt_that_is_not_built_yet_is_unknown(store: InteractionStore) -> None:
    with pytest.raises(UnknownResourceError, match="prompt"):
        await store.prompt(await opened(store))


READS: list[Callable[[InteractionStore], Awaitable[object]]] = [
    lambda store: store.view("none"),
    lambda store: store.offered_at("none"),
    lambda store: store.request("none"),
    lambda store: store.prompt("none"),
    lambda store: store.explanation("none"),
    lambda store: store.take_place("none", 0),
    lambda store: store.save_prompt("none", PROMPT, {}),
    lambda store: store.end("none", FAILED),
]


@pytest.mark.parametrize("access", READS)
async def test_an_unknown_interaction_is_named(
    store: InteractionStore, access: Callable[[InteractionStore], Awaitable[object]]
) -> None:
    with pytest.raises(UnknownResourceError, match="none"):
        await access(store)


# --- bare completions ---


async def test_a_bare_completion_has_no_session_and_no_turn(store: InteractionStore) -> None:
    asked = CompletionRequest(interaction_id=new_id(), user_id="ada", model="a/b", temperature=1.5)
    await store.open_completion(asked, PROMPT)
    await store.open_completion(asked, type(PROMPT)([], 0, 1))
    assert await store.request(asked.interaction_id) == asked
    assert await store.prompt(asked.interaction_id) == PROMPT
    view = await store.view(asked.interaction_id)
    assert (view.session_id, view.persona_id, view.status) == (None, None, InteractionStatus.QUEUED)


async def test_a_bare_completion_begins_until_it_has_ended(store: InteractionStore) -> None:
    asked = CompletionRequest(interaction_id=new_id(), user_id="ada")
    await store.open_completion(asked, PROMPT)
    assert await store.save_prompt(asked.interaction_id, PROMPT, {})
    assert await store.save_prompt(asked.interaction_id, PROMPT, {})
    ended = await store.end(asked.interaction_id, Ending(InteractionStatus.COMPLETED, reply="Hi"))
    assert (ended.first, ended.following, ended.view.message) == (True, None, "Hi")
    assert not await store.save_prompt(asked.interaction_id, PROMPT, {"too": "late"})
    assert (await store.explanation(asked.interaction_id)).get("too") is None


# --- cancelling ---


async def test_a_turn_that_has_not_begun_is_cancelled_at_once(store: InteractionStore) -> None:
    running, in_line, following = [await opened(store) for _ in range(3)]
    await store.take_place(running, ANY_BUDGET)
    ended = await store.cancel(in_line)
    assert ended is not None
    assert (ended.first, ended.view.status, ended.following) == (True, InteractionStatus.CANCELLED, following)
    assert (await store.take_place(in_line, ANY_BUDGET)).ended


async def test_a_turn_that_has_begun_is_marked_and_ends_later(store: InteractionStore) -> None:
    interaction_id = await opened(store)
    await store.save_prompt(interaction_id, PROMPT, {})
    assert await store.cancel(interaction_id) is None
    assert (await store.view(interaction_id)).status is InteractionStatus.IN_PROGRESS
    assert await store.is_cancelling(interaction_id)
    assert not await store.save_prompt(interaction_id, PROMPT, {})


async def test_what_has_ended_is_not_cancelled(store: InteractionStore) -> None:
    interaction_id = await opened(store)
    completed = await store.end(interaction_id, Ending(InteractionStatus.COMPLETED, reply="Hi"))
    ended = await store.cancel(interaction_id)
    assert ended is not None
    assert (ended.first, ended.view) == (False, completed.view)
