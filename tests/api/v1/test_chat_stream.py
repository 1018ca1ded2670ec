"""A reply in chunks, in one process: their order, what keeps the first one back, and what ends them early."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from api.streaming import ReplyStream
from api.troubles import InteractionFailedError
from api.v1.chat_stream import ChatStream
from api.waiting import Waits
from core.orchestrator.contracts import InteractionError, InteractionStatus
from core.orchestrator.errors import ErrorType, UnknownResourceError, WorkflowServiceUnavailableError
from core.orchestrator.events import InteractionEvent, TextDelta, TextReset
from core.orchestrator.interactions.store import Ending
from core.orchestrator.replies.log import append
from tests.api.house import DONE, House
from tests.api.v1.talk import events_of, said_in

AGES = timedelta(minutes=1)
AT_ONCE = timedelta(0)
KEPT = Ending(InteractionStatus.INCOMPLETE, reply="Hi the")


def _stream(house: House, interaction_id: str, patience: timedelta = AGES, **more: Any) -> AsyncGenerator[bytes, None]:
    waits: Waits = more.pop("waits", None) or house.waits()
    events = ReplyStream(
        house.follower, waits, interaction_id, keep_alive=more.pop("keep_alive", timedelta(milliseconds=20))
    )
    return ChatStream(events, "cherry@a/b", patience=patience, **more).chunks()


async def _tell(house: House, *events: InteractionEvent) -> None:
    async with house.application.database.write() as connection:
        await append(connection, *events)


def _delta(interaction_id: str, text: str) -> TextDelta:
    return TextDelta(interaction_id=interaction_id, attempt=1, delta=text)


async def _rest(chunks: AsyncGenerator[bytes, None]) -> list[Any]:
    async with aclosing(chunks), asyncio.timeout(10):
        return events_of(b"".join([chunk async for chunk in chunks]))


async def test_the_chunks_come_in_openais_order_and_are_of_one_completion(house: House) -> None:
    interaction_id = await house.opened()
    await _tell(house, _delta(interaction_id, "H"), _delta(interaction_id, "i"))
    await house.end(interaction_id)
    *chunks, done = await _rest(_stream(house, interaction_id))
    assert done == "[DONE]"
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"content": "H"},
        {"content": "i"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert all("usage" not in chunk for chunk in chunks)
    heads = [{name: chunk[name] for name in ("id", "object", "created", "model")} for chunk in chunks]
    began = (UUID(interaction_id).int >> 80) // 1000
    assert heads == [
        {
            "id": f"chatcmpl-{interaction_id}",
            "object": "chat.completion.chunk",
            "created": began,
            "model": "cherry@a/b",
        }
    ] * len(chunks)


async def test_usage_comes_last_and_is_null_before(house: House) -> None:
    interaction_id = await house.opened()
    await house.end(interaction_id)
    *chunks, usage, done = await _rest(_stream(house, interaction_id, tells_usage=True))
    assert done == "[DONE]"
    assert [chunk["usage"] for chunk in chunks] == [None] * 3
    assert (usage["choices"], usage["usage"]) == ([], None), "nobody told what it used"
    assert said_in(chunks) == "Hi"


async def test_the_status_waits_for_the_first_text(house: House) -> None:
    interaction_id = await house.opened()
    async with aclosing(_stream(house, interaction_id)) as chunks, asyncio.timeout(10):
        sure = asyncio.create_task(anext(chunks))
        done, _ = await asyncio.wait([sure], timeout=0.1)  # some signs of life long
        assert not done
        await _tell(house, _delta(interaction_id, "Hi"))
        assert await sure == b""
        assert said_in(events_of(await anext(chunks) + await anext(chunks))) == "Hi"


async def test_the_status_waits_for_no_longer_than_its_patience_and_comments_follow(house: House) -> None:
    interaction_id = await house.opened()
    async with asyncio.timeout(10):
        chunks = _stream(house, interaction_id, AT_ONCE)
        assert await anext(chunks) == b""
        assert events_of(await anext(chunks))[0]["choices"][0]["delta"]["role"] == "assistant"
        while await anext(chunks) != b": keep-alive\n\n":
            pass
        await house.end(interaction_id)
        assert said_in(await _rest(chunks)) == "Hi"


@pytest.mark.parametrize("before", [[], ["reset"]])
async def test_what_fails_before_there_is_text_is_an_ordinary_error(house: House, before: list[str]) -> None:
    interaction_id = await house.opened()
    await _tell(house, *[TextReset(interaction_id=interaction_id, attempt=1) for _ in before])
    await house.application.store.end(interaction_id, _failure(ErrorType.UPSTREAM))
    with pytest.raises(InteractionFailedError) as failed:
        await anext(_stream(house, interaction_id))
    assert failed.value.view.interaction_id == interaction_id


async def test_text_that_is_taken_back_before_it_was_shown_is_seen_by_nobody(house: House) -> None:
    interaction_id = await house.opened()
    reset = TextReset(interaction_id=interaction_id, attempt=2)
    await _tell(house, reset, _delta(interaction_id, "Hi"))
    await house.end(interaction_id)
    assert said_in(await _rest(_stream(house, interaction_id))) == "Hi"


async def test_text_that_is_taken_back_ends_the_stream_with_an_error_and_not_the_interaction(house: House) -> None:
    interaction_id = await house.opened()
    reset = TextReset(interaction_id=interaction_id, attempt=2)
    await _tell(house, _delta(interaction_id, "Ho"), reset, _delta(interaction_id, "Hi"))
    *chunks, last = await _rest(_stream(house, interaction_id))
    assert said_in(chunks) == "Ho"
    assert last["error"]["code"] == "reply_withdrawn"
    assert last["error"]["message"].endswith(f"see /api/llm/interactions/{interaction_id}")
    assert not (await house.application.store.view(interaction_id)).status.is_final


async def test_a_failure_after_text_is_an_error_in_the_stream(house: House) -> None:
    interaction_id = await house.opened()
    await _tell(house, _delta(interaction_id, "Ho"))
    chunks = _stream(house, interaction_id)
    assert await anext(chunks) == b""
    # The end of one that failed takes its text back.
    await house.application.store.end(interaction_id, _failure(ErrorType.UPSTREAM))
    *_, last = await _rest(chunks)
    assert last["error"].keys() == {"message", "type", "param", "code"}
    assert last["error"]["type"] == "server_error"
    assert interaction_id in last["error"]["message"]


async def test_a_failure_without_text_after_the_status_is_an_error_in_the_stream(house: House) -> None:
    interaction_id = await house.opened()
    chunks = _stream(house, interaction_id, AT_ONCE)
    assert await anext(chunks) == b""
    await house.application.store.end(interaction_id, _failure(ErrorType.CONTEXT_LENGTH))
    *_, last = await _rest(chunks)
    assert (last["error"]["code"], last["error"]["param"]) == ("context_length_exceeded", "messages")


async def test_a_part_that_is_kept_as_the_reply_says_that_it_is_cut_off(house: House) -> None:
    interaction_id = await house.opened()
    await _tell(house, _delta(interaction_id, "Hi"))
    await house.application.store.end(interaction_id, KEPT)
    *chunks, done = await _rest(_stream(house, interaction_id))
    assert (said_in(chunks), chunks[-1]["choices"][0]["finish_reason"], done) == ("Hi the", "length", "[DONE]")


async def test_a_process_that_stops_refuses_or_ends_the_stream_with_an_error(house: House) -> None:
    interaction_id = await house.opened()
    waits = house.waits()
    early, late = _stream(house, interaction_id, waits=waits), _stream(house, interaction_id, AT_ONCE, waits=waits)
    waiting = asyncio.create_task(anext(early))
    assert await anext(late) == b""
    waits.end_streams()
    with pytest.raises(WorkflowServiceUnavailableError) as refused:
        await waiting
    assert refused.value.interaction_id == interaction_id
    *_, last = await _rest(late)
    assert last["error"]["code"] == "unavailable"
    assert interaction_id in last["error"]["message"]


async def test_a_stream_of_what_was_erased_is_refused(house: House) -> None:
    with pytest.raises(UnknownResourceError):
        await anext(_stream(house, "01920000-0000-7000-8000-000000000000"))


async def test_a_client_that_leaves_ends_nothing_but_its_stream(house: House) -> None:
    interaction_id = await house.opened()
    waits = house.waits()
    chunks = _stream(house, interaction_id, AT_ONCE, waits=waits)
    await anext(chunks)
    assert waits.streams == 1
    await chunks.aclose()
    assert waits.streams == 0
    assert not (await house.application.store.view(interaction_id)).status.is_final
    await house.application.store.end(interaction_id, DONE)


def _failure(why: ErrorType) -> Ending:
    return Ending(InteractionStatus.FAILED, error=InteractionError(type=why, detail="it went wrong"))
