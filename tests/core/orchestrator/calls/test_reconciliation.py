"""What broken calls cost: asked for once the interaction has ended, kept when it is told, never made up."""

import asyncio
import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from sqlalchemy import update

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.calls.reconciliation import Look, Reconciliation
from core.orchestrator.contracts import AttemptStatus, InteractionStatus, PlannedCall, Reconciled, Usage
from core.orchestrator.errors import (
    LLMProviderAuthenticationError,
    LLMProviderError,
    LLMProviderServiceError,
    NextStep,
    Posture,
)
from core.orchestrator.interactions.store import Ending, InteractionStore
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import attempts
from core.orchestrator.usage import GroupBy, UsageReports
from tests.core.orchestrator.domain import (
    CALL,
    NOON,
    QUICK,
    FakeRuns,
    ScriptedProvider,
    SettableClock,
    begun,
    completion,
    opened,
)

BILL = Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15, cost_usd=0.25)
ENDED = Ending(InteractionStatus.FAILED)


class Records(ScriptedProvider):
    """Keeps records: what they hold is told, an error is raised, a function is called."""

    keeps_records: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, Any] = {}
        self.asked: list[str] = []

    async def find_usage(self, generation_id: str) -> Usage | None:
        self.asked.append(generation_id)
        match self.of.get(generation_id):
            case BaseException() as error:
                raise error
            case told if callable(told):
                await told()
                return None
            case told:
                return told


class NoRecords(ScriptedProvider):
    """Gives its calls ids and remembers none."""


@dataclass
class Office:
    database: Database
    store: InteractionStore
    ledger: AttemptLedger
    records: Records = field(default_factory=Records)
    runs: FakeRuns = field(default_factory=FakeRuns)
    clock: SettableClock = field(default_factory=SettableClock)

    def __post_init__(self) -> None:
        self.providers: Registry[LLMProvider] = Registry("provider", LLMProvider)  # type: ignore[type-abstract]
        self.providers.register("openrouter", lambda: self.records)
        self.providers.register("forgetful", NoRecords)

    @property
    def reconciliation(self) -> Reconciliation:
        return Reconciliation(self.database, self.providers, self.runs, self.clock)

    async def look(self, interaction_id: str) -> Look:
        return await self.reconciliation.look(interaction_id)

    async def broken(self, interaction_id: str, generation_id: str | None = "gen-1", **fields: Any) -> None:
        """Let one call of an interaction break."""
        call = PlannedCall(place=0, provider=fields.pop("provider", "openrouter"), model="a/model")
        ordinal = await begun(self.ledger, interaction_id, call, self.clock())
        status = fields.pop("status", AttemptStatus.FAILED)
        details = {"may_be_billed": True, **fields}
        error = LLMProviderError("broken", generation_id=generation_id, **details)
        await self.ledger.fail(interaction_id, ordinal, error, QUICK, status=status)

    async def ended(self, *generation_ids: str | None, **fields: Any) -> str:
        """Open an interaction, break its calls, and end it."""
        interaction_id = await opened(self.store, session_id=fields.pop("session_id", "s1"))
        for generation_id in generation_ids:
            await self.broken(interaction_id, generation_id, **fields)
        await self.store.end(interaction_id, ENDED)
        return interaction_id

    async def costs(self, interaction_id: str) -> list[float | None]:
        view = await self.store.view(interaction_id)
        return [attempt.usage and attempt.usage.cost_usd for attempt in view.attempts]

    async def begun(self, interaction_id: str) -> bool:
        await self.reconciliation.begin_if_due(await self.store.view(interaction_id))
        return interaction_id in self.runs.reconciled


@pytest.fixture
def office(database: Database, store: InteractionStore, ledger: AttemptLedger) -> Office:
    return Office(database, store, ledger)


# --- a look ---


@pytest.mark.parametrize("status", [AttemptStatus.FAILED, AttemptStatus.CANCELLED])
async def test_what_a_broken_call_used_is_kept_as_its_provider_tells_it(office: Office, status: AttemptStatus) -> None:
    office.records.of["gen-1"] = BILL
    interaction_id = await office.ended("gen-1", status=status)
    assert await office.look(interaction_id) == Look(Reconciled(settled=1), again=False)
    view = await office.store.view(interaction_id)
    assert view.attempts[0].usage == view.usage == BILL
    assert view.attempts[0].status is status
    total = (await UsageReports(office.database).report(GroupBy.MODEL)).total
    assert (total.cost_usd, total.unknown_cost_calls) == (0.25, 0)


