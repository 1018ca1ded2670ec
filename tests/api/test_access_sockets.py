"""Keys over real sockets: who may watch and end a reply that comes, what a stranger's upload costs, what is logged."""

import asyncio
import json

from httpx_sse import aconnect_sse

from core.orchestrator.examples.reply_reducer import Reply
from tests.api.keyed import KEYS, KeyedApi, bearer
from tests.api.talk import INTERACT
from tests.harness import System

MODEL = "keys/model"


async def test_nobody_else_can_watch_or_end_a_reply(system: System, keyed_api: KeyedApi) -> None:
    system.standin.script(MODEL, {"hold": True, "after": 3})
    body = {"message": "Hello", "model": MODEL, "stream": True}
    reply = Reply()
    client = keyed_api.client
    async with aconnect_sse(client, "POST", INTERACT, json=body, headers=bearer("alice")) as source:
        async for sse in source.aiter_sse():
            reply.add(json.loads(sse.data))
            if sse.event == "text.delta":
                break
    path = f"/api/llm/interactions/{reply.interaction_id}"
    for method, way in (("GET", ""), ("GET", "/stream"), ("GET", "/explain"), ("POST", "/cancel")):
        for who, status in (("bob", 404), (None, 401)):
            refused = await client.request(method, f"{path}{way}", headers=bearer(who))
            assert refused.status_code == status, (method, way, who)
    system.standin.release()
    headers = {**bearer("alice"), "Last-Event-ID": str(reply.last_number)}
    async with aconnect_sse(client, "GET", f"{path}/stream", headers=headers) as source:
        async for sse in source.aiter_sse():
            reply.add(json.loads(sse.data))
    assert reply.response is not None
    assert (reply.response["status"], reply.response["message"]) == ("completed", reply.text)


async def test_ones_own_reply_can_be_ended(system: System, keyed_api: KeyedApi) -> None:
    system.standin.script(MODEL, {"hold": True, "after": 3})
    body = {"message": "Hello", "model": MODEL, "background": True}
    accepted = await keyed_api.client.post(INTERACT, json=body, headers=bearer("alice"))
    ended = await keyed_api.client.post(f"{accepted.headers['location']}/cancel", headers=bearer("alice"))
    assert (ended.status_code, ended.json()["status"]) == (200, "cancelled")


async def test_an_upload_without_a_key_is_refused_before_it_is_sent(keyed_api: KeyedApi) -> None:
    head = f"POST {INTERACT} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n"
    for more in ("", "Expect: 100-continue\r\n", "Authorization: Bearer nonsense\r\n"):
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", keyed_api.client.base_url.port)
            writer.write(f"{head}{more}\r\n".encode())  # and nothing of the body
            assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
            writer.close()


async def test_a_stranger_who_sends_a_large_body_hears_the_refusal(keyed_api: KeyedApi) -> None:
    for size in (1_000, 1_000_000, 8_000_000):
        response = await keyed_api.client.post(INTERACT, content=b"x" * size)
        assert response.status_code == 401


async def test_no_key_and_no_hash_is_logged_or_told(keyed_api: KeyedApi) -> None:
    made_up = "ork_" + "Z" * 43
    strangers = {"Authorization": f"Bearer {made_up}"}
    told = []
    for headers in (bearer("bob"), bearer("admin"), strangers):
        for method, path, body in (
            ("POST", INTERACT, {"message": "Hello", "user_id": "alice", "colour": "red"}),
            ("POST", INTERACT, {"message": "Hello", "user_id": "alice", "model": "standin/unauthorized"}),
            ("GET", "/api/llm/interactions/nobody", None),
            ("GET", "/api/usage?user_id=alice", None),
            ("PUT", "/api/usage", None),
        ):
            told += [(await keyed_api.client.request(method, path, json=body, headers=headers)).text]
    assert len(told) == 15
    for secret in (made_up, *(part for key in KEYS.values() for part in (key.key, key.entry.digest))):
        assert secret not in keyed_api.process.output
        assert not any(secret in text for text in told)
