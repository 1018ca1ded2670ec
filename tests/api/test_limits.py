"""What lies just inside the limits is accepted."""

import json
from typing import Any

import pytest

from tests.api.talk import DIRECT, INTERACT, post
from tests.harness import System


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"message": "x" * 100_000}, id="a message of 100,000 characters"),
        pytest.param({"user_id": "🍒" * 128, "message": "🍒" * 1000}, id="names and summaries of many bytes"),
        pytest.param({"session_id": "🍒" * 128}, id="a session of 128 characters"),
        pytest.param({"model": "🍒" * 200}, id="a model of 200 characters"),
        pytest.param({"fallback_models": [f"a/{number}" for number in range(8)]}, id="eight fallback models"),
        pytest.param({"fallback_models": []}, id="no fallback models"),
        pytest.param({"temperature": 0, "max_tokens": 1}, id="an integer as a temperature"),
        pytest.param({"temperature": 2.0}, id="the highest temperature"),
        pytest.param({"context": {"key": "x" * (16_384 - len('{"key":""}'))}}, id="16 KiB of context"),
        pytest.param({"context": {"text": r"the escape \u0000, spelt out"}}, id="an escape spelt out"),
        pytest.param({"context": {"a": 2**70, "b": None, "c": [1.5, True]}}, id="every kind of JSON"),
        pytest.param({"model": None, "session_id": None, "fallback_models": None, "agent": None}, id="null is absent"),
    ],
)
async def test_what_is_within_the_limits_is_answered(system: System, fields: dict[str, Any]) -> None:
    response = await system.interact(**fields)
    assert response.status_code == 200, response.text
    assert response.json()["status"] == "completed"


async def test_a_byte_order_mark_is_no_mistake(system: System) -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"message": "Hello", "user_id": "user123"}).encode()
    assert (await post(system, body)).status_code == 200


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/ld+json"])
async def test_kinds_of_json_are_accepted(system: System, kind: str) -> None:
    response = await post(system, {"message": "Hello", "user_id": "user123"}, **{"Content-Type": kind})
    assert response.status_code == 200


async def test_a_body_of_1_mib_is_answered(system: System) -> None:
    frame = b'[{"role": "user", "content": "%s"}]'
    body = frame % (b"x" * (1024 * 1024 - len(frame) + 2))
    assert len(body) == 1024 * 1024
    assert (await post(system, body, DIRECT)).status_code == 200
    assert (await post(system, body + b" ", DIRECT)).status_code == 413
    assert (await post(system, body + b" ", INTERACT)).status_code == 413
