"""Shorthands of these tests: bodies as bytes, requests as bytes, and what a problem must look like."""

import asyncio
import json
from typing import Any

import httpx

from tests.harness import System

INTERACT = "/api/llm/interact"
DIRECT = "/api/llm/direct"
JSON = {"Content-Type": "application/json"}
CHAT = [{"role": "user", "content": "Hello"}]


def assert_problem(
    response: httpx.Response, status: int, error_type: str = "invalid_request", path: str | None = None
) -> dict[str, Any]:
    """Check that a response is a whole problem, and that it names the field at `path`."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found.keys() - {"errors", "interaction_id"} == {
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "error_type",
    }
    assert (found["type"], found["status"], found["error_type"]) == ("about:blank", status, error_type)
    assert found["title"]
    assert found["detail"]
    assert found["instance"] == response.url.raw_path.decode().partition("?")[0]
    assert ("errors" in found) == (status == 422)
    if path is not None:
        assert path in [error["path"] for error in found["errors"]], found["errors"]
    return found


async def post(system: System, body: bytes | Any, path: str = INTERACT, **headers: str) -> httpx.Response:
    """POST bytes as they are, anything else as JSON in which every odd character is escaped."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await system.client.post(path, content=content, headers={**JSON, **headers})


async def send_raw(system: System, *parts: bytes) -> tuple[int, bytes]:
    """Send bytes that no HTTP client would, and return the status and the whole response."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", system.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            response = await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
    return int(response.split(b" ", 2)[1]), response
