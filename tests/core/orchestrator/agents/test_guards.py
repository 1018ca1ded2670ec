import asyncio
import math
from typing import Any

import pytest

from core.orchestrator.agents.base import Agent, AgentContext
from core.orchestrator.agents.formatter import ConversationFormatter
from core.orchestrator.agents.guards import messages_of, reply_of, score_of, system_message_of, temperature_of
from core.orchestrator.errors import PromptError
from tests.core.orchestrator.agents.personas import persona, turn


class Puppet(Agent):
    """Does what the test says: returns it, or raises it."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    @property
    def name(self) -> str:
        return "puppet"

    def act(self) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def can_handle(self, context: AgentContext) -> float:
        return self.act()

    def build_messages(self, context: AgentContext) -> list[dict[str, Any]]:
        return self.act()

    def format_reply(self, text: str, persona: Any) -> str:
        return self.act()


class PuppetFormatter(ConversationFormatter):
    answer: Any = None

    @classmethod
    def create_system_message(cls, persona: Any) -> Any:
        if isinstance(cls.answer, BaseException):
            raise cls.answer
        return cls.answer


def formatter_with(answer: Any) -> ConversationFormatter:
    return type("Puppet", (PuppetFormatter,), {"answer": answer})()


@pytest.mark.parametrize("score", [0, 0.0, 0.3, 1, 1.0, True])
def test_an_honest_score_counts(score: float, caplog: pytest.LogCaptureFixture):
    assert score_of("puppet", Puppet(score), turn()) == score
    assert not caplog.records


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan, math.inf, None, "0.9", RuntimeError("boom")])
def test_any_other_score_counts_as_none_with_a_warning(score: Any, caplog: pytest.LogCaptureFixture):
    assert score_of("puppet", Puppet(score), turn()) == 0.0
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "'puppet'" in record.getMessage()


def test_messages_pass_as_they_are():
    called = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    messages = [{"role": "user", "content": "Hi"}, called, {"role": "tool", "tool_call_id": "1", "content": ""}]
    assert messages_of(Puppet(messages), turn()) is messages


@pytest.mark.parametrize(
    "messages", [None, [], "Hi", ["Hi"], [{"role": "user"}], [{"content": "Hi"}], [{"role": 1, "content": "Hi"}]]
)
def test_a_prompt_that_is_none_names_the_agent(messages: Any):
    with pytest.raises(PromptError, match="agent 'puppet' built no list of messages"):
        messages_of(Puppet(messages), turn())


def test_an_agent_that_fails_to_build_a_prompt_is_named():
    with pytest.raises(PromptError, match="agent 'puppet' failed to build a prompt: boom"):
        messages_of(Puppet(RuntimeError("boom")), turn())


def test_a_prompt_error_of_an_agent_stays_itself():
    error = PromptError("mine")
    with pytest.raises(PromptError) as caught:
        messages_of(Puppet(error), turn())
    assert caught.value is error


def test_a_formatted_reply_passes():
    assert reply_of(Puppet("Ahoy!"), "Hello", persona()) == "Ahoy!"
    assert reply_of(Puppet(""), " ", persona()) == ""


def test_a_formatted_reply_can_be_stored():
    assert reply_of(Puppet("A\0hoy\ud800!"), "Hello", persona()) == "Ahoy\N{REPLACEMENT CHARACTER}!"


@pytest.mark.parametrize("failure", [BaseException("a panic of another language"), asyncio.CancelledError()])
def test_what_is_no_exception_is_a_failure_like_any_other(failure: BaseException):
    assert score_of("puppet", Puppet(failure), turn()) == 0
    assert reply_of(Puppet(failure), "Hello", persona()) == "Hello"
    with pytest.raises(PromptError):
        messages_of(Puppet(failure), turn())


@pytest.mark.parametrize("wanted", [math.nan, math.inf, -1, 9.0, "hot"])
def test_a_temperature_that_is_none_is_left_out(wanted: Any, caplog: pytest.LogCaptureFixture):
    agent = Puppet(None)
    agent.temperature = wanted
    assert temperature_of(agent) is None
    assert "'puppet'" in caplog.text


@pytest.mark.parametrize("answer", [None, "", " \n", 3, RuntimeError("boom")])
def test_a_reply_is_never_lost_to_its_formatting(answer: Any, caplog: pytest.LogCaptureFixture):
    assert reply_of(Puppet(answer), "Hello", persona()) == "Hello"
    assert "'puppet'" in caplog.text


def test_an_unfinished_formatter_gets_the_default_prompt_and_a_warning(caplog: pytest.LogCaptureFixture):
    class SpecializedFormatter(ConversationFormatter):
        @staticmethod
        def create_system_message(persona: Any) -> dict[str, str]:  # type: ignore[empty-body]
            pass

    message = system_message_of(SpecializedFormatter(), persona())
    assert message == {"role": "system", "content": "You are Cherry, a friend."}
    assert "SpecializedFormatter" in caplog.text


def test_a_formatter_may_choose_another_role():
    message = {"role": "developer", "content": "Be Cherry."}
    assert system_message_of(formatter_with(message), persona()) == message


@pytest.mark.parametrize(
    "answer",
    [
        "Be Cherry.",
        {},
        {"role": "system"},
        {"role": "system", "content": None},
        {"role": "system", "content": ["Be Cherry."]},
        {"role": 1, "content": "Be Cherry."},
        {"role": "system", "content": "Be Cherry.", "name": "x"},
        RuntimeError("boom"),
    ],
)
def test_any_other_system_message_names_the_formatter(answer: Any):
    with pytest.raises(PromptError, match="formatter Puppet"):
        system_message_of(formatter_with(answer), persona())


def test_a_prompt_error_of_a_formatter_stays_itself():
    error = PromptError("mine")
    with pytest.raises(PromptError) as caught:
        system_message_of(formatter_with(error), persona())
    assert caught.value is error
