from collections.abc import Callable
from typing import Any

import pytest

from core.orchestrator.agents.base import AgentContext
from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.contracts import (
    AfterOutput,
    CompletionRequest,
    InteractionStatus,
)
from core.orchestrator.errors import ErrorType, LLMProviderServiceError, PromptError, UnknownResourceError
from core.orchestrator.interactions.store import Ending
from core.orchestrator.storage.database import Database
from core.orchestrator.tokens import estimate_tokens
from tests.core.orchestrator.agents.personas import persona
from tests.core.orchestrator.domain import ANY_BUDGET, PROMPT, new_id, opened, request, talked
from tests.core.orchestrator.interactions.desk import LIMITS, Desk

BUDGET = 100


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


async def test_a_prompt_is_the_persona_then_memory_then_the_message(desk: Desk, ledger: AttemptLedger) -> None:
    await talked(desk.store, ledger, "One", "Two")
    interaction_id = await opened(desk.store, "Three")
    await desk.build(interaction_id, await desk.store.take_place(interaction_id, BUDGET))
    prompt = await desk.store.prompt(interaction_id)
    system, *rest = prompt.messages
    assert system["role"] == "system"
    assert "Cherry" in system["content"]
    assert [(message["role"], message["content"]) for message in rest] == [
        ("user", "One"),
        ("assistant", "Two"),
        ("user", "Three"),
    ]


async def test_the_plan_carries_names_and_numbers_but_no_text(desk: Desk) -> None:
    interaction_id = await opened(desk.store, "a very secret message")
    plan = await desk.build(interaction_id)
    assert [call.model for call in plan.calls] == ["a/model", "b/model"]
    assert (plan.limits, plan.agent, plan.persona_version) == (LIMITS, "conversation", persona().version)
    assert plan.prompt_tokens > estimate_tokens("a very secret message")
    assert "secret" not in plan.model_dump_json()


async def test_building_again_gives_the_same(desk: Desk) -> None:
    interaction_id = await opened(desk.store)
    plans = [await desk.build(interaction_id) for _ in range(2)]
    assert plans[0] == plans[1]


async def test_the_temperature_is_the_requests_then_the_agents_then_the_personas(desk: Desk) -> None:
    warm = persona(temperature=1.5, max_tokens=50)
    seen = []
    for cherry, asked in [
        (warm, request("a riddle", temperature=0)),
        (warm, request("a riddle")),
        (warm, request("Hello", max_tokens=9)),
        (persona(), request("Hello")),
    ]:
        await desk.store.open_turn(asked)
        await desk.build(asked.interaction_id, cherry=cherry)
        prompt = await desk.store.prompt(asked.interaction_id)
        seen.append((prompt.temperature, prompt.max_tokens))
    assert seen == [(0, 50), (0.1, 50), (1.5, 9), (0.7, None)]


async def test_the_agent_that_suits_the_message_answers_unless_another_is_forced(desk: Desk) -> None:
    chosen = []
    for asked in (request("a riddle"), request("Hello"), request("a riddle", agent="conversation")):
        await desk.store.open_turn(asked)
        chosen.append((await desk.build(asked.interaction_id)).agent)
    assert chosen == ["riddles", "conversation", "conversation"]


async def test_an_explanation_says_who_what_and_why(desk: Desk, ledger: AttemptLedger) -> None:
    await talked(desk.store, ledger, "long " * 100, "forgotten")
    await talked(desk.store, ledger, "One", "Two")
    asked = request("a riddle", model="my/model")
    await desk.store.open_turn(asked)
    window = await desk.store.take_place(asked.interaction_id, BUDGET)
    window = window.model_copy(update={"budget": BUDGET, "budget_reason": "so much fits"})
    plan = await desk.build(asked.interaction_id, window)
    why = await desk.store.explanation(asked.interaction_id)
    assert why["persona"] == {"id": "cherry", "name": "Cherry", "version": persona().version}
    assert why["agent"] == {"name": "riddles", "forced": False, "scores": {"conversation": 0.5, "riddles": 0.9}}
    assert why["memory"]["used"] == {
        "messages": 2,
        "tokens": window.tokens,
        "first_sequence": 3,
        "last_sequence": 4,
    }
    assert why["memory"]["dropped"]["messages"] == 2
    assert str(BUDGET) in why["memory"]["dropped"]["reason"]
    assert (why["memory"]["token_budget"], why["memory"]["token_budget_reason"]) == (BUDGET, "so much fits")
    assert [call["model"] for call in why["plan"]["models"]] == ["my/model", "b/model"]
    assert (why["plan"]["model_from"], why["plan"]["fallbacks_from"]) == ("request", "setting")
    assert why["temperature"] == 0.1
    budget = why["budget"]
    assert budget["message"] == estimate_tokens("a riddle")
    assert budget["memory"] == window.tokens
    assert budget["system"] + budget["memory"] + budget["message"] == budget["total"] == plan.prompt_tokens


