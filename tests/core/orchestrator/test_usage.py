from datetime import UTC, date, datetime

import pytest

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.contracts import CompletionRequest, PlannedCall, SkippedCall, Usage
from core.orchestrator.errors import ErrorType, LLMProviderServiceError
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.storage.database import Database
from core.orchestrator.usage import GroupBy, UsageReport, UsageReports, UsageSum
from tests.core.orchestrator.domain import CALL, PROMPT, QUICK, begun, completion, new_id, opened

MONDAY, TUESDAY, WEDNESDAY = (datetime(2026, 2, day, 12, tzinfo=UTC) for day in (2, 3, 4))
OTHER = PlannedCall(place=1, provider="openrouter", model="b/model")


class Books:
    def __init__(self, database: Database) -> None:
        self.store = InteractionStore(database)
        self.ledger = AttemptLedger(database)
        self.reports = UsageReports(database)

    async def spend(
        self,
        interaction_id: str,
        cost: float | None = None,
        *,
        tokens: int | None = None,
        call: PlannedCall = CALL,
        now: datetime = MONDAY,
        estimate: float | None = None,
    ) -> None:
        ordinal = await begun(self.ledger, interaction_id, call, now)
        usage = Usage(prompt_tokens=tokens, completion_tokens=tokens, total_tokens=tokens and 2 * tokens, cost_usd=cost)
        done = completion(usage=usage)
        await self.ledger.succeed(interaction_id, call.place, ordinal, done, QUICK, estimated_cost_usd=estimate)

    async def fail(self, interaction_id: str, *, billed: bool, now: datetime = MONDAY) -> None:
        ordinal = await begun(self.ledger, interaction_id, CALL, now)
        assert ordinal is not None
        await self.ledger.fail(interaction_id, ordinal, LLMProviderServiceError("x", may_be_billed=billed), QUICK)

    async def costs(self, group_by: GroupBy, **limits: object) -> dict[str | None, float | None]:
        report = await self.reports.report(group_by, **limits)  # type: ignore[arg-type]
        return {item.key: item.cost_usd for item in report.items}


@pytest.fixture
def books(database: Database) -> Books:
    return Books(database)


async def test_an_empty_ledger_sums_to_nothing(books: Books) -> None:
    nothing = UsageSum(
        key=None,
        interactions=0,
        calls=0,
        prompt_tokens=0,
        completion_tokens=0,
        total_tokens=0,
        cost_usd=0,
        unknown_cost_calls=0,
    )
    assert await books.reports.report(GroupBy.USER) == UsageReport(group_by=GroupBy.USER, items=[], total=nothing)


async def test_usage_is_summed_by_user_model_persona_and_day(books: Books) -> None:
    ada = await opened(books.store, user_id="ada", session_id="a", persona_id="cherry")
    bob = await opened(books.store, user_id="bob", session_id="b", persona_id="karen")
    await books.fail(ada, billed=False)
    await books.spend(ada, 0.25, tokens=10)
    await books.spend(bob, 0.5, call=OTHER, now=TUESDAY)
    assert await books.costs(GroupBy.USER) == {"bob": 0.5, "ada": 0.25}
    assert await books.costs(GroupBy.MODEL) == {"b/model": 0.5, "a/model": 0.25}
    assert await books.costs(GroupBy.PERSONA) == {"karen": 0.5, "cherry": 0.25}
    assert await books.costs(GroupBy.DAY) == {"2026-02-02": 0.25, "2026-02-03": 0.5}
    report = await books.reports.report(GroupBy.USER)
    assert report.total == UsageSum(
        key=None,
        interactions=2,
        calls=3,
        prompt_tokens=10,
        completion_tokens=10,
        total_tokens=20,
        cost_usd=0.75,
        unknown_cost_calls=0,
    )


async def test_the_costliest_comes_first_unknown_ones_last_and_days_in_their_order(books: Books) -> None:
    costs = {"zoe": 0.1, "ada": None, "bob": 0.3, "eve": None, "dan": 0.3}
    for number, (user_id, cost) in enumerate(costs.items()):
        interaction_id = await opened(books.store, user_id=user_id, session_id=user_id)
        await books.spend(interaction_id, cost, now=[TUESDAY, WEDNESDAY, MONDAY][number % 3])
    assert list(await books.costs(GroupBy.USER)) == ["bob", "dan", "zoe", "ada", "eve"]
    assert list(await books.costs(GroupBy.DAY)) == ["2026-02-02", "2026-02-03", "2026-02-04"]


async def test_both_days_of_a_range_belong_to_it(books: Books) -> None:
    interaction_id = await opened(books.store)
    for place, moment in enumerate((MONDAY, TUESDAY, WEDNESDAY)):
        await books.spend(
            interaction_id, 1.0, call=PlannedCall(place=place, provider="openrouter", model="m"), now=moment
        )
    days = {
        (since, until): (await books.reports.report(GroupBy.DAY, since, until)).total.calls
        for since in (None, date(2026, 2, 3))
        for until in (None, date(2026, 2, 3))
    }
    tuesday = date(2026, 2, 3)
    assert days == {(None, None): 3, (None, tuesday): 2, (tuesday, None): 2, (tuesday, tuesday): 1}
    assert (await books.reports.report(GroupBy.DAY, date(2026, 3, 1))).items == []


