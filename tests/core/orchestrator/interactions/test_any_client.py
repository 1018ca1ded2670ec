"""Whatever a client does with its conversation: each prompt tells the model just what the client has, and no reply that
is stored ever changes."""

from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from core.orchestrator.contracts import Message
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import messages
from tests.core.orchestrator.domain import new_id
from tests.core.orchestrator.interactions.talking import Talk, talk

BEHAVIOURS = ["append", "stop early", "edit", "regenerate", "drop the tail", "rewrite a reply", "say more", "fail"]
Step = tuple[str, int, int]
"""What the client does, in which of the states that it has been in, and where in there."""

steps = st.lists(st.tuples(st.sampled_from(BEHAVIOURS), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=8)


async def replies(database: Database) -> dict[tuple[str, int], tuple[str, str]]:
    columns = messages.c.session_id, messages.c.sequence, messages.c.interaction_id, messages.c.content
    async with database.read() as connection:
        rows = await connection.execute(select(*columns).where(messages.c.role == "assistant"))
        return {(row.session_id, row.sequence): (row.interaction_id, row.content) for row in rows}


def changed(behaviour: str, state: list[Message], where: int, word: str) -> list[Message]:
    """What the client sends, all of it: its last message is the user's."""
    own = [place for place, message in enumerate(state) if message["role"] == "user"]
    heard = [place for place, message in enumerate(state) if message["role"] == "assistant"]
    new = talk(f"u: {word}")
    match behaviour:
        case "edit" if own:
            return [*state[: own[where % len(own)]], *new]
        case "regenerate" if own:
            return state[: own[where % len(own)] + 1]
        case "drop the tail" if heard:
            return [*state[: heard[where % len(heard)] + 1], *new]
        case "rewrite a reply" if heard:
            place = heard[where % len(heard)]
            return [*state[:place], *talk(f"a: by hand {word}"), *state[place + 1 :], *new]
        case "say more":
            return [*state, *talk(f"u: elsewhere {word}", f"a: said {word}"), *new]
        case _:
            return [*state, *new]


@given(steps=steps)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_each_prompt_is_what_its_client_has_and_no_reply_changes(database: Database, steps: list[Step]) -> None:
    client, session_id, words = Talk(database), new_id(), count()
    states: list[list[Message]] = [[]]
    before: dict[Any, Any] = {}
    for behaviour, which, where in steps:
        state = states[-1 - which % len(states)]
        sent = changed(behaviour, state, where, f"word{next(words)}")
        opened = await client.say(*sent, session_id=session_id, resends=True)
        begins = max((place for place, message in enumerate(sent) if message["role"] == "assistant"), default=-1) + 1
        assert await client.memory(opened) == sent[:begins]
        if behaviour == "fail":
            await client.fail(opened)
            states.append(sent)
        else:
            reply = f"reply {next(words)} in full"
            await client.answer(opened, reply)
            heard = reply[: 1 + where % len(reply)] if behaviour == "stop early" else reply
            states.append([*sent, *talk(f"a: {heard.strip()}")])
        after = await replies(database)
        assert before.items() <= after.items()
        before = after
