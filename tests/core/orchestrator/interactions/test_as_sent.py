"""What clients of OpenAI's APIs send beyond a text: into the prompt, into memory, into the explanation, and away."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from core.orchestrator.agents.base import AgentContext
from core.orchestrator.calls.cancelling import Cancelling, mark_cancelling
from core.orchestrator.contracts import InteractionRequest, InteractionStatus, MemoryWindow, Message
from core.orchestrator.errors import TooManyOpenError
from core.orchestrator.interactions.limits import Allowance, Limits
from core.orchestrator.interactions.listing import InteractionLists
from core.orchestrator.interactions.opening import Opened, Opening
from core.orchestrator.interactions.said import Said
from core.orchestrator.interactions.store import Abandonment
from core.orchestrator.replies.log import read_events
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import inputs, messages, sessions
from tests.core.orchestrator.domain import ANY_BUDGET, LATER, opened, request
from tests.core.orchestrator.interactions.desk import Desk
from tests.core.orchestrator.interactions.talking import Talk, session_of, talk
from tests.core.orchestrator.plans import statements

CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "sunny"}
PICTURE = {
    "role": "user",
    "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:x"}}],
}
BRIEFLY = {"role": "system", "content": "Be brief."}


@pytest.fixture
def client(database: Database) -> Talk:
    return Talk(database)


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


async def prompt_of(desk: Desk, opened: Opened, **fields: Any) -> list[Message]:
    """Everything that is sent but the persona."""
    interaction_id = opened.request.interaction_id
    await desk.build(interaction_id, await desk.store.take_place(interaction_id, ANY_BUDGET), **fields)
    persona, *rest = (await desk.store.prompt(interaction_id)).messages
    assert "Cherry" in persona["content"]
    return rest


async def rows_of(database: Database) -> dict[str, int]:
    async with database.read() as connection:
        tables = (sessions, messages, inputs)
        return {table.name: await connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


# --- without a session ---


async def test_without_a_session_the_prompt_is_all_that_was_sent(client: Talk, desk: Desk) -> None:
    sent = [*talk("a: Welcome", "u: One"), CALLED, RESULT, *talk("a: 1"), PICTURE]
    asked = await client.say(*sent, session_id=None, instructions=[BRIEFLY])
    assert await prompt_of(desk, asked) == [BRIEFLY, *sent]


async def test_without_a_session_nothing_is_kept_but_the_interaction(client: Talk, database: Database) -> None:
    plain = await client.turn("u: One", reply="1", session_id=None)
    assert await rows_of(database) == {"sessions": 0, "messages": 0, "inputs": 0}
    more = await client.turn("u: One", "a: 1", "u: Two", reply="2", session_id=None)
    assert await rows_of(database) == {"sessions": 0, "messages": 0, "inputs": 1}
    for one, reply in ((plain, "1"), (more, "2")):
        view = await client.store.view(one.request.interaction_id)
        assert (view.session_id, view.message, view.persona_id) == (None, reply, "cherry")


async def test_without_a_session_nobody_waits(client: Talk) -> None:
    asked = [await client.say("u: One", session_id=None, opening={"watched": True}) for _ in range(2)]
    for one in asked:
        assert await client.store.take_place(one.request.interaction_id, ANY_BUDGET) == MemoryWindow()
    async with client.database.read() as connection:
        [created] = await read_events(connection, asked[1].request.interaction_id, 0, 10)
    assert (created.type, created.data["session_id"]) == ("interaction.created", None)


async def test_a_plain_request_without_a_session_is_answered_too(desk: Desk) -> None:
    asked = await desk.store.open_turn(request("Hello", session_id=None))
    assert await prompt_of(desk, asked) == talk("u: Hello")


async def test_what_has_no_session_is_listed_cancelled_and_abandoned_like_any_other(client: Talk) -> None:
    lists = InteractionLists(client.database)
    queued, running, lost = [await client.say("u: One", session_id=None) for _ in range(3)]
    ended = await client.store.cancel(queued.request.interaction_id)
    assert ended is not None
    assert (ended.view.status, ended.following) == (InteractionStatus.CANCELLED, None)
    await client.store.take_place(running.request.interaction_id, 0)
    async with client.database.write() as connection:
        await mark_cancelling(connection, running.request.interaction_id, Cancelling.ROLLBACK)
    await client.answer(running, "too late")
    assert (await client.store.view(running.request.interaction_id)).message is None
    assert await client.store.abandon(lost.request.interaction_id, LATER) is Abandonment.ENDED
    found = await lists.newest(user_id="ada", session_id=None, status=None, before=None, limit=10)
    assert [one.interaction_id for one in found] == [one.request.interaction_id for one in (lost, running, queued)]


async def test_what_has_no_session_counts_for_the_limits(client: Talk) -> None:
    limits = Limits(Allowance(open_per_user=1))
    await client.say("u: One", session_id=None)
    with pytest.raises(TooManyOpenError):
        await client.store.open_turn(request(session_id=None), Opening(said=Said(talk("u: Two"))), limits)


# --- in a session ---


async def test_what_is_new_goes_into_the_prompt_as_it_was_sent_and_is_remembered_so(client: Talk, desk: Desk) -> None:
    first = await client.say(*talk("u: Look!"), PICTURE, instructions=[BRIEFLY])
    assert await prompt_of(desk, first) == [BRIEFLY, *talk("u: Look!"), PICTURE]
    await client.answer(first, "", tool_calls=[CALL])
    second = await client.say(RESULT)
    assert await prompt_of(desk, second) == [*talk("u: Look!"), PICTURE, CALLED, RESULT]
    assert await client.transcript() == ["u: Look!\n\nWhat is this?", "a: ", "t: sunny"]


async def test_instructions_count_for_one_turn_and_only_if_they_say_something(client: Talk, desk: Desk) -> None:
    await client.turn("u: One", reply="1", instructions=[BRIEFLY])
    second = await client.say("u: Two", instructions=[{"role": "system", "content": ""}])
    assert await prompt_of(desk, second) == talk("u: One", "a: 1", "u: Two")


async def test_a_long_message_goes_into_the_prompt_whole(client: Talk, desk: Desk) -> None:
    long = "word " * 30_000
    said = Said(talk(f"u: {long}"))
    asked = request(long[:100_000], session_id="c", has_input=True)
    assert await prompt_of(desk, await client.store.open_turn(asked, Opening(said=said))) == talk(f"u: {long}")


async def test_a_call_of_a_tool_without_a_result_is_not_told_to_the_next_model(client: Talk, desk: Desk) -> None:
    first = await client.say("u: Rome?")
    await client.answer(first, "Let me see", tool_calls=[CALL])
    assert await prompt_of(desk, await client.say("u: Never mind")) == talk(
        "u: Rome?", "a: Let me see", "u: Never mind"
    )


async def test_of_the_results_of_several_tools_a_part_is_told_with_its_call(client: Talk, desk: Desk) -> None:
    first = await client.say("u: Rome?")
    await client.answer(first, "", tool_calls=[CALL, {**CALL, "id": "2"}])
    unknown = {**RESULT, "tool_call_id": "3"}
    assert await prompt_of(desk, await client.say(RESULT, unknown)) == [*talk("u: Rome?"), CALLED, RESULT]


async def test_calls_that_are_none_do_not_spoil_a_conversation(client: Talk, desk: Desk) -> None:
    deep = {"name": "f", "arguments": "[" * 100_000}
    garbage = [{"id": ["1"], "function": "weather"}, {"id": {"a": 1}, "function": deep}]
    sent = [*talk("u: One"), {"role": "assistant", "content": "Hm", "tool_calls": garbage}]
    await client.turn(*sent, "u: Two", reply="2")
    for _ in range(2):
        on = await client.say(*sent, *talk("u: Two", "a: 2", "u: Three"))
        assert session_of(on) == "c"
        assert await prompt_of(desk, on) == talk("u: One", "a: Hm", "u: Two", "a: 2", "u: Three")


async def test_memory_begins_with_neither_a_reply_nor_a_result(client: Talk) -> None:
    first = await client.say("u: " + "far too long " * 100)
    await client.answer(first, "", tool_calls=[CALL])
    await client.turn(RESULT, reply="Sunny")
    await client.turn("u: Short", reply="s")
    last = await client.say("u: Now")
    window = await client.store.take_place(last.request.interaction_id, 60)
    assert await client.conversations.history(session_of(last), window) == talk("u: Short", "a: s")


@pytest.mark.parametrize("session_id", ["c", None])
async def test_an_agent_that_knows_only_texts_still_works(client: Talk, desk: Desk, session_id: str | None) -> None:
    seen: list[AgentContext] = []

    def build(context: AgentContext) -> list[Message]:
        seen.append(context)
        return [{"role": "system", "content": "I am Cherry"}, {"role": "user", "content": context.message}]

    picture = {**PICTURE, "content": [{"type": "text", "text": "a riddle"}, *PICTURE["content"]]}
    asked = await client.say("u: One", "a: 1", picture, session_id=session_id)
    assert await prompt_of(desk, asked, specialist=build) == talk("u: a riddle\nWhat is this?")
    [context] = seen
    assert context.session_id == session_id
    assert list(context.history) == talk("u: One", "a: 1")
    assert context.new_messages == [picture]


async def test_a_request_whose_input_is_lost_is_answered_by_its_text(desk: Desk) -> None:
    asked = await desk.store.open_turn(request("What is this?", has_input=True))  # as after restoring an older copy
    assert await prompt_of(desk, asked) == talk("u: What is this?")


# --- explained ---


@pytest.mark.parametrize("session_id", ["c", None])
async def test_an_explanation_tells_instructions_and_parameters(
    client: Talk, desk: Desk, session_id: str | None
) -> None:
    parameters = {"top_p": 0.5, "stop": ["END"]}
    asked = await client.say(
        "u: One", "a: 1", "u: Two", session_id=session_id, instructions=[BRIEFLY], parameters=parameters, echo={"a": 1}
    )
    await prompt_of(desk, asked)
    explanation = await desk.store.explanation(asked.request.interaction_id)
    assert explanation["instructions"] == [BRIEFLY]
    assert explanation["parameters"] == parameters
    assert explanation["memory"]["used"]["messages"] == 2
    assert explanation["budget"]["total"] == sum(
        explanation["budget"][section] for section in ("system", "memory", "message")
    )
    assert (await desk.store.prompt(asked.request.interaction_id)).parameters == parameters
    said = await client.store.said(asked.request.interaction_id)
    assert said is not None
    assert said.echo == {"a": 1}


async def test_a_plain_turn_has_neither(desk: Desk) -> None:
    interaction_id = await opened(desk.store)
    await desk.build(interaction_id)
    explanation = await desk.store.explanation(interaction_id)
    assert (explanation["instructions"], explanation["parameters"]) == ([], {})


# --- what it costs ---


async def test_a_plain_turn_is_opened_with_as_few_statements_as_ever(client: Talk) -> None:
    def begin(said: Said | None) -> Callable[[], Any]:
        return lambda: client.store.open_turn(request(session_id="c"), Opening(said=said))

    await begin(None)()
    counts = []
    for opening in (begin(None), begin(Said(talk("u: Hello")))):
        with statements(client.database, "SELECT", "UPDATE", "INSERT", "DELETE") as seen:
            result = await opening()
        assert isinstance(result.request, InteractionRequest)
        counts.append(len([one for one in seen if "pg_advisory" not in one[0]]))
    plain, by_way_of_openai = counts
    assert plain == 6  # is it known, was it erased; the session, its next number; the interaction, the message
    assert by_way_of_openai <= plain + 2
