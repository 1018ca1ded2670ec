"""`kill -9` of worker, API, Temporal and PostgreSQL under load: nothing lost, nothing twice, nothing out of order."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from standin import StandIn
from tests.system.chaos.machine import Machine, running
from tests.system.chaos.storm import (
    QUICK,
    Outcome,
    accepted,
    at_its_own_postgres,
    at_its_own_temporal,
    crowds,
    storm,
)
from tests.system.chaos.transcript import Answer, Session, Strategy

MANY = 100
pytestmark = pytest.mark.timeout(240)  # hundreds of turns


@pytest.fixture(scope="module")
async def outcomes(
    temporal_address: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, asyncio.Task[Outcome]]]:
    """A storm on each kind of database, and the crowds, at the same time, each on a machine of its own."""

    async def storming() -> Outcome:
        async with (
            StandIn(pace=QUICK) as standin,
            at_its_own_temporal(standin, tmp_path_factory.mktemp("storm"), workers=2) as machine,
        ):
            return await storm(machine, rounds=1, seconds=0, talkers=3)

    async def storming_on_postgres() -> Outcome:
        async with (
            StandIn(pace=QUICK) as standin,
            at_its_own_postgres(standin, tmp_path_factory.mktemp("postgres"), workers=2) as machine,
        ):
            return await storm(machine, rounds=1, seconds=0, talkers=3)

    async def crowding() -> Outcome:
        async with (
            StandIn(pace=QUICK) as standin,
            running(Machine(standin, tmp_path_factory.mktemp("crowds"), temporal_address), workers=3) as machine,
        ):
            return await crowds(machine, MANY, losses=1)

    tasks = {
        "storm": asyncio.create_task(storming()),
        "storm on PostgreSQL": asyncio.create_task(storming_on_postgres()),
        "crowds": asyncio.create_task(crowding()),
    }
    try:
        yield tasks
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


Outcomes = dict[str, asyncio.Task[Outcome]]


@pytest.mark.parametrize(("storm", "losses"), [("storm", 3), ("storm on PostgreSQL", 4)])
async def test_under_load_no_kill_loses_doubles_or_reorders_a_turn(outcomes: Outcomes, storm: str, losses: int) -> None:
    outcome = await outcomes[storm]
    assert str(outcome.findings) == "nothing"
    assert outcome.losses == losses
    assert outcome.breaks, "no client noticed anything: there was no load"


async def test_a_crowd_in_one_session_leaves_an_orderly_transcript_in_every_mode(outcomes: Outcomes) -> None:
    outcome = await outcomes["crowds"]
    assert str(outcome.findings) == "nothing"


async def _crowd(outcomes: Outcomes, strategy: Strategy) -> tuple[Outcome, Session, list[str]]:
    """The session of a mode, and how its interactions ended, oldest first."""
    outcome = await outcomes["crowds"]
    (session,) = [session for session in outcome.sessions if session.strategy is strategy]
    oldest_first = sorted(session.interactions, key=lambda view: str(view["interaction_id"]))
    return outcome, session, [view["status"] for view in oldest_first]


async def test_in_line_everybody_is_answered(outcomes: Outcomes) -> None:
    _, session, ends = await _crowd(outcomes, Strategy.ENQUEUE)
    assert ends == ["completed"] * MANY
    assert [message["sequence"] for message in session.messages] == list(range(1, 2 * MANY + 1))


async def test_whoever_is_let_into_a_busy_session_is_answered_and_the_others_leave_no_trace(outcomes: Outcomes) -> None:
    outcome, session, ends = await _crowd(outcomes, Strategy.REJECT)
    let_in = accepted(outcome.sent, session)
    refused = [sent for sent in outcome.sent if sent.answer is Answer.REFUSED]
    assert len(let_in) + len(refused) == MANY
    assert refused
    assert ends == ["completed"] * len(let_in)
    assert len(session.messages) == 2 * len(let_in)


@pytest.mark.parametrize("strategy", [Strategy.INTERRUPT, Strategy.ROLLBACK])
async def test_of_those_who_interrupt_each_other_the_last_one_is_answered(
    outcomes: Outcomes, strategy: Strategy
) -> None:
    _, session, ends = await _crowd(outcomes, strategy)
    assert len(ends) == MANY
    assert "cancelled" in ends
    last = session.messages[-1]
    assert (last["role"], last["status"], last["sequence"]) == ("assistant", "completed", 2 * MANY)
