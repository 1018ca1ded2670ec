from collections.abc import Callable

import pytest

from core.orchestrator.agents.base import Agent, AgentContext
from core.orchestrator.agents.code_agent import CodeAgent
from core.orchestrator.agents.llm_agent import LLMAgent
from core.orchestrator.agents.selection import agents, register_agent, select_agent
from core.orchestrator.errors import ConfigurationError, UnknownResourceError
from core.orchestrator.registry import Registry
from tests.core.orchestrator.agents.personas import turn


def scoring(score: float) -> Callable[[], Agent]:
    class Scoring(LLMAgent):
        def can_handle(self, context: AgentContext) -> float:
            return score

    return Scoring


class Failing(LLMAgent):
    def can_handle(self, context: AgentContext) -> float:
        raise RuntimeError("boom")


def registry_of(**factories: Callable[[], Agent]) -> Registry[Agent]:
    registry: Registry[Agent] = Registry("agent", Agent)  # type: ignore[type-abstract]
    for name, factory in factories.items():
        registry.register(name, factory)
    return registry


def test_the_shipped_agents_share_the_work():
    assert select_agent(turn("Hello")).name == "conversation"
    choice = select_agent(turn("Write a function"))
    assert isinstance(choice.agent, CodeAgent)
    assert choice.name == choice.agent.name == "code"
    assert choice.scores == {"conversation": 0.5, "code": 0.8}
    assert not choice.forced


def test_the_highest_score_wins():
    registry = registry_of(low=scoring(0.1), high=scoring(0.9), middle=scoring(0.5))
    assert select_agent(turn(), registry=registry).name == "high"


def test_of_equals_the_earliest_registered_wins():
    registry = registry_of(first=scoring(0.7), second=scoring(0.7))
    assert select_agent(turn(), registry=registry).name == "first"


def test_where_nobody_claims_the_turn_the_conversation_goes_on():
    registry = registry_of(shy=scoring(0), conversation=scoring(0), other=scoring(0))
    assert select_agent(turn(), registry=registry).name == "conversation"


def test_an_agent_that_fails_or_boasts_is_passed_over_with_a_warning(caplog: pytest.LogCaptureFixture):
    registry = registry_of(failing=Failing, boasting=scoring(7), modest=scoring(0.1))
    choice = select_agent(turn(), registry=registry)
    assert choice.name == "modest"
    assert choice.scores == {"failing": 0.0, "boasting": 0.0, "modest": 0.1}
    assert "'failing'" in caplog.text
    assert "'boasting'" in caplog.text


def test_an_agent_that_cannot_be_made_is_passed_over_with_a_warning(caplog: pytest.LogCaptureFixture):
    registry = registry_of(broken=lambda: 1 / 0, modest=scoring(0.1))  # type: ignore[arg-type, return-value]
    assert select_agent(turn(), registry=registry).name == "modest"
    assert "'broken'" in caplog.text


def test_a_forced_agent_answers_whatever_it_claims():
    choice = select_agent(turn("Hello"), forced="code")
    assert choice.name == "code"
    assert choice.forced
    assert choice.scores == {}


def test_an_unknown_forced_agent_is_an_unknown_resource():
    with pytest.raises(UnknownResourceError, match="unknown agent 'nobody'"):
        select_agent(turn(), forced="nobody")


def test_a_forced_agent_that_cannot_be_made_says_so():
    with pytest.raises(ConfigurationError, match="agent 'broken' could not be made"):
        select_agent(turn(), forced="broken", registry=registry_of(broken=lambda: 1 / 0))  # type: ignore[arg-type, return-value]


def test_an_agent_without_a_name_is_refused():
    with pytest.raises(ConfigurationError):
        register_agent("", LLMAgent)


def test_conversation_and_code_are_registered_in_this_order():
    assert agents.names()[:2] == ["conversation", "code"]
