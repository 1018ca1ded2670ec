"""A chat of Open WebUI, replayed over sockets: see `open_webui.json` for what was written down, and from where."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.clients.conftest import MODEL, Front
from tests.clients.words import says

RECORDING = json.loads(Path(__file__).with_name("open_webui.json").read_text())
USER = RECORDING["headers"]["X-OpenWebUI-User-Id"]
CHAT = RECORDING["requests"][1]["headers"]["X-OpenWebUI-Chat-Id"]
OTHER_WORDS = "Because ships would not see the coast otherwise."


class Replay:
    """Sends what was written down, and keeps what is answered."""

    def __init__(self, front: Front, session: aiohttp.ClientSession) -> None:
        self._front = front
        self._session = session
        self.answers: dict[str, str] = {}
        """By step: the text."""
        self.tasks: list[str] = []
        """Steps that are background tasks."""

    async def send(self, step: dict[str, Any]) -> None:
        """Send one request, as Open WebUI's own HTTP client does, and read the answer."""
        prepare = getattr(self, f"_before_{step['step'].split()[0]}", None)
        if prepare:
            prepare()
        if step["headers"]["X-OpenWebUI-Task"]:
            self.tasks.append(step["step"])
        headers = self._filled({**RECORDING["headers"], **step["headers"]})
        url = f"{self._front.base_url}{step.get('path', '/chat/completions')}"
        body = json.dumps(self._filled(step["body"])) if "body" in step else None
        async with self._session.request(step.get("method", "POST"), url, headers=headers, data=body) as response:
            assert response.status == 200, (step["step"], await response.text())
            if step.get("body", {}).get("stream"):
                self.answers[step["step"]] = await _read(response, stops=step.get("stops", False))
            else:
                self.answers[step["step"]] = await response.text()

    def _before_regenerated(self) -> None:
        self._front.standin.script(MODEL, says(OTHER_WORDS))

    def _before_stopped(self) -> None:
        self._front.standin.script(MODEL, {"hold": True, "after": 5})

    def _filled(self, value: Any) -> Any:
        """Put what is known in the places that are kept for it."""
        if isinstance(value, dict):
            return {name: self._filled(part) for name, part in value.items()}
        if isinstance(value, list):
            return [self._filled(part) for part in value]
        if isinstance(value, str):
            for name, text in {"KEY": self._front.key, **self.answers}.items():
                value = value.replace(f"{{{{{name}}}}}", text)
        return value


async def _read(response: aiohttp.ClientResponse, *, stops: bool) -> str:
    """Read a stream as far as the user lets it: to its end, or to the first words."""
    assert response.content_type == "text/event-stream"
    text = ""
    async for line in response.content:
        data = line.decode().removeprefix("data:").strip()
        if not line.startswith(b"data:") or data == "[DONE]":
            continue
        chunk = json.loads(data)
        assert "error" not in chunk
        text += "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
        if stops and text:
            break
    return text


@pytest.fixture(scope="module")
async def replay(running_front: Front) -> Replay:
    """The whole chat, sent."""
    running_front.reset()
    async with aiohttp.ClientSession() as session:
        replay = Replay(running_front, session)
        for step in RECORDING["requests"]:
            await replay.send(step)
    return replay


def test_the_personas_are_listed(replay: Replay) -> None:
    assert "cherry" in [model["id"] for model in json.loads(replay.answers["models"])["data"]]


async def test_each_branch_of_the_chat_is_one_conversation(replay: Replay, running_front: Front) -> None:
    chat, regenerated, edited = await running_front.sessions(USER)
    assert chat["session_id"] == CHAT
    assert (chat["forked_from"], regenerated["forked_from"], edited["forked_from"]) == (None, CHAT, CHAT)
    assert {branch["conversation_id"] for branch in (regenerated, edited)} == {CHAT}
    said = replay.answers
    beginning = [("user", "Where do lighthouses stand?"), ("assistant", said["first"]), ("user", "Why there?")]
    assert await running_front.transcript(CHAT, USER) == [*beginning, ("assistant", said["second"])]
    assert await running_front.transcript(regenerated["session_id"], USER) == [
        *beginning,
        ("assistant", OTHER_WORDS),
        ("user", "And who keeps them?"),
        ("assistant", said["third"]),
    ]
    transcript = await running_front.transcript(edited["session_id"], USER)
    assert [words for role, words in transcript if role == "user"] == [
        "Where do windmills stand?",
        "Tell me everything about them.",
        "In one sentence, please.",
    ]
    assert [role for role, _ in transcript] == ["user", "assistant"] * 3


def test_every_reply_knows_its_own_branch(replay: Replay) -> None:
    said = replay.answers
    assert "I remember 0 earlier messages" in said["first"]
    assert 'I remember 2 earlier messages. Before that you said: "Where do lighthouses stand?"' in said["second"]
    assert 'I remember 4 earlier messages. Before that you said: "Why there?"' in said["third"]
    assert "I remember 0 earlier messages" in said["edited"]
    assert 'I remember 4 earlier messages. Before that you said: "Tell me everything' in said["after the stop"]


def test_a_reply_that_was_stopped_is_remembered_as_far_as_it_was_read(replay: Replay, running_front: Front) -> None:
    remembered = running_front.standin.ledger.calls[-1].messages[-2]
    assert remembered["role"] == "assistant"
    assert remembered["content"].startswith(replay.answers["stopped"])


async def test_background_tasks_are_no_turns_and_nobody_speaks_as_the_persona(
    replay: Replay, running_front: Front
) -> None:
    assert len(replay.tasks) == 4
    for step in replay.tasks:
        answer = json.loads(replay.answers[step])["choices"][0]["message"]["content"]
        assert answer.startswith("Nobody (no system message) here")
    chat, *_ = await running_front.sessions(USER)
    assert chat["turns"] == 2
