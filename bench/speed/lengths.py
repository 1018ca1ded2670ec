"""What a turn costs after so many others, and what Temporal keeps of it.

The earlier turns are written straight into the database, as the service would have written them. They are long enough
to fill the memory's budget at turn 10 already: what differs is then the conversation's length, not the prompt's.
"""

import secrets
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from temporalio.client import Client
from uuid6 import uuid7

from bench.speed.asking import Asker
from bench.speed.field import Contender
from bench.speed.rounds import Phase, Referee
from bench.speed.targets import Target
from core.orchestrator.contracts import InteractionKind, InteractionRequest, InteractionStatus
from core.orchestrator.memory.rows import asked_row, reply_row
from core.orchestrator.storage.database import open_database
from core.orchestrator.storage.tables import interactions, messages, sessions

EARLY, LATE = 10, 10_000
_TURNS_PER_WRITE = 500
_CHARACTERS = 1000
_BLOCK = 20
"""Requests to one session; then it is another's turn."""
_MOST_EVENTS = 16
_MOST_BYTES = 10 * 1024
_SAME_BYTES = 64
"""By so much ids and times differ in how many digits they are written with."""
_LATER = 1.1


@dataclass(frozen=True)
class History:
    """What Temporal keeps of one run."""

    events: int
    bytes: int


async def seeded(directory: Path, turns: int) -> tuple[str, str]:
    """Write a session of so many completed turns, and return its user and its id."""
    user, session = f"user-{secrets.token_hex(4)}", f"session-{secrets.token_hex(6)}"
    began = datetime.now(UTC) - timedelta(days=1)
    database = open_database(directory / "data" / "orchestrator.db")
    try:
        async with database.write() as connection:
            head = {"session_id": session, "user_id": user, "created_at": began, "turns": turns}
            await connection.execute(insert(sessions).values(**head))
        for first in range(1, turns + 1, _TURNS_PER_WRITE):
            numbers = range(first, min(first + _TURNS_PER_WRITE, turns + 1))
            rows = [_turn(user, session, number, began + timedelta(seconds=number)) for number in numbers]
            async with database.write() as connection:
                await connection.execute(insert(interactions), [row for row, _ in rows])
                await connection.execute(insert(messages), [said for _, both in rows for said in both])
    finally:
        await database.close()
    return user, session


def _turn(user: str, session: str, turn: int, at: datetime) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    text = f"{turn}{' la' * _CHARACTERS}"[:_CHARACTERS]
    interaction_id = str(uuid7())
    request = InteractionRequest(
        interaction_id=interaction_id, user_id=user, session_id=session, persona_id="cherry", message=text
    )
    row = {
        "interaction_id": interaction_id,
        "kind": InteractionKind.INTERACT,
        "user_id": user,
        "session_id": session,
        "turn": turn,
        "status": InteractionStatus.COMPLETED,
        "request": request.model_dump(mode="json"),
        "created_at": at,
        "ended_at": at + timedelta(milliseconds=200),
        "persona_id": "cherry",
        "persona_name": "Cherry",
        "agent": "conversation",
        "answered_place": 0,
        "reply": text,
    }
    common = {"session_id": session, "interaction_id": interaction_id, "created_at": at}
    asked, replied = [{"role": "user", "content": text}], [{"role": "assistant", "content": text}]
    return row, [common | asked_row(turn, asked), common | reply_row(turn, replied)]


async def by_length(
    referee: Referee, ours: Contender, asker: Asker, *, lengths: Sequence[int], blocks: int
) -> list[Phase]:
    """Measure turns after so many others, a block of each length by turns.

    One session of each length is enough: each block goes on where the one before has ended.
    """
    known = {turns: await seeded(ours.directory, turns - 1) for turns in lengths}
    for session in known.values():
        await asker.ask(*session)
    await ours.tree.settle()
    return [
        await referee.in_session(ours, asker, session, count=_BLOCK, kind=f"turn {turns}")
        for number in range(blocks)
        # To and fro: what was measured last is not always the longest.
        for turns, session in (known.items() if number % 2 == 0 else reversed(known.items()))
    ]


async def history_at(ours: Contender, asker: Asker, turn: int) -> History | None:
    """Return what Temporal keeps of a plain interaction that is this turn of its session."""
    answered = await asker.answer(*await seeded(ours.directory, turn - 1))
    if answered is None:
        return None
    client = await Client.connect(f"127.0.0.1:{ours.temporal_port}")
    run = client.get_workflow_handle(str(answered[1]["workflow_id"]))
    await run.result()
    described = await run.describe()
    return History(described.history_length, described.raw_description.workflow_execution_info.history_size_bytes)


def targets(phases: Sequence[Phase], histories: Mapping[int, History]) -> list[Target]:
    """Return what holds of conversations of any length."""
    found = []
    for name, value in (("p50 of added latency", "added_p50_ms"), ("processor time", "processor_ms")):
        early, late = ([getattr(p, value) for p in phases if p.kind == f"turn {turns}"] for turns in (EARLY, LATE))
        if early and late:
            ratio = statistics.median(b / a for a, b in zip(early, late, strict=True))
            found.append(Target(f"{name} at turn {LATE:,}, as a part of turn {EARLY}", ratio, _LATER))
    if histories:
        events, sizes = [h.events for h in histories.values()], [h.bytes for h in histories.values()]
        found.append(Target("events of a plain interaction", max(events), _MOST_EVENTS))
        found.append(Target("bytes of its history", max(sizes), _MOST_BYTES))
        longer = f"at turn {LATE:,} than at turn {EARLY}"
        found.append(Target(f"events more or less {longer}", max(events) - min(events), 0))
        found.append(Target(f"bytes more or less {longer}", max(sizes) - min(sizes), _SAME_BYTES))
    return found
