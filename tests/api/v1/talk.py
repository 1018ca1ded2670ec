"""Shorthands of these tests: a chat, what an error must look like, and the chunks of a stream."""

import json
from typing import Any

import httpx

from tests.harness import System

CHAT = "/v1/chat/completions"


def body(message: str = "Hello", **fields: Any) -> dict[str, Any]:
    return {"model": "cherry", "messages": [{"role": "user", "content": message}], **fields}


async def chat(
    system: System, message: str = "Hello", headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    return await system.client.post(CHAT, json=body(message, **fields), headers=headers)


def text_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    found: str = response.json()["choices"][0]["message"]["content"]
    return found


def assert_error(response: httpx.Response, status: int, code: str | None, param: str | None = None) -> dict[str, Any]:
    """Check that a response is an error as OpenAI's clients read it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"error"}
    error: dict[str, Any] = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param), error
    assert error["message"]
    return error


def events_of(sent: bytes | str) -> list[Any]:
    """Return what a stream said, comments left out; its end as it stands there."""
    lines = (sent.decode() if isinstance(sent, bytes) else sent).split("\n\n")
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in data]


def said_in(events: list[Any]) -> str:
    """Return the text of a stream."""
    chunks = [event for event in events if event != "[DONE]" and event.get("choices")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
