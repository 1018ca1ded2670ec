"""npm's `ai`, with the provider for compatible servers and with OpenAI's own, which speaks the responses API.

All scenarios run in one node process (`node/session.mjs`); each test looks at one part of what that saw.
"""

import asyncio
import json
from typing import Any

import pytest

from tests.clients.conftest import Front
from tests.clients.javascript import NODE, PACKAGES, needs_javascript
from tests.clients.words import calls
from tests.harness import clean_environment

SECONDS = 60

pytestmark = [
    needs_javascript,
    pytest.mark.parametrize("provider", ["compatible", "responses"]),
]

Json = dict[str, Any]


@pytest.fixture(scope="module")
async def seen(running_front: Front) -> Json:
    """What the node process reports."""
    running_front.reset()
    running_front.standin.script("standin/silent-for-a-while", *[{"hold": True, "after": 3}] * 2)
    running_front.standin.script("standin/tools", *[calls("weather", {"place": "Rome"}), "ok"] * 2)
    release = f"{running_front.standin.control_url}/release"
    process = await asyncio.create_subprocess_exec(
        NODE,
        "session.mjs",
        cwd=PACKAGES,
        env={
            **clean_environment(),
            "BASE_URL": running_front.base_url,
            "API_KEY": running_front.key,
            "RELEASE_URL": release,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0, errors.decode()
    report: Json = json.loads(output)
    return report


def test_a_persona_answers(seen: Json, provider: str) -> None:
    answer = seen[provider]["text"]
    assert answer["text"].startswith("Sophia here (a stand-in for openai/gpt-3.5-turbo speaking)")
    assert answer["finishReason"] == "stop"
    assert answer["usage"]["totalTokens"] == answer["usage"]["inputTokens"] + answer["usage"]["outputTokens"] > 0


def test_a_reply_comes_in_pieces(seen: Json, provider: str) -> None:
    stream = seen[provider]["stream"]
    assert len(stream["pieces"]) > 1, "it was all there before any of it was seen"
    assert "".join(stream["pieces"]).endswith("I remember 0 earlier messages.")
    assert (stream["errors"], stream["finishReason"]) == ([], "stop")
    assert stream["usage"]["totalTokens"] > 0


@pytest.mark.parametrize("way", ["turns", "remembered", "unstored"])
def test_the_second_turn_knows_the_first(seen: Json, provider: str, way: str) -> None:
    _, second = seen[provider][way]
    assert 'I remember 2 earlier messages. Before that you said: "Hello"' in second


async def test_a_conversation_is_stored_once(seen: Json, provider: str, running_front: Front) -> None:
    first, second = seen[provider]["remembered"]
    name = f"ai-sdk-{provider}"
    (session,) = await running_front.sessions(name)
    assert session["session_id"] == name
    said = await running_front.transcript(name, name)
    assert said == [("user", "Hello"), ("assistant", first), ("user", "And now?"), ("assistant", second)]


def test_a_fallback_before_the_first_word_is_not_seen(seen: Json, provider: str) -> None:
    stream = seen[provider]["fallback"]
    assert stream["errors"] == []
    assert "".join(stream["pieces"]).startswith("Stumbling here (a stand-in for openai/gpt-4o speaking)")


def test_a_stream_that_breaks_is_an_error(seen: Json, provider: str) -> None:
    stream = seen[provider]["broken"]
    assert "".join(stream["pieces"]) == "Breaking"
    assert len(stream["errors"]) == 1


def test_an_unknown_persona_is_an_error_that_is_not_tried_again(seen: Json, provider: str) -> None:
    error = seen[provider]["unknown"]
    assert (error["name"], error["status"], error["retryable"]) == ("AI_APICallError", 404, False)
    assert "nobody" in error["message"]


def test_a_tool_is_called_and_its_result_answered(seen: Json, provider: str) -> None:
    done = seen[provider]["tool"]
    assert done["calls"] == [["weather", {"place": "Rome"}]]
    assert done["text"].startswith("Cherry here (a stand-in for standin/tools speaking)")
