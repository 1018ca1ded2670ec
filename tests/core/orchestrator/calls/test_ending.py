"""An answer ends its interaction, and nothing that goes wrong with the end is paid for."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Row

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.calls.texts import FinishedText
from core.orchestrator.errors import OrchestratorError, StorageUnavailableError
from tests.core.orchestrator.calls.line import Line
from tests.core.orchestrator.domain import completion


@dataclass
class End:
    """What ends interactions: notes what is kept by then, and may fail, or take its time."""

    ledger: AttemptLedger
    fails_with: BaseException | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event | None = None
    kept: list[FinishedText | None] = field(default_factory=list)
    told: int = 0

    async def end_answered(self, interaction: Row[Any], place: int, answer: FinishedText) -> None:
        self.kept.append(await self.ledger.finished_text(interaction.interaction_id, place))
        self.begun.set()
        if self.fails_with is not None:
            raise self.fails_with
        if self.goes_on is not None:
            await self.goes_on.wait()
        assert self.kept[-1] == answer
        self.told += 1


async def test_an_interaction_ends_when_its_answer_is_kept(line: Line) -> None:
    end = line.endings = End(line.ledger)
    line.script(["Hi", completion("Hi")])
    await line.answer()
    assert [kept and kept.text for kept in end.kept] == ["Hi"]
    assert end.told == 1


@pytest.mark.parametrize("error", [StorageUnavailableError("away"), OrchestratorError("gone")])
async def test_an_end_that_fails_leaves_the_answer(line: Line, error: OrchestratorError) -> None:
    line.endings = End(line.ledger, fails_with=error)
    line.script(["Hi", completion("Hi")])
    assert (await line.answer()).text == "Hi"
    assert (await line.answer()).text == "Hi"
    assert len(line.provider.calls) == 1


async def test_what_crashes_in_the_end_is_paid_once(line: Line) -> None:
    """As when the formatting of somebody's agent takes the worker with it."""
    line.endings = End(line.ledger, fails_with=RuntimeError("not ours"))
    line.script(["Hi", completion("Hi")])
    with pytest.raises(RuntimeError):
        await line.call()
    line.endings = None
    assert (await line.answer()).text == "Hi"
    assert len(line.provider.calls) == 1


async def test_an_end_is_told_even_if_its_call_is_cancelled_meanwhile(line: Line) -> None:
    end = line.endings = End(line.ledger, goes_on=asyncio.Event())
    line.script(["Hi", completion("Hi")])
    calling = asyncio.create_task(line.call())
    await asyncio.wait_for(end.begun.wait(), 5)
    calling.cancel()
    await asyncio.sleep(0)
    assert end.goes_on is not None
    end.goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert end.told == 1
