"""Behind a limit: what nobody works on any more is ended, and Temporal is not asked about everything."""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from core.orchestrator.application import Application
from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.config import Settings
from core.orchestrator.contracts import InteractionStatus
from core.orchestrator.errors import OverloadedError, TooManyOpenError
from core.orchestrator.interactions.opening import Opening
from core.orchestrator.interactions.room import Room
from core.orchestrator.interactions.settlement import Settlement
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.runs import RunState
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.agents.personas import persona
from tests.core.orchestrator.domain import FakeRuns, SettableClock, request
from tests.core.orchestrator.interactions.test_limits import id_at

NEVER_AGAIN = timedelta(days=1)
ADAS = TooManyOpenError("full", timedelta(seconds=1), user_id="ada")
WEBS = TooManyOpenError("full", timedelta(seconds=1), key_name="web")
ALL = OverloadedError("full", timedelta(seconds=1))


@dataclass
class Hall:
    store: InteractionStore
    runs: FakeRuns
    clock: SettableClock
    settlement: Settlement
    database: Database

    def room(self, pause: timedelta = timedelta(0)) -> Room:
        return Room(self.database, self.settlement, self.clock, pause)

    async def opened(self, state: RunState = RunState.RUNNING, user_id: str = "ada", key_name: str = "web") -> str:
        asked = request(interaction_id=id_at(self.clock.now), user_id=user_id, session_id=user_id)
        await self.store.open_turn(asked, Opening(key_name=key_name))
        if state is not RunState.MISSING:
            self.runs.states[f"interaction-{asked.interaction_id}"] = state
        return asked.interaction_id

    async def has_ended(self, interaction_id: str) -> bool:
        return (await self.store.view(interaction_id)).status is not InteractionStatus.QUEUED


@pytest.fixture
def hall(database: Database) -> Hall:
    clock, runs = SettableClock(), FakeRuns()
    store = InteractionStore(database, clock)
    results = Application(Settings(_env_file=None), database, PersonaLibrary([persona()])).results(runs)
    return Hall(store, runs, clock, Settlement(store, AttemptLedger(database), results, runs, clock), database)


@pytest.mark.parametrize("refusal", [ADAS, WEBS, ALL])
@pytest.mark.parametrize("state", [RunState.MISSING, RunState.CLOSED, RunState.CANCELLED])
async def test_what_was_lost_makes_room(
    hall: Hall, refusal: TooManyOpenError | OverloadedError, state: RunState
) -> None:
    running, lost = await hall.opened(), await hall.opened(state)
    hall.clock.advance(minutes=1)
    assert await hall.room().made_for(refusal)
    assert [await hall.has_ended(one) for one in (running, lost)] == [False, True]
    assert not await hall.room().made_for(refusal)


async def test_what_is_another_users_makes_no_room(hall: Hall) -> None:
    await hall.opened(RunState.MISSING, user_id="eve", key_name="app")
    hall.clock.advance(minutes=1)
    assert not await hall.room().made_for(ADAS)
    assert not await hall.room().made_for(WEBS)
    assert hall.runs.asked == []


async def test_nobody_is_asked_about_what_has_just_come(hall: Hall) -> None:
    await hall.opened(RunState.MISSING)
    hall.clock.advance(seconds=9)
    assert not await hall.room().made_for(ALL)
    assert hall.runs.asked == []


async def test_what_is_lost_is_found_behind_many_that_run_a_few_at_a_time(hall: Hall) -> None:
    for _ in range(12):
        await hall.opened()
    lost = await hall.opened(RunState.MISSING)
    hall.clock.advance(minutes=1)
    room = hall.room()
    assert [await room.made_for(ALL) for _ in range(3)] == [False, False, True]
    assert await hall.has_ended(lost)
    assert len(hall.runs.asked) == 13
    assert not await room.made_for(ALL), "from the start again"
    assert len(hall.runs.asked) == 18


async def test_a_limit_that_stays_reached_is_looked_behind_once_in_a_while(hall: Hall) -> None:
    await hall.opened()
    hall.clock.advance(minutes=1)
    room = hall.room(NEVER_AGAIN)
    for _ in range(3):
        assert not await room.made_for(ALL)
    assert len(hall.runs.asked) == 1
    assert not await room.made_for(ADAS), "another limit"
    assert len(hall.runs.asked) == 2


async def test_after_a_find_the_next_look_is_not_put_off(hall: Hall) -> None:
    for _ in range(7):
        await hall.opened(RunState.MISSING)
    hall.clock.advance(minutes=1)
    room = hall.room(NEVER_AGAIN)
    assert [await room.made_for(ALL) for _ in range(3)] == [True, True, False]
