"""Load on a machine that loses its parts: what both the tests and `python -m tests.system.chaos` run."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from standin import Pace, StandIn
from tests.postgres import PostgresServer
from tests.system.chaos.client import Client, Way, connections
from tests.system.chaos.machine import Machine, running
from tests.system.chaos.transcript import Answer, Findings, Sent, Session, Strategy, check
from tests.system.own_temporal import Temporal

QUICK = Pace(token=timedelta(milliseconds=3))
STURDY, FRAGILE = "openai/gpt-4o", "openai/gpt-4"
FAILURES = ("down", "truncated", "error-mid-stream", "malformed", "server-error")
_WAYS = tuple(Way)
_WAVES = 5
_EVERY = 3
"""One of so many calls of the fragile model fails."""


@dataclass
class Outcome:
    """What came of a storm."""

    findings: Findings
    sent: Sequence[Sent]
    sessions: Sequence[Session]
    losses: int = 0
    """How many processes were killed."""
    breaks: int = 0
    """How many times a client had to begin again."""

    def __str__(self) -> str:
        sessions = f"{len(self.sent)} messages in {len(self.sessions)} sessions"
        return f"{sessions}, {self.losses} kills, {self.breaks} repetitions: {self.findings}"


@asynccontextmanager
async def at_its_own_temporal(
    standin: StandIn, directory: Path, workers: int, postgres: PostgresServer | None = None
) -> AsyncIterator[Machine]:
    """Run a machine that may lose its Temporal too; with `postgres`, also the server that its database is on."""
    temporal = Temporal(directory / "temporal")
    await temporal.start()
    try:
        database_url = "" if postgres is None else await postgres.migrated()
        async with running(Machine(standin, directory, temporal, postgres, database_url), workers) as machine:
            yield machine
    finally:
        await temporal.stop()


@asynccontextmanager
async def at_its_own_postgres(standin: StandIn, directory: Path, workers: int) -> AsyncIterator[Machine]:
    """Run a machine that may lose its Temporal and its PostgreSQL too."""
    postgres = PostgresServer()
    try:
        await postgres.start()
        async with at_its_own_temporal(standin, directory, workers, postgres) as machine:
            yield machine
    finally:
        await postgres.end()


async def storm(machine: Machine, rounds: int, seconds: float, talkers: int = 6) -> Outcome:
    """Let clients talk, each in a session of its own, while each kind of process is killed in turn.

    They stop when there were so many rounds of kills, and so many seconds have passed.
    """
    losing = [machine.loses_a_worker, machine.loses_an_api, machine.loses_temporal]
    if machine.postgres is not None:
        losing.append(machine.loses_postgres)
    for _ in range(100 * (rounds + int(seconds))):
        machine.standin.script(FRAGILE, random.choice(FAILURES), *["ok"] * (_EVERY - 1))
    over = asyncio.Event()
    sent: list[Sent] = []
    http = connections()
    clients = [
        Client(
            http,
            machine.urls,
            f"user-{number}",
            f"storm-{number}",
            _WAYS[number % len(_WAYS)],
            {"model": FRAGILE, "fallback_models": [STURDY]},
        )
        for number in range(talkers)
    ]

    async def talks(client: Client) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            sent.append(await client.says(f"{client.session_id} says {turn:04}"))

    began, losses = time.monotonic(), 0
    async with http, asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(talks(client))
        try:
            while losses < len(losing) * rounds or time.monotonic() - began < seconds:
                for lose in losing:
                    heard = len(sent)
                    await lose()
                    losses += 1
                    await _until_more_was_heard(sent, heard)
        finally:
            over.set()
    sessions = [await machine.session(client.session_id, client.user_id) for client in clients]
    findings = check(sent, sessions, machine.standin.ledger.calls)
    return Outcome(findings, sent, sessions, losses, sum(client.breaks for client in clients))


async def _until_more_was_heard(sent: list[Sent], before: int) -> None:
    """Go on when somebody was answered after the loss: what is never up loses nothing."""
    async with asyncio.timeout(60):
        while len(sent) == before:  # noqa: ASYNC110 - it is the clients' list
            await asyncio.sleep(0.05)


class Heard:
    """The messages whose senders know what became of them."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self._more = asyncio.Event()

    def add(self, sent: Sent) -> None:
        self.sent.append(sent)
        self._more.set()

    async def until(self, count: int) -> None:
        while len(self.sent) < count:
            self._more.clear()
            await self._more.wait()


async def crowd(machine: Machine, strategy: Strategy, many: int, heard: Heard) -> Session:
    """Let many messages be sent to one session at the same moment."""
    user, session = f"user {strategy.value}", f"crowd-{strategy.value}"
    fields = {"multitask_strategy": strategy.value, "model": STURDY, "fallback_models": []}
    # All at once, only one would be let in.
    size = many // _WAVES if strategy is Strategy.REJECT else many
    async with connections() as http:

        async def says(number: int) -> None:
            urls = machine.urls[:: 1 if number % 2 else -1]
            client = Client(http, urls, user, session, _WAYS[number % len(_WAYS)], fields)
            heard.add(await client.says(f"{strategy.value} message {number:03}"))

        for first in range(0, many, size):
            await asyncio.gather(*(says(number) for number in range(first, first + size)))
    return await machine.session(session, user, strategy)


async def crowds(machine: Machine, many: int, losses: int) -> Outcome:
    """Let a crowd come in each mode, while workers are killed.

    First come those whose turns are mostly refused or cancelled, then those who are all answered: a turn in line looks
    after itself every few seconds, and hundreds of them would do little else.
    """
    sent: list[Sent] = []
    sessions: list[Session] = []
    for strategies in ((Strategy.REJECT, Strategy.INTERRUPT, Strategy.ROLLBACK), (Strategy.ENQUEUE,)):
        heard = Heard()

        async def loses_workers(heard: Heard, messages: int) -> None:
            for number in range(losses):
                await heard.until(messages * (2 * number + 1) // (2 * losses))
                await machine.loses_a_worker()

        losing = asyncio.create_task(loses_workers(heard, many * len(strategies)))
        sessions += await asyncio.gather(*(crowd(machine, strategy, many, heard) for strategy in strategies))
        await losing
        sent += heard.sent
    return Outcome(check(sent, sessions, machine.standin.ledger.calls), sent, sessions, 2 * losses)


def accepted(sent: Sequence[Sent], session: Session) -> list[Sent]:
    return [each for each in sent if each.session_id == session.session_id and each.answer is Answer.ACCEPTED]
