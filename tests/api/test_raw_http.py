"""Requests that are strange as HTTP: methods, headers, sizes, paths and queries."""

import asyncio

import pytest

from tests.api.talk import DIRECT, INTERACT, assert_problem, post, send_raw
from tests.harness import System

pytestmark = pytest.mark.usefixtures("nothing_stored", "no_stray_workflow")

CANCEL = "/api/llm/interactions/x/cancel"
GOOD = {"message": "Hello", "user_id": "user123"}
READS = [
    "/api/llm/interactions/x",
    "/api/llm/interactions/x/explain",
    "/api/llm/interactions/x/stream",
    "/api/sessions/x/messages",
    "/api/personas",
    "/api/personas/cherry",
    "/api/agents",
    "/api/usage",
]


@pytest.mark.parametrize("path", [INTERACT, DIRECT, CANCEL])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
async def test_a_post_resource_allows_nothing_else(system: System, method: str, path: str) -> None:
    response = await system.client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    if method != "HEAD":
        assert_problem(response, 405, "method_not_allowed")


@pytest.mark.parametrize("path", [*READS, "/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_a_get_resource_allows_nothing_else(system: System, method: str, path: str) -> None:
    response = await system.client.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize("path", ["/api", "/api/llm", "/api/nothing", "/api/personas/", "/api/personas/a%2Fb"])
async def test_an_unknown_path_is_not_found(system: System, path: str) -> None:
    assert_problem(await system.client.get(path), 404, "not_found")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json"])
async def test_another_content_type_is_refused(system: System, kind: str) -> None:
    assert_problem(await post(system, GOOD, **{"Content-Type": kind}), 415)


async def test_a_missing_content_type_is_refused(system: System) -> None:
    response = await system.client.post(INTERACT, content=b'{"message": "Hello", "user_id": "user123"}')
    assert_problem(response, 415)


@pytest.mark.parametrize("path", [INTERACT, DIRECT])
async def test_a_body_of_10_mb_is_refused(system: System, path: str) -> None:
    found = assert_problem(await post(system, b"[" + b" " * 10_000_000 + b"]", path), 413)
    assert "1 MiB" in found["detail"]


async def test_a_body_of_10_mb_in_chunks_is_refused(system: System) -> None:
    head = (
        f"POST {INTERACT} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    status, response = await send_raw(system, head.encode(), *[chunk] * 160, b"0\r\n\r\n")
    assert status == 413
    assert b"application/problem+json" in response


@pytest.mark.parametrize("path", [*READS, INTERACT, DIRECT, CANCEL])
async def test_an_unknown_query_parameter_is_refused(system: System, path: str) -> None:
    method = "GET" if path in READS else "POST"
    response = await system.client.request(method, path, params={"wiat": "1"})
    assert_problem(response, 422, path="wiat")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("/api/llm/interactions/x?wait=x", "wait"),
        ("/api/llm/interactions/x?wait=", "wait"),
        ("/api/llm/interactions/x?wait=-1", "wait"),
        ("/api/llm/interactions/x?wait=61", "wait"),
        ("/api/llm/interactions/x?wait=nan", "wait"),
        ("/api/llm/interactions/x?wait=inf", "wait"),
        ("/api/llm/interactions/x?wait=1&wait=2", "wait"),
        ("/api/llm/interactions/x/stream?starting_after=x", "starting_after"),
        ("/api/llm/interactions/x/stream?starting_after=", "starting_after"),
        ("/api/llm/interactions/x/stream?starting_after=-1", "starting_after"),
        ("/api/llm/interactions/x/stream?starting_after=1.5", "starting_after"),
        ("/api/llm/interactions/x/stream?starting_after=1.0", "starting_after"),
        ("/api/llm/interactions/x/stream?starting_after=%2B3", "starting_after"),
        ("/api/llm/interactions/x/stream?starting_after=1_0", "starting_after"),
        ("/api/llm/interactions/x/stream?starting_after=%203", "starting_after"),
        ("/api/llm/interactions/x/stream?starting_after=99999999999999999999999", "starting_after"),
        ("/api/sessions/x/messages?cursor=x", "cursor"),
        ("/api/sessions/x/messages?cursor=-1", "cursor"),
        ("/api/sessions/x/messages?cursor=99999999999999999999999", "cursor"),
        ("/api/sessions/x/messages?limit=0", "limit"),
        ("/api/sessions/x/messages?limit=201", "limit"),
        ("/api/sessions/x/messages?limit=ten", "limit"),
        ("/api/sessions/x/messages?user_id=", "user_id"),
        ("/api/sessions/x/messages?user_id=%00", "user_id"),
        ("/api/usage?group_by=colour", "group_by"),
        ("/api/usage?from=yesterday", "from"),
        ("/api/usage?from=20250101", "from"),
        ("/api/usage?from=2025-02-30", "from"),
        ("/api/usage?to=1735689600", "to"),
        ("/api/usage?to=2025-01-01T00:00:00", "to"),
        ("/api/usage?from=2025-01-02&to=2025-01-01", "to"),
        ("/api/usage?user_id=%00", "user_id"),
    ],
)
async def test_a_bad_query_parameter_is_named(system: System, query: str, field: str) -> None:
    assert_problem(await system.client.get(query), 422, path=field)


@pytest.mark.parametrize("number", ["x", "", "-1", "1.5", "99999999999999999999999", "0x1", "1, 2", "1.0", "+3", "1_0"])
async def test_a_bad_last_event_id_is_named(system: System, number: str) -> None:
    response = await system.client.get("/api/llm/interactions/x/stream", headers={"Last-Event-ID": number})
    assert_problem(response, 422, path="Last-Event-ID")


async def test_two_last_event_ids_are_refused(system: System) -> None:
    twice = [("Last-Event-ID", "1"), ("Last-Event-ID", "2")]
    response = await system.client.get("/api/llm/interactions/x/stream", headers=twice)
    assert_problem(response, 422, path="Last-Event-ID")


@pytest.mark.parametrize("action", ["GET {}/stream", "POST {}/cancel"])
async def test_what_does_not_exist_can_neither_be_watched_nor_cancelled(system: System, action: str) -> None:
    method, _, path = action.format("/api/llm/interactions/nobody").partition(" ")
    assert_problem(await system.client.request(method, path), 404, "not_found")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("temperature=3", "temperature"),
        ("temperature=nan", "temperature"),
        ("max_tokens=1.5", "max_tokens"),
        ("model=", "model"),
        ("model=%00", "model"),
        ("user_id=" + "x" * 129, "user_id"),
        ("fallback_models=a", "fallback_models"),
    ],
)
async def test_a_bad_query_parameter_beside_an_array_is_named(system: System, query: str, field: str) -> None:
    response = await post(system, [{"role": "user", "content": "Hello"}], f"{DIRECT}?{query}")
    assert_problem(response, 422, path=field)