async def test_an_explanation_names_the_models_that_cool_and_what_follows_a_broken_call(desk: Desk) -> None:
    await desk.cooldowns.strike("openrouter", "a/model", LLMProviderServiceError("down for good"))
    asked = request(after_output="continue")
    await desk.store.open_turn(asked)
    plan = await desk.build(asked.interaction_id)
    assert (plan.after_output, plan.calls[0].cooling_error) == (AfterOutput.CONTINUE, ErrorType.UPSTREAM)
    why = (await desk.store.explanation(asked.interaction_id))["plan"]
    assert [call["model"] for call in why["models"]] == ["a/model", "b/model"]
    assert (why["after_output"], why["after_output_from"]) == ("continue", "request")
    [skipped] = why["skipped"]
    assert "down for good" in skipped.pop("reason")
    assert skipped == {"provider": "openrouter", "model": "a/model", "error_type": "upstream"}


async def test_nothing_dropped_has_no_reason(desk: Desk) -> None:
    interaction_id = await opened(desk.store)
    await desk.build(interaction_id, await desk.store.take_place(interaction_id, BUDGET))
    memory = (await desk.store.explanation(interaction_id))["memory"]
    assert memory["dropped"] == {"messages": 0, "reason": None}


async def test_the_view_names_persona_and_agent_once_the_prompt_is_built(desk: Desk) -> None:
    interaction_id = await opened(desk.store)
    await desk.build(interaction_id)
    view = await desk.store.view(interaction_id)
    assert (view.persona_name, view.persona_version, view.agent) == ("Cherry", persona().version, "conversation")


async def test_subscribers_hear_which_models_will_be_asked(desk: Desk) -> None:
    await desk.build(await opened(desk.store))
    [event] = desk.events
    assert event.model_dump(exclude={"interaction_id"}) == {"agent": "conversation", "models": ["a/model", "b/model"]}


def fails(_context: AgentContext) -> None:
    raise KeyError("no riddle")


@pytest.mark.parametrize(
    "build",
    [
        fails,
        lambda _: None,
        lambda _: [],
        lambda _: [{"role": "user"}],
        lambda _: ["Hello"],
    ],
)
async def test_an_agent_that_builds_no_prompt_is_named(desk: Desk, build: Callable[[AgentContext], Any]) -> None:
    interaction_id = await opened(desk.store, "a riddle")
    with pytest.raises(PromptError, match="agent"):
        await desk.build(interaction_id, specialist=build)
    with pytest.raises(UnknownResourceError):
        await desk.store.prompt(interaction_id)
    assert desk.events == []


async def test_a_template_that_fails_over_this_turn_names_the_persona(desk: Desk) -> None:
    asked = request(context={"n": 0})
    await desk.store.open_turn(asked)
    with pytest.raises(PromptError, match="cherry"):
        await desk.build(
            asked.interaction_id,
            cherry=persona(system_prompt="Hello {% if context.n is defined %}{{ 1 // context.n }}{% endif %}"),
        )


async def test_a_persona_or_agent_that_is_gone_is_unknown(desk: Desk) -> None:
    for asked, name in ((request(persona_id="karen"), "karen"), (request(agent="nobody"), "nobody")):
        await desk.store.open_turn(asked)
        with pytest.raises(UnknownResourceError, match=name):
            await desk.build(asked.interaction_id)


async def test_an_unknown_interaction_has_no_prompt_to_build(desk: Desk) -> None:
    with pytest.raises(UnknownResourceError):
        await desk.build("none")


# --- bare completions ---


async def test_a_bare_completion_sends_its_messages_as_they_came(desk: Desk) -> None:
    asked = CompletionRequest(interaction_id=new_id(), user_id="ada", model="my/model")
    await desk.store.open_completion(asked, PROMPT)
    plan = await desk.build(asked.interaction_id)
    assert [call.model for call in plan.calls] == ["my/model", "b/model"]
    assert (plan.agent, plan.persona_version) == (None, None)
    assert await desk.store.prompt(asked.interaction_id) == PROMPT
    assert (await desk.store.view(asked.interaction_id)).status is InteractionStatus.IN_PROGRESS
    assert (await desk.store.explanation(asked.interaction_id))["budget"] == {"total": plan.prompt_tokens}


async def test_a_bare_completion_that_has_ended_plans_no_call(desk: Desk) -> None:
    asked = CompletionRequest(interaction_id=new_id(), user_id="ada")
    await desk.store.open_completion(asked, PROMPT)
    await desk.store.end(asked.interaction_id, Ending(InteractionStatus.FAILED))
    assert (await desk.build(asked.interaction_id)).calls == []
    assert desk.events == []


async def test_a_long_memory_is_read_as_it_was_chosen(desk: Desk, ledger: AttemptLedger) -> None:
    await talked(desk.store, ledger, "One", "Two")
    interaction_id = await opened(desk.store, "Three")
    window = await desk.store.take_place(interaction_id, ANY_BUDGET)
    await opened(desk.store, "Four")
    await desk.build(interaction_id, window)
    contents = [message["content"] for message in (await desk.store.prompt(interaction_id)).messages[1:]]
    assert contents == ["One", "Two", "Three"]