async def test_an_answer_whose_cost_was_not_told_is_looked_up_too(office: Office) -> None:
    interaction_id = await opened(office.store)
    ordinal = await begun(office.ledger, interaction_id, CALL, NOON)
    answer = completion(usage=Usage(prompt_tokens=3, cached_tokens=1), generation_id="gen-1")
    await office.ledger.succeed(interaction_id, 0, ordinal, answer, QUICK)
    office.records.of["gen-1"] = Usage(completion_tokens=5, cost_usd=0.25)
    await office.look(interaction_id)
    (attempt,) = await office.ledger.attempts(interaction_id)
    assert attempt.usage == Usage(prompt_tokens=3, cached_tokens=1, completion_tokens=5, cost_usd=0.25)


async def test_an_estimate_gives_way_to_the_true_cost(office: Office) -> None:
    interaction_id = await office.ended("gen-1")
    async with office.database.write() as connection:
        await connection.execute(update(attempts).values(estimated_cost_usd=9.0))
    await office.look(interaction_id)
    (attempt,) = await office.ledger.attempts(interaction_id)
    assert attempt.usage == Usage(estimated_cost_usd=9.0)
    office.records.of["gen-1"] = BILL
    await office.look(interaction_id)
    (attempt,) = await office.ledger.attempts(interaction_id)
    assert attempt.usage == BILL


async def test_a_record_that_is_not_there_yet_is_worth_another_look(office: Office) -> None:
    interaction_id = await office.ended("gen-1")
    assert await office.look(interaction_id) == Look(Reconciled(unknown=1), again=True)
    assert await office.costs(interaction_id) == [None]


async def test_what_can_be_settled_is_settled_though_another_call_stays_unknown(office: Office) -> None:
    office.records.of["gen-2"] = BILL
    interaction_id = await office.ended("gen-1", "gen-2")
    assert await office.look(interaction_id) == Look(Reconciled(settled=1, unknown=1), again=True)
    assert await office.costs(interaction_id) == [None, 0.25]


async def test_a_cost_that_is_known_is_asked_for_no_more_and_stays(office: Office) -> None:
    office.records.of["gen-2"] = BILL
    interaction_id = await office.ended("gen-1", "gen-2")
    await office.look(interaction_id)
    office.records.of = {"gen-1": BILL, "gen-2": Usage(cost_usd=7)}
    assert await office.look(interaction_id) == Look(Reconciled(settled=2), again=False)
    assert await office.costs(interaction_id) == [0.25, 0.25]
    assert office.records.asked == ["gen-1", "gen-2", "gen-1"]


async def test_a_cost_told_to_two_at_a_time_is_the_first_ones(office: Office) -> None:
    interaction_id = await office.ended("gen-1")

    async def the_other_is_quicker() -> None:
        office.records.of["gen-1"] = BILL
        await office.look(interaction_id)

    office.records.of["gen-1"] = the_other_is_quicker
    assert (await office.look(interaction_id)).reconciled == Reconciled(settled=1)
    assert await office.costs(interaction_id) == [0.25]


async def test_a_cost_of_nothing_is_a_cost(office: Office) -> None:
    office.records.of["gen-1"] = Usage(cost_usd=0)
    interaction_id = await office.ended("gen-1")
    assert await office.look(interaction_id) == Look(Reconciled(settled=1), again=False)
    assert (await office.store.view(interaction_id)).usage.cost_usd == 0


@pytest.mark.parametrize(
    "told",
    [
        Usage(prompt_tokens=1),
        Usage(cost_usd=-1),
        Usage(cost_usd=math.nan),
        Usage(cost_usd=math.inf),
        {"cost_usd": "dear"},
        "dear",
    ],
    ids=str,
)
async def test_a_bill_without_a_cost_that_can_be_true_is_none(office: Office, told: object) -> None:
    office.records.of["gen-1"] = told
    interaction_id = await office.ended("gen-1")
    assert await office.look(interaction_id) == Look(Reconciled(unknown=1), again=True)
    assert await office.costs(interaction_id) == [None]


REFUSED = Posture(then=NextStep.FAIL)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (LLMProviderAuthenticationError("who are you?", posture=REFUSED), False),
        (LLMProviderAuthenticationError("who are you?", posture=Posture(then=NextStep.NEXT_PROVIDER)), False),
        (LLMProviderServiceError("busy", posture=Posture(tries=3)), True),
        (LLMProviderServiceError("busy for long"), True),
        (LLMProviderServiceError("odd", posture="whatever"), True),  # type: ignore[arg-type]
        (RuntimeError("a defect of its own"), True),
        (TimeoutError(), True),
    ],
    ids=repr,
)
async def test_a_provider_is_asked_again_unless_it_refuses(office: Office, error: Exception, again: bool) -> None:
    office.records.of |= {"gen-1": error, "gen-2": BILL}
    interaction_id = await office.ended("gen-1", "gen-2")
    assert await office.look(interaction_id) == Look(Reconciled(settled=1, unknown=1), again=again)


