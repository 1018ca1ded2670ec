"""A client that loses no reply: its requests and its patience, against a server that fails as it is told."""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from time import monotonic
from typing import Any, TypeVar

import pytest

from core.orchestrator.examples.reply_reducer import Reply
from core.orchestrator.examples.service_client import Client, ClientError
from tests.core.orchestrator.examples.service import INTERACTION_ID, Cut, Drop, Refuse, Service, Step, told
from tests.harness import free_port

BODY = {"message": "Hello", "user_id": "user123"}
EVENTS = told("Hello", " there", None, "Good", " day")

Result = TypeVar("Result")


async def _beside(do: Callable[[], Result]) -> Result:
    """Run what blocks, while the server goes on in this thread."""
    return await asyncio.to_thread(do)


def _streamed(client: Client, reply: Reply) -> list[dict[str, Any]]:
    return list(client.stream_interact(BODY, reply))


@pytest.mark.parametrize("cuts", [[0], [1], [3, 0, 2], [6]], ids=str)
async def test_a_stream_that_breaks_goes_on_where_it_was(cuts: Sequence[int]) -> None:
    reply, notices = Reply(), list[str]()
    async with Service(EVENTS, *(Cut(events) for events in cuts)) as service:
        with Client(service.url, notice=notices.append) as client:
            events = await _beside(lambda: _streamed(client, reply))
    assert events == EVENTS
    assert reply.text == "Good day"
    first, *later = service.requests
    assert first.method == "POST"
    assert first.body == {**BODY, "stream": True}
    # Where nothing has come, nothing is known of the interaction either.
    known = [request for request in later if request.method == "GET"]
    assert all(request.path.endswith(f"/{INTERACTION_ID}/stream") for request in known)
    assert len(known) == len(later) - (cuts[0] == 0)
    assert "trying again" in notices[0]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "steps",
    [[Drop()], [Refuse(503), Drop()], [Refuse(503, {"interaction_id": INTERACTION_ID})], [Refuse(429), Refuse(503)]],
)
async def test_a_message_is_repeated_with_its_key_until_it_is_answered(steps: list[Step], stream: bool) -> None:
    async with Service(EVENTS, *steps) as service:
        with Client(service.url) as client:
            await _beside(lambda: _streamed(client, Reply()) if stream else client.interact(BODY))
    (key,) = {request.key for request in service.requests}
    assert key
    assert len(service.requests) == len(steps) + 1
    assert all(request.body == service.requests[0].body for request in service.requests)


async def test_every_message_has_a_key_of_its_own() -> None:
    async with Service(EVENTS) as service:
        with Client(service.url) as client:
            for _ in range(2):
                await _beside(lambda: client.direct({"messages": []}))
    assert len({request.key for request in service.requests}) == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [429, 503])
async def test_an_interaction_that_ended_so_is_not_asked_for_again(status: int, stream: bool) -> None:
    async with Service(EVENTS, Refuse(status, {"interaction_id": INTERACTION_ID})) as service:
        service.status = "failed"
        with Client(service.url) as client, pytest.raises(ClientError, match=f"{status} unavailable: not now"):
            await _beside(lambda: _streamed(client, Reply()) if stream else client.interact(BODY))
    assert len(service.requests) == 1


@pytest.mark.parametrize("status", [HTTPStatus.CONFLICT, HTTPStatus.BAD_GATEWAY])
async def test_other_refusals_are_told_at_once(status: HTTPStatus) -> None:
    async with Service(EVENTS, Refuse(status)) as service:
        with Client(service.url) as client, pytest.raises(ClientError, match=f"{status} unavailable: not now"):
            await _beside(lambda: _streamed(client, Reply()))
    assert len(service.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_message_is_not_sent_again_before_the_service_wants_it(status: int) -> None:
    async with Service(EVENTS, Refuse(status, retry_after="1")) as service:
        began = monotonic()
        with Client(service.url) as client:
            await _beside(lambda: client.interact(BODY))
    assert len(service.requests) == 2
    assert monotonic() - began >= 1


async def test_a_wait_that_the_service_asks_for_is_longer_than_patience_allows() -> None:
    async with Service(EVENTS, Refuse(503, retry_after="60")) as service:
        with Client(service.url, patience_seconds=30) as client, pytest.raises(ClientError, match="503"):
            await _beside(lambda: client.interact(BODY))
    assert len(service.requests) == 1


async def test_patience_ends() -> None:
    notices = list[str]()
    async with Service(EVENTS, *[Drop()] * 20) as service:
        with (
            Client(service.url, patience_seconds=0.5, notice=notices.append) as client,
            pytest.raises(ClientError, match=r"the connection to .* broke"),
        ):
            await _beside(lambda: client.interact(BODY))
    assert len(notices) == 1, "told once"


async def test_a_service_that_never_was_there_is_not_waited_for() -> None:
    notices = list[str]()
    with (
        Client(f"http://127.0.0.1:{free_port()}", notice=notices.append) as client,
        pytest.raises(ClientError, match="the service is not up at"),
    ):
        _streamed(client, Reply())
    assert notices == []


async def test_a_service_that_took_a_message_and_is_gone_is_waited_for() -> None:
    async def vanish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        server.close()
        writer.close()

    server = await asyncio.start_server(vanish, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    notices: list[str] = []
    with (
        Client(f"http://127.0.0.1:{port}", patience_seconds=0.5, notice=notices.append) as client,
        pytest.raises(ClientError, match="not up") as failure,
    ):
        await _beside(lambda: client.interact(BODY))
    assert "make run" not in str(failure.value)  # it was there: nobody need be told how to start it
    assert len(notices) == 1


async def test_an_interaction_that_is_known_is_followed() -> None:
    async with Service(EVENTS) as service:
        with Client(service.url) as client:
            reply = Reply(interaction_id=INTERACTION_ID, last_number=4)
            events = await _beside(lambda: list(client.follow(reply)))
    assert events == EVENTS[4:]
    assert [(request.method, request.after) for request in service.requests] == [("GET", "4")]


async def test_what_is_no_stream_is_another_service() -> None:
    async with Service(EVENTS, Refuse(200)) as service:
        with Client(service.url) as client, pytest.raises(ClientError, match="not with a stream"):
            await _beside(lambda: _streamed(client, Reply()))


@pytest.mark.parametrize("url", ["ftp://example", "http://example:port", "example"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(ClientError, match="is not an http:// or https:// address"):
        Client(url).get("/healthz")
