"""Whatever comes or goes meanwhile, page after page shows each interaction once, and as it reads alone."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import delete, insert

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.contracts import CompletionRequest, InteractionError, InteractionStatus, InteractionView
from core.orchestrator.errors import ErrorType, LLMProviderServiceError, SessionOwnershipError, UnknownResourceError
from core.orchestrator.interactions.listing import InteractionLists
from core.orchestrator.interactions.store import CANCELLED, Ending, InteractionStore
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import interactions, messages, partials
from tests.core.orchestrator.domain import CALL, PROMPT, QUICK, answered, begun, new_id, opened, talked
from tests.core.orchestrator.plans import reads_whole_tables, sorts, statements, steps_of

UNAVAILABLE = InteractionError(type=ErrorType.UNAVAILABLE, detail="nobody answered")


@pytest.fixture
def lists(database: Database) -> InteractionLists:
    return InteractionLists(database)


async def newest(lists: InteractionLists, **wanted: Any) -> Sequence[InteractionView]:
    anything = {"user_id": None, "session_id": None, "status": None, "before": None, "limit": 50}
    return await lists.newest(**(anything | wanted))


def ids(views: Sequence[InteractionView]) -> list[str]:
    return [view.interaction_id for view in views]


async def broken(store: InteractionStore, ledger: AttemptLedger, text: str, ending: Ending) -> str:
    """A turn whose call broke after it had said something."""
    interaction_id = await opened(store, session_id="s2")
    ordinal = await begun(ledger, interaction_id)
    await ledger.fail(interaction_id, ordinal, LLMProviderServiceError("it broke"), QUICK, partial=text)
    await store.end(interaction_id, ending)
    return interaction_id


async def test_a_listed_interaction_is_what_it_is_when_read_alone(
    store: InteractionStore, ledger: AttemptLedger, lists: InteractionLists
) -> None:
    made = [
        await talked(store, ledger, "one", "two", session_id="s1"),
        await broken(store, ledger, "half", Ending(InteractionStatus.INCOMPLETE, reply="half", error=UNAVAILABLE)),
        await broken(store, ledger, "some", Ending(InteractionStatus.CANCELLED, reply="some", error=CANCELLED)),
        await broken(store, ledger, "bit", Ending(InteractionStatus.FAILED, "Sorry", degraded=True, error=UNAVAILABLE)),
        await talked(store, ledger, "three", "four", session_id="s1"),
        await opened(store, "five", session_id="s1"),
    ]
    listed = await newest(lists, user_id="ada")
    assert ids(listed) == made[::-1]
    assert listed == [await store.view(interaction_id) for interaction_id in ids(listed)]
    assert [view.model for view in listed] == [None, "a/model", None, "a/model", "a/model", "a/model"]


async def test_a_turn_that_was_answered_at_the_second_place_shows_that_answers_model(
    store: InteractionStore, ledger: AttemptLedger, lists: InteractionLists
) -> None:
    interaction_id = await opened(store)
    second = CALL.model_copy(update={"place": 1, "model": "b/model"})
    first = await begun(ledger, interaction_id)
    await ledger.fail(interaction_id, first, LLMProviderServiceError("it broke"), QUICK, partial="Onc")
    await answered(store, ledger, interaction_id, call=second)
    assert [view.model for view in await newest(lists, user_id="ada")] == ["b/model"]


async def test_pages_show_each_interaction_once_while_others_come_and_go(
    database: Database, store: InteractionStore, lists: InteractionLists
) -> None:
    made = [await opened(store, session_id=f"s{number}") for number in range(7)]
    seen: list[str] = []
    before = None
    while page := ids(await newest(lists, user_id="ada", before=before, limit=2)):
        seen += page
        before = page[-1]
        await opened(store, session_id=new_id())
        async with database.write() as connection:  # the one that says where the list goes on
            await connection.execute(delete(messages).where(messages.c.interaction_id == before))
            await connection.execute(delete(interactions).where(interactions.c.interaction_id == before))
    assert seen == made[::-1]


async def test_a_list_holds_what_was_asked_for_and_nothing_else(
    store: InteractionStore, ledger: AttemptLedger, lists: InteractionLists
) -> None:
    done = await talked(store, ledger, "Hello", "Hi", session_id="ada's")
    waiting = await opened(store, session_id="ada's")
    elsewhere = await opened(store, session_id="other")
    await opened(store, user_id="bob", session_id="bob's")
    bare = CompletionRequest(interaction_id=new_id(), user_id="ada")
    await store.open_completion(bare, PROMPT)
    assert ids(await newest(lists, user_id="ada")) == [bare.interaction_id, elsewhere, waiting, done]
    assert ids(await newest(lists, session_id="ada's")) == [waiting, done]
    assert ids(await newest(lists, session_id="ada's", user_id="ada", status=InteractionStatus.QUEUED)) == [waiting]
    assert ids(await newest(lists, user_id="ada", status=InteractionStatus.COMPLETED)) == [done]
    assert ids(await newest(lists, user_id="nobody")) == []


async def test_a_session_is_listed_for_its_user_alone(store: InteractionStore, lists: InteractionLists) -> None:
    await opened(store, session_id="ada's")
    with pytest.raises(SessionOwnershipError):
        await newest(lists, session_id="ada's", user_id="eve")
    with pytest.raises(UnknownResourceError, match="nobody's"):
        await newest(lists, session_id="nobody's", user_id="eve")


async def test_a_page_costs_as_many_queries_as_a_single_interaction_and_no_search_through_everybodys(
    database: Database, store: InteractionStore, ledger: AttemptLedger, lists: InteractionLists
) -> None:
    for number in range(5):
        await talked(store, ledger, "Hello", "Hi", session_id=f"s{number}")
    await newest(lists, user_id="ada")  # so that whatever a first query of all asks is behind us
    with statements(database, "SELECT") as queries:
        await newest(lists, user_id="ada", limit=1)
        alone = len(queries)
        await newest(lists, user_id="ada", before=new_id())
    assert len(queries) == 2 * alone
    for query in queries[alone:]:
        steps = await steps_of(database, *query)
        assert steps, query
        assert not reads_whole_tables(steps)
        assert not sorts(steps)


async def test_a_cancelled_turn_whose_partial_text_is_gone_is_listed_all_the_same(
    database: Database, store: InteractionStore, ledger: AttemptLedger, lists: InteractionLists
) -> None:
    ending = Ending(InteractionStatus.CANCELLED, reply="some", error=CANCELLED)
    interaction_id = await broken(store, ledger, "some", ending)
    async with database.write() as connection:
        await connection.execute(delete(partials))
        await connection.execute(insert(partials).values(interaction_id=interaction_id, ordinal=9, text="odd"))
    [view] = await newest(lists, user_id="ada")
    assert (view.message, view.model) == ("some", None)
