"""Thirty messages at the same moment, over two workers: in one session, and in thirty."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from standin import StandIn
from standin.reply import text_of
from tests.harness import System
from tests.system.stories import SHORT_HEARTBEAT, Json, answered, explain, sending, transcript

MANY = 30


@pytest.fixture(scope="module")
async def two_workers(temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with StandIn() as standin:
        system = System(temporal_address, standin, tmp_path_factory.mktemp("many"), **SHORT_HEARTBEAT)
        try:
            await system.start_worker()
            await system.start_worker()
            await system.start_api()
            yield system
        finally:
            await system.stop()


def assert_in_turn(stored: list[Json], sent: list[str]) -> None:
    """Every message is there once, without a gap, and its own reply follows it."""
    assert [message["sequence"] for message in stored] == list(range(1, 2 * len(sent) + 1))
    questions, answers = stored[::2], stored[1::2]
    assert sorted(message["content"] for message in questions) == sorted(sent)
    for question, answer in zip(questions, answers, strict=True):
        assert (question["role"], answer["role"]) == ("user", "assistant")
        assert question["interaction_id"] == answer["interaction_id"]
        assert f'You said: "{question["content"]}"' in answer["content"]


async def test_messages_sent_at_once_to_one_session_are_answered_in_turn(two_workers: System) -> None:
    two_workers.standin.reset()
    sent = [f"message {number}" for number in range(MANY)]
    responses = await asyncio.gather(*(two_workers.interact(message, session_id="one") for message in sent))

    replies = {response.json()["interaction_id"]: response.json() for response in responses}
    assert [response.status_code for response in responses] == [200] * MANY
    assert {reply["status"] for reply in replies.values()} == {"completed"}

    stored = await transcript(two_workers, "one")
    assert_in_turn(stored, sent)
    for answer in stored[1::2]:
        assert answer["content"] == replies[answer["interaction_id"]]["message"]

    prompts = [call.messages for call in two_workers.standin.ledger.calls]
    assert len(prompts) == MANY
    for earlier, prompt in enumerate(prompts):
        assert [text_of(message) for message in prompt[1:]] == [
            message["content"] for message in stored[: 2 * earlier + 1]
        ]
    newest = await explain(two_workers, stored[-1]["interaction_id"])
    assert newest["memory"]["dropped"]["messages"] == 0


async def test_messages_sent_at_once_by_many_users_stay_apart(two_workers: System) -> None:
    two_workers.standin.reset()

    async def converse(name: str) -> list[str]:
        texts = []
        for message in (f"I am {name}", "Who am I?"):
            async with sending(two_workers, message, user_id=f"user {name}", session_id=f"session {name}") as request:
                texts.append((await answered(request))["message"])
        return texts

    names = [f"number-{number:02}" for number in range(MANY)]
    conversations = await asyncio.gather(*(converse(name) for name in names))
    for name, (_, second) in zip(names, conversations, strict=True):
        assert "I remember 2 earlier messages" in second
        assert f"I am {name}" in second

    calls = two_workers.standin.ledger.calls
    assert len(calls) == 2 * MANY
    for call in calls:
        seen = {name for name in names if name in str(call.messages)}
        assert len(seen) == 1, f"one prompt holds messages of {seen}"
    foreign = await two_workers.client.get(
        f"/api/sessions/session {names[0]}/messages", params={"user_id": f"user {names[1]}"}
    )
    assert foreign.status_code == 403
