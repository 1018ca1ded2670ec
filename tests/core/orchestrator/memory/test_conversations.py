from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.contracts import InteractionStatus, MemoryWindow, Message
from core.orchestrator.errors import SessionOwnershipError, UnknownResourceError
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.memory.conversations import Conversations, select_window
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import interactions, messages, sessions
from tests.core.orchestrator.domain import ANY_BUDGET, LATER, NOON, opened, talked
from tests.core.orchestrator.plans import reads_whole_tables, sorts, statements, steps_of

Line = tuple[int, str, int, bool]
"""Sequence number, role, tokens, and whether it may be remembered."""


async def fill(connection: Connection, session_id: str, lines: Sequence[Line], user_id: str = "ada") -> None:
    """Put a conversation into the tables as it is, whatever turns could have led to it."""
    turns = sorted({(number + 1) // 2 for number, *_ in lines})
    await connection.execute(
        insert(sessions).values(session_id=session_id, user_id=user_id, created_at=NOON, turns=max(turns, default=0))
    )
    if not lines:
        return
    await connection.execute(
        insert(interactions),
        [
            {
                "interaction_id": f"{session_id}-{turn}",
                "kind": "interact",
                "user_id": user_id,
                "session_id": session_id,
                "turn": turn,
                "status": InteractionStatus.COMPLETED,
                "request": {},
                "created_at": NOON,
                "ended_at": NOON,
            }
            for turn in turns
        ],
    )
    await connection.execute(
        insert(messages),
        [
            {
                "session_id": session_id,
                "sequence": number,
                "interaction_id": f"{session_id}-{(number + 1) // 2}",
                "role": role,
                "content": f"{session_id}: {number}",
                "tokens": tokens,
                "in_memory": remembered,
                "created_at": NOON,
            }
            for number, role, tokens, remembered in lines
        ],
    )


async def remembered(
    conversations: Conversations, database: Database, session_id: str, before: int, budget: int
) -> tuple[MemoryWindow, Sequence[Message]]:
    async with database.read() as connection:
        window = await select_window(connection, session_id, before, budget)
    return window, await conversations.history(session_id, window)


def naive_window(lines: Sequence[Line], budget: int) -> list[Line]:
    """The newest messages that fit, and no answer without its question: said as plainly as can be."""
    candidates = [line for line in sorted(lines, reverse=True) if line[3]]
    kept: list[Line] = []
    for line in candidates:
        if sum(tokens for _, _, tokens, _ in [*kept, line]) > budget:
            break
        kept.append(line)
    kept.reverse()
    while kept and kept != candidates[::-1] and kept[0][1] == "assistant":
        kept.pop(0)
    return kept


@st.composite
def conversations_of_turns(draw: st.DrawFn) -> list[Line]:
    """Turns as they come: most answered, some failed, cancelled or abandoned."""
    tokens = st.one_of(st.integers(4, 12), st.just(5))
    lines: list[Line] = []
    for turn in range(1, draw(st.integers(0, 90)) + 1):
        kind = draw(st.sampled_from(["answered", "answered", "degraded", "cancelled", "abandoned"]))
        if kind != "abandoned":
            lines.append((2 * turn - 1, "user", draw(tokens), True))
        if kind in ("answered", "degraded"):
            lines.append((2 * turn, "assistant", draw(tokens), kind == "answered"))
    return lines


@given(lines=conversations_of_turns(), budget=st.integers(0, 700))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_memory_is_the_newest_messages_that_fit_and_starts_with_a_question(
    database: Database, lines: list[Line], budget: int
) -> None:
    windows = []

    async def look() -> None:
        async with database.write() as connection:
            await fill(connection, "s1", lines)
            windows.append(await select_window(connection, "s1", 2 * 91 - 1, budget))
            raise LookupError  # so that nothing is kept of an example

    with pytest.raises(LookupError):
        await look()
    [window] = windows
    expected = naive_window(lines, budget)
    numbers = [number for number, *_ in expected]
    assert (window.first_sequence, window.last_sequence) == ((numbers[0], numbers[-1]) if numbers else (None, None))
    assert window.messages == len(expected)
    assert window.tokens == sum(tokens for _, _, tokens, _ in expected) <= budget
    forgotten = sum(line[3] for line in lines) - len(expected)
    assert window.dropped >= forgotten
    assert (window.dropped == 0) == (forgotten == 0)


async def test_memory_ends_before_the_turn_itself(
    store: InteractionStore, ledger: AttemptLedger, conversations: Conversations
) -> None:
    await talked(store, ledger, "One", "Two")
    interaction_id = await opened(store, "Three")
    await opened(store, "Later")
    window = await store.take_place(interaction_id, ANY_BUDGET)
    assert await conversations.history("s1", window) == [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
    ]


async def test_a_budget_of_nothing_remembers_nothing(
    store: InteractionStore, ledger: AttemptLedger, conversations: Conversations
) -> None:
    await talked(store, ledger, "One", "Two")
    window = await store.take_place(await opened(store), 0)
    assert window == MemoryWindow(dropped=2)
    assert await conversations.history("s1", window) == []


async def test_an_answer_whose_question_does_not_fit_is_left_out(
    store: InteractionStore, ledger: AttemptLedger, conversations: Conversations
) -> None:
    await talked(store, ledger, "a question far too long for the budget " * 10, "Short.")
    await talked(store, ledger, "Two", "Three")
    interaction_id = await opened(store)
    window = await store.take_place(interaction_id, 40)
    assert [line["content"] for line in await conversations.history("s1", window)] == ["Two", "Three"]
    assert window.dropped == 2


async def test_a_turn_that_was_never_accepted_is_not_said_to_be_dropped(store: InteractionStore) -> None:
    await store.abandon(await opened(store), LATER)
    assert (await store.take_place(await opened(store), ANY_BUDGET)).dropped == 0


async def test_a_message_longer_than_the_budget_hides_what_is_older(
    store: InteractionStore, ledger: AttemptLedger
) -> None:
    await talked(store, ledger, "Short", "Short")
    await talked(store, ledger, "Short", "long " * 1000)
    assert (await store.take_place(await opened(store), 100)).messages == 0


async def test_sessions_never_leak_into_each_other(
    store: InteractionStore, ledger: AttemptLedger, conversations: Conversations
) -> None:
    for session_id, user_id in (("s1", "ada"), ("s10", "ada"), ("s2", "bob"), ("S1", "eve"), ("s1 ", "eve")):
        await talked(store, ledger, f"secret of {session_id!r}", "noted", session_id=session_id, user_id=user_id)
    window = await store.take_place(await opened(store), ANY_BUDGET)
    history = await conversations.history("s1", window)
    assert [line["content"] for line in history] == ["secret of 's1'", "noted"]


# --- transcripts ---


async def test_a_transcript_is_read_page_by_page(
    store: InteractionStore, ledger: AttemptLedger, conversations: Conversations
) -> None:
    for turn in range(5):
        await talked(store, ledger, f"q{turn}", f"a{turn}")
    seen: list[str] = []
    after = 0
    while page := await conversations.transcript("s1", user_id="ada", after=after, limit=3):
        assert len(page) <= 3
        seen += [line.content for line in page]
        after = page[-1].sequence
    assert seen == [text for turn in range(5) for text in (f"q{turn}", f"a{turn}")]


async def test_a_transcript_says_how_each_turn_stands(store: InteractionStore, conversations: Conversations) -> None:
    interaction_id = await opened(store)
    [line] = await conversations.transcript("s1", user_id="ada", after=0, limit=10)
    assert (line.sequence, line.role, line.content) == (1, "user", "Hello")
    assert (line.status, line.interaction_id) == (InteractionStatus.QUEUED, interaction_id)
    assert line.created_at.tzinfo is not None


async def test_a_transcript_is_its_owners(store: InteractionStore, conversations: Conversations) -> None:
    await opened(store, user_id="ada")
    with pytest.raises(SessionOwnershipError):
        await conversations.transcript("s1", user_id="bob", after=0, limit=10)
    with pytest.raises(SessionOwnershipError):
        await conversations.transcript("s1", user_id="", after=0, limit=10)
    with pytest.raises(UnknownResourceError):
        await conversations.transcript("s2", user_id="ada", after=0, limit=10)
    assert len(await conversations.transcript("s1", user_id=None, after=0, limit=10)) == 1


# --- what a turn costs in a long conversation ---


async def test_a_turn_costs_the_same_in_a_conversation_of_ten_thousand_messages(
    database: Database, ledger: AttemptLedger, conversations: Conversations
) -> None:
    store = InteractionStore(database)
    lengths = {"short": 200, "long": 10_000}
    async with database.write() as connection:
        for session_id, length in lengths.items():
            roles = ("assistant", "user")
            await fill(connection, session_id, [(n, roles[n % 2], 10, True) for n in range(1, length + 1)])
    counts = {}
    for session_id, length in lengths.items():
        with statements(database, "SELECT", "UPDATE", "INSERT", "DELETE") as seen:
            interaction_id = await opened(store, session_id=session_id)
            window = await store.take_place(interaction_id, 1000)
            await conversations.history(session_id, window)
            await conversations.transcript(session_id, user_id="ada", after=length - 5, limit=50)
        assert window.messages == 100
        counts[session_id] = len(seen)
    assert counts["long"] == counts["short"] < 20
    reading = [one for one in seen if one[0].startswith(("SELECT", "UPDATE")) and "FROM " in one[0]]
    assert reading
    for statement in reading:
        assert not reads_whole_tables(await steps_of(database, *statement)), statement


async def test_the_turns_still_to_end_have_an_index_of_their_own(database: Database) -> None:
    query = (
        "SELECT interaction_id FROM interactions WHERE session_id = 's1' "
        "AND ended_at IS NULL AND turn < 5000 ORDER BY turn LIMIT 1"
    )
    async with database.write() as connection:  # in an empty table one index is as good as another
        await fill(connection, "s1", [(n, ("assistant", "user")[n % 2], 10, True) for n in range(1, 4001)])
    async with database.write() as connection:
        await connection.execute(text("ANALYZE interactions"))
    steps = await steps_of(database, query)
    assert "ix_interactions_open" in str(steps)
    assert not sorts(steps)
