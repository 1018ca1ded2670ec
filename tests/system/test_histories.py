"""What an interaction costs Temporal, and what it never tells it."""

import pytest
from temporalio.client import Client

from tests.harness import System, closed_run
from tests.system.stories import Json, explain, read

PLAIN_EVENTS, PLAIN_BYTES = 15, 8 * 1024
WITH_ONE_FALLBACK_EVENTS, WITH_ONE_FALLBACK_BYTES = 21, 10 * 1024


async def size_of(temporal: Client, view: Json) -> tuple[int, int]:
    """Return how many events and bytes the history has, as the server counts them."""
    described = await (await closed_run(temporal, f"interaction-{view['interaction_id']}")).describe()
    info = described.raw_description.workflow_execution_info
    return info.history_length, info.history_size_bytes


async def raw_history(temporal: Client, interaction_id: str) -> bytes:
    """Return every event with its payloads as they were sent: not encrypted, not even encoded."""
    history = await (await closed_run(temporal, f"interaction-{interaction_id}")).fetch_history()
    return b"".join(event.SerializeToString() for event in history.events)


async def test_an_interaction_costs_the_same_however_long_the_conversation_is(system: System, temporal: Client) -> None:
    sizes = []
    for turn in range(30):
        reply = (await system.interact(f"This is turn number {turn:02}", session_id="long")).json()
        assert reply["status"] == "completed"
        sizes.append(await size_of(temporal, reply))
    assert {events for events, _ in sizes} == {sizes[0][0]}
    assert sizes[0][0] <= PLAIN_EVENTS
    assert max(size for _, size in sizes) <= PLAIN_BYTES
    # The reply of the stand-in quotes the message before, from the second turn on.
    assert max(size for _, size in sizes[1:]) - min(size for _, size in sizes[1:]) < 100


@pytest.mark.parametrize(
    "asked",
    [
        {"stream": True},
        {"background": True},
        {"headers": {"Idempotency-Key": "no event"}},
        *({"multitask_strategy": strategy} for strategy in ("reject", "interrupt", "rollback")),
    ],
    ids=lambda asked: "-".join(map(str, asked.values())),
)
async def test_where_nobody_is_in_line_no_wish_costs_an_event(system: System, temporal: Client, asked: Json) -> None:
    body = {"message": "Hello", "user_id": "user123", "session_id": f"alone with {asked}", **asked}
    headers = body.pop("headers", None)
    response = await system.client.post("/api/llm/interact", json=body, headers=headers)
    assert response.is_success, response.text
    view = await read(system, response.headers["x-interaction-id"], wait=10)
    assert view["status"] == "completed"
    await temporal.get_workflow_handle(view["workflow_id"]).result()
    events, _ = await size_of(temporal, view)
    assert events <= PLAIN_EVENTS


async def test_a_fallback_costs_one_activity_more(system: System, temporal: Client) -> None:
    reply = (await system.interact(model="standin/no-endpoints", fallback_models=["openai/gpt-4"])).json()
    assert reply["status"] == "completed"
    events, size = await size_of(temporal, reply)
    assert events <= WITH_ONE_FALLBACK_EVENTS
    assert size <= WITH_ONE_FALLBACK_BYTES


async def test_no_history_holds_prompt_memory_or_key(system: System, temporal: Client) -> None:
    secret = system.environment["OPENROUTER_API_KEY"].encode()
    first = (await system.interact("The first thing", session_id="discreet")).json()
    await system.interact("The second thing", session_id="discreet")
    third = (
        await system.interact(
            "The third thing",
            session_id="discreet",
            model="standin/echo-key",
            fallback_models=["openai/gpt-4"],
        )
    ).json()
    await system.interact("The third thing", session_id="discreet", model="openai/gpt-4")
    last = (await system.interact("The last thing", session_id="discreet")).json()
    assert last["status"] == "completed"

    prompt = (await explain(system, last["interaction_id"]))["messages"]
    assert "The first thing" in str(prompt)
    history = await raw_history(temporal, last["interaction_id"])
    assert b"The last thing" in history, "what the history shows was not read as it is"
    assert b"The first thing" not in history
    assert prompt[0]["content"][:40].encode() not in history
    assert prompt[0]["content"][-40:].encode() not in history
    for interaction_id in (first["interaction_id"], third["interaction_id"], last["interaction_id"]):
        assert secret not in await raw_history(temporal, interaction_id)


async def test_no_history_holds_the_messages_of_a_bare_completion(system: System, temporal: Client) -> None:
    response = await system.client.post(
        "/api/llm/direct",
        json=[
            {"role": "system", "content": "Keep to the secret instruction."},
            {"role": "user", "content": "An earlier question"},
            {"role": "assistant", "content": "An earlier answer"},
            {"role": "user", "content": "x" * 300 + " the end of a long question"},
        ],
    )
    assert response.status_code == 200, response.text
    history = await raw_history(temporal, response.json()["interaction_id"])
    # The stand-in quotes the beginning of the last two questions in its reply, and a reply may be shown.
    for text in (b"secret instruction", b"An earlier answer", b"the end of a long question"):
        assert text not in history
    assert system.environment["OPENROUTER_API_KEY"].encode() not in history