async def test_a_day_is_a_day_of_utc(books: Books) -> None:
    interaction_id = await opened(books.store)
    await books.spend(interaction_id, 1.0, now=datetime.fromisoformat("2026-02-02T23:30:00-05:00"))
    assert list(await books.costs(GroupBy.DAY)) == ["2026-02-03"]


async def test_an_unknown_cost_is_counted_and_never_taken_for_nothing(books: Books) -> None:
    interaction_id = await opened(books.store)
    await books.fail(interaction_id, billed=True)
    await books.fail(interaction_id, billed=False)
    report = await books.reports.report(GroupBy.USER)
    assert (report.total.calls, report.total.cost_usd, report.total.unknown_cost_calls) == (2, None, 1)
    await books.spend(interaction_id, 0.5)
    [ada] = (await books.reports.report(GroupBy.USER)).items
    assert (ada.cost_usd, ada.unknown_cost_calls) == (0.5, 1)


async def test_a_free_call_costs_nothing_and_is_known(books: Books) -> None:
    await books.spend(await opened(books.store), 0.0)
    report = await books.reports.report(GroupBy.MODEL)
    assert (report.total.cost_usd, report.total.unknown_cost_calls) == (0.0, 0)


async def test_running_calls_are_not_counted(books: Books) -> None:
    await begun(books.ledger, await opened(books.store), CALL, MONDAY)
    assert (await books.reports.report(GroupBy.USER)).total.calls == 0


async def test_a_user_sees_what_is_theirs(books: Books) -> None:
    for user_id in ("ada", "bob"):
        await books.spend(await opened(books.store, user_id=user_id, session_id=user_id), 0.5)
    report = await books.reports.report(GroupBy.USER, user_id="ada")
    assert [item.key for item in report.items] == ["ada"]
    assert report.total.calls == 1


async def test_bare_completions_have_no_persona(books: Books) -> None:
    asked = CompletionRequest(interaction_id=new_id(), user_id="ada")
    await books.store.open_completion(asked, PROMPT)
    await books.spend(asked.interaction_id, 0.5)
    assert await books.costs(GroupBy.PERSONA) == {None: 0.5}


# --- estimates ---


async def test_an_estimate_stands_beside_the_known_costs_and_never_among_them(books: Books) -> None:
    ada = await opened(books.store, user_id="ada", session_id="a")
    bob = await opened(books.store, user_id="bob", session_id="b")
    await books.spend(ada, 0.5)
    await books.spend(ada, estimate=0.25, call=OTHER)
    await books.spend(bob, estimate=0.125)
    report = await books.reports.report(GroupBy.USER)
    assert [
        (item.key, item.cost_usd, item.unknown_cost_calls, item.estimated_cost_usd)
        for item in (*report.items, report.total)
    ] == [("ada", 0.5, 1, 0.25), ("bob", None, 1, 0.125), (None, 0.5, 2, 0.375)]


async def test_calls_of_unknown_cost_without_a_price_have_no_estimate(books: Books) -> None:
    await books.spend(await opened(books.store))
    total = (await books.reports.report(GroupBy.USER)).total
    assert (total.unknown_cost_calls, total.estimated_cost_usd) == (1, None)


async def test_an_estimate_is_forgotten_where_the_cost_is_known(books: Books) -> None:
    await books.spend(await opened(books.store), 0.5, estimate=0.25)
    assert (await books.reports.report(GroupBy.USER)).total.estimated_cost_usd is None


async def test_the_same_model_of_two_providers_is_two_models(books: Books) -> None:
    interaction_id = await opened(books.store)
    for place, provider in enumerate(("openrouter", "ollama")):
        call = PlannedCall(place=place, provider=provider, model="m")
        await books.spend(interaction_id, place + 1, call=call)
    assert await books.costs(GroupBy.MODEL) == {"m": 1, "ollama:m": 2}


async def test_a_model_that_was_passed_over_was_not_called(books: Books) -> None:
    interaction_id = await opened(books.store)
    skipped = SkippedCall(call=CALL, error_type=ErrorType.UPSTREAM, reason="it keeps failing")
    ordinal = await begun(books.ledger, interaction_id, OTHER, MONDAY, [skipped])
    await books.ledger.succeed(interaction_id, OTHER.place, ordinal, completion(), QUICK)
    report = await books.reports.report(GroupBy.MODEL)
    assert [(item.key, item.calls) for item in report.items] == [("b/model", 1)]
    assert (report.total.calls, report.total.unknown_cost_calls) == (1, 1)


async def test_sums_show_no_noise_of_binary_fractions(books: Books) -> None:
    interaction_id = await opened(books.store)
    for place, cost in enumerate((0.1, 0.2)):
        call = PlannedCall(place=place, provider="openrouter", model="m")
        await books.spend(interaction_id, cost, call=call)
        await books.spend(await opened(books.store), estimate=cost)
    total = (await books.reports.report(GroupBy.MODEL)).total
    assert 0.1 + 0.2 != 0.3
    assert (total.cost_usd, total.estimated_cost_usd) == (0.3, 0.3)