@pytest.mark.parametrize("stubborn", [False, True], ids=["can be cancelled", "cannot be cancelled"])
async def test_a_provider_that_does_not_answer_is_given_up_for_this_look(office: Office, stubborn: bool) -> None:
    released = asyncio.Event()

    async def says_nothing() -> None:
        try:
            await released.wait()
        except asyncio.CancelledError:
            if stubborn:
                await says_nothing()
            raise

    office.records.of |= {"gen-1": says_nothing, "gen-2": BILL}
    interaction_id = await office.ended("gen-1", "gen-2")
    impatient = Reconciliation(office.database, office.providers, office.runs, patience=timedelta(milliseconds=50))
    assert await impatient.look(interaction_id) == Look(Reconciled(settled=1, unknown=1), again=True)
    released.set()


@pytest.mark.parametrize("provider", ["gone", "forgetful", "broken"])
async def test_nobody_waits_for_a_provider_that_cannot_tell(office: Office, provider: str) -> None:
    office.providers.register("broken", lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    interaction_id = await office.ended("gen-1", provider=provider)
    assert await office.look(interaction_id) == Look(Reconciled(unknown=1), again=False)
    assert not await office.begun(interaction_id)


async def test_calls_that_cost_nothing_or_have_no_id_are_not_asked_for(office: Office) -> None:
    interaction_id = await opened(office.store)
    await office.broken(interaction_id, "gen-refused", may_be_billed=False)
    await office.broken(interaction_id, None)
    await begun(office.ledger, interaction_id)
    assert await office.look(interaction_id) == Look(Reconciled(unknown=1), again=False)
    assert office.records.asked == []


async def test_an_interaction_that_is_gone_has_nothing_to_settle(office: Office) -> None:
    assert await office.look("gone") == Look(Reconciled(), again=False)


# --- when it begins ---


async def test_the_end_of_an_interaction_with_a_broken_call_begins_it(office: Office) -> None:
    assert await office.begun(await office.ended("gen-1"))


@pytest.mark.parametrize(
    "fields", [{"generation_id": None}, {"may_be_billed": False}], ids=["no id", "nothing is owed"]
)
async def test_a_call_that_cannot_be_looked_up_or_costs_nothing_begins_none(
    office: Office, fields: dict[str, Any]
) -> None:
    interaction_id = await opened(office.store)
    await office.broken(interaction_id, **fields)
    assert not await office.begun(interaction_id)


async def test_a_cost_that_was_told_with_the_answer_begins_none(office: Office) -> None:
    interaction_id = await opened(office.store)
    ordinal = await begun(office.ledger, interaction_id, CALL, NOON)
    await office.ledger.succeed(interaction_id, 0, ordinal, completion(usage=BILL, generation_id="gen-1"), QUICK)
    assert not await office.begun(interaction_id)


async def test_a_worker_that_starts_begins_what_nobody_began(office: Office) -> None:
    lost = [await office.ended("gen-1"), await office.ended("gen-2", "gen-3")]
    settled = await office.ended("gen-4")
    office.records.of["gen-4"] = BILL
    await office.look(settled)
    await office.ended("gen-5", provider="forgetful")
    await office.ended("gen-6", provider="gone")
    await office.ended(None)
    running = await opened(office.store)
    await office.broken(running, "gen-7")
    office.clock.advance(hours=23)
    await office.reconciliation.begin_overdue()
    assert office.runs.reconciled == lost


async def test_what_is_older_than_a_day_is_left_alone(office: Office) -> None:
    await office.ended("gen-1")
    office.clock.advance(hours=24, seconds=1)
    await office.reconciliation.begin_overdue()
    assert office.runs.reconciled == []


async def test_a_database_that_is_away_keeps_no_worker_from_starting(office: Office, caplog: Any) -> None:
    await office.ended("gen-1")
    await office.database.close()
    async with office.database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE attempts RENAME TO lost")
    await office.reconciliation.begin_overdue()
    async with office.database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE lost RENAME TO attempts")
    assert office.runs.reconciled == []
    assert "could not be looked for" in caplog.text
