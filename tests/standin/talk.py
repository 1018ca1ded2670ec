"""How the tests talk to the stand-in: with plain httpx, and with a reader of events that hides nothing."""

import json
from typing import Any

import httpx

HELLO = [{"role": "system", "content": "You are Cherry, a poet."}, {"role": "user", "content": "Hello"}]


def connect(url: str, key: str | None = "sk-secret") -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # Loading the certificates of the world, for plain HTTP, would take most of the time of these tests.
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=5, trust_env=False, verify=False)


def request(model: str = "openai/gpt-4", messages: Any = None, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": HELLO if messages is None else messages, **more}


async def ask(client: httpx.AsyncClient, model: str = "openai/gpt-4", **more: Any) -> httpx.Response:
    return await client.post("/chat/completions", json=request(model, **more))


async def ask_streaming(client: httpx.AsyncClient, model: str = "openai/gpt-4", **more: Any) -> httpx.Response:
    return await ask(client, model, stream=True, **more)


def events(response: httpx.Response) -> list[str]:
    """The data of each event, framed as the specification says."""
    blocks = response.text.replace("\r\n", "\n").split("\n\n")
    gathered = [
        "\n".join(line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:"))
        for block in blocks
    ]
    return [data for data in gathered if data]


def chunks(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(data) for data in events(response) if data != "[DONE]"]


def text(response: httpx.Response, field: str = "content") -> str:
    choices = [choice for chunk in chunks(response) for choice in chunk["choices"] or []]
    return "".join(choice["delta"].get(field, "") for choice in choices)


def finish_reasons(response: httpx.Response) -> list[str]:
    choices = [choice for chunk in chunks(response) for choice in chunk["choices"] or []]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