@pytest.mark.parametrize("name", ["%00", "a%00b", "%F0%9F%8D%92", "%FF", "%ED%A0%80", "%20", "..%2F..", "x" * 10_000])
@pytest.mark.parametrize(
    "template",
    [
        "/api/llm/interactions/{}",
        "/api/llm/interactions/{}?wait=1",
        "/api/llm/interactions/{}/explain",
        "/api/llm/interactions/{}/stream",
        "/api/sessions/{}/messages",
        "/api/personas/{}",
    ],
)
async def test_an_odd_name_in_a_path_is_refused(system: System, template: str, name: str) -> None:
    status, response = await send_raw(
        system, f"GET {template.format(name)} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode()
    )
    assert status in (404, 422)
    assert b"application/problem+json" in response


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: x\r\n",
        "Content-Length: 2\r\nContent-Type: text/plain\r\nContent-Type: application/json\r\n",
        "Content-Length: 2\r\nContent-Type: application/json\r\nContent-Type: text/plain\r\n",
        "Content-Length: 2\r\nContent-Type: application/json\r\nHost: another\r\n",
        "Content-Length: 2\r\nContent-Type: application/json\r\nX-Odd: \xff\xfe\r\n",
        "Content-Length: 2\r\nContent-Type: \xff/json\r\n",
        "Content-Length: 2\r\nContent-Type: application/json; charset=nonsense\r\nContent-Encoding: gzip\r\n",
    ],
)
async def test_odd_headers_are_the_clients_mistake(system: System, headers: str) -> None:
    head = f"POST {INTERACT} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n".encode("latin-1")
    # In one piece: a server that refuses the head and leaves a body unread resets the connection, as TCP has it.
    status, _ = await send_raw(system, head + b"{}")
    assert 400 <= status < 500


@pytest.mark.parametrize("request_line", ["GET /healthz HTTP/1.1\r\n\r\n", "\x00\x01\r\n\r\n", "GET\r\n\r\n"])
async def test_what_is_not_http_is_the_clients_mistake(system: System, request_line: str) -> None:
    status, _ = await send_raw(system, request_line.encode())
    assert status == 400


async def test_a_client_that_leaves_in_the_middle_is_no_error_of_ours(own_system: System) -> None:
    api = await own_system.start_api()
    _, writer = await asyncio.open_connection("127.0.0.1", own_system.port)
    head = f"POST {INTERACT} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    writer.write(head.encode() + b"{")
    await writer.drain()
    await own_system.client.get("/healthz")  # by now the API waits for the rest
    writer.close()
    await writer.wait_closed()
    await own_system.client.get("/healthz")
    await api.stop()
    assert "failed" not in api.output
