"""A growing text is written piece by piece: the first at once, and none of it lost or twice."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from core.orchestrator.errors import StorageUnavailableError
from core.orchestrator.replies.writing import DeltaWriter

NEVER = timedelta(hours=1)
AT_ONCE = timedelta(0)


class Page:
    """What was written, and what is to happen at the next write."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.troubles: list[Exception | bool] = []
        self.changed = asyncio.Event()
        self.go_on: asyncio.Event | None = None
        self.refused = asyncio.Event()

    async def write(self, text: str) -> bool:
        self.changed.set()
        if self.go_on is not None:
            await self.go_on.wait()
        trouble = self.troubles.pop(0) if self.troubles else True
        if isinstance(trouble, Exception):
            raise trouble
        if trouble:
            self.written.append(text)
        return trouble

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.changed.wait()
            self.changed.clear()
            await asyncio.sleep(0)

    def writer(self, interval: timedelta) -> DeltaWriter:
        return DeltaWriter(self.write, self.refused.set, interval)


async def test_the_first_piece_is_written_at_once_and_the_rest_waits() -> None:
    page = Page()
    writer = page.writer(NEVER)
    writer.add("Once")
    await page.until(lambda: page.written == ["Once"])
    for piece in (" upon", " a", " time"):
        writer.add(piece)
    assert await writer.drain() == " upon a time"
    assert page.written == ["Once"]


async def test_pieces_that_came_meanwhile_are_written_together() -> None:
    page = Page()
    page.go_on = asyncio.Event()
    writer = page.writer(AT_ONCE)
    writer.add("Once")
    await page.changed.wait()
    page.changed.clear()
    for piece in (" upon", " a", " time"):
        writer.add(piece)
    page.go_on.set()
    await page.until(lambda: len(page.written) == 2)
    assert page.written == ["Once", " upon a time"]
    assert await writer.drain() == ""


async def test_what_is_being_written_is_not_handed_back_as_well() -> None:
    page = Page()
    page.go_on = asyncio.Event()
    writer = page.writer(NEVER)
    writer.add("Once")
    await page.changed.wait()
    writer.add(" upon")
    draining = asyncio.create_task(writer.drain())
    await asyncio.sleep(0)
    page.go_on.set()
    assert await draining == " upon"
    assert page.written == ["Once"]


async def test_a_database_that_is_away_loses_nothing() -> None:
    page = Page()
    page.troubles = [StorageUnavailableError("away"), StorageUnavailableError("away")]
    writer = page.writer(AT_ONCE)
    writer.add("Once")
    await page.until(lambda: page.written == ["Once"])
    assert await writer.drain() == ""


async def test_a_call_that_was_replaced_is_told_and_writes_no_more() -> None:
    page = Page()
    page.troubles = [False]
    writer = page.writer(AT_ONCE)
    writer.add("Old")
    await page.refused.wait()
    writer.add(" news")
    assert await writer.drain() == " news"
    assert page.written == []


async def test_half_a_character_waits_for_its_other_half() -> None:
    page = Page()
    writer = page.writer(AT_ONCE)
    writer.add("Hi \ud83d")
    await page.until(lambda: page.written == ["Hi "])
    writer.add("\ude00!")
    await page.until(lambda: len(page.written) == 2)
    assert page.written == ["Hi ", "\U0001f600!"]
    writer.add("\ud83d")
    assert await writer.drain() == "\ufffd"  # no other half will come


async def test_draining_twice_gives_nothing_twice() -> None:
    writer = Page().writer(NEVER)
    writer.add("Once")
    assert await writer.drain() == "Once"
    assert await writer.drain() == ""
