from dataclasses import replace

import pytest

from core.orchestrator.agents.base import AgentContext
from core.orchestrator.agents.formatter import ConversationFormatter, register_formatter
from core.orchestrator.agents.llm_agent import LLMAgent
from core.orchestrator.errors import PromptError
from core.orchestrator.personas.model import PersonaConfig
from tests.core.orchestrator.agents.personas import persona, turn


class Pirate(ConversationFormatter):
    @staticmethod
    def create_system_message(persona: PersonaConfig) -> dict[str, str]:
        return {"role": "system", "content": f"Captain {persona.name}"}

    def format_reply(self, text: str, persona: PersonaConfig) -> str:
        return text.replace("Hello", "Ahoy")


class Poet(ConversationFormatter):
    @staticmethod
    def create_system_message(persona: PersonaConfig) -> dict[str, str]:
        return {"role": "system", "content": f"O {persona.name}"}


@pytest.fixture(scope="module", autouse=True)
def _pirate_is_registered() -> None:
    register_formatter("test-pirate", Pirate)


def test_a_prompt_is_system_message_history_and_what_was_said():
    history = [{"role": "user", "content": "Hi", "sequence": 1}, {"role": "assistant", "content": "Hey", "sequence": 2}]
    assert LLMAgent().build_messages(turn("How are you?", history=history)) == [
        {"role": "system", "content": "You are Cherry, a friend."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hey"},
        {"role": "user", "content": "How are you?"},
    ]


def test_what_a_client_instructs_follows_the_persona_and_what_is_new_comes_last_as_it_was_sent():
    instructions = [{"role": "developer", "content": "Be brief."}]
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}
    context = turn("", history=[{"role": "user", "content": "Hi"}])
    context = replace(context, instructions=instructions, as_sent=[picture])
    assert LLMAgent().build_messages(context)[1:] == [*instructions, {"role": "user", "content": "Hi"}, picture]


def test_the_persona_renders_with_the_user_and_context_of_the_turn():
    context = turn(context={"mood": "merry"}, system_prompt="{{ user_id }} likes it {{ context.mood }}")
    assert LLMAgent().build_messages(context)[0]["content"] == "user123 likes it merry"


def test_it_suits_every_turn_half():
    assert LLMAgent().can_handle(turn()) == 0.5


def test_the_description_is_the_first_line_of_the_docstring():
    class Silent(LLMAgent):
        pass

    assert LLMAgent().description == "Holds a conversation in the persona's voice."
    assert Silent().description == ""


def test_instructions_follow_the_system_message():
    class Brief(LLMAgent):
        def instructions(self, context: AgentContext) -> str:
            return f"Answer {context.user_id} in one line."

    content = Brief().build_messages(turn())[0]["content"]
    assert content == "You are Cherry, a friend.\n\nAnswer user123 in one line."


def test_an_agent_may_bring_a_formatter_by_name_or_by_class():
    class ByName(LLMAgent):
        formatter = "test-pirate"

    class ByClass(LLMAgent):
        formatter = Pirate

    for agent in (ByName(), ByClass()):
        assert agent.build_messages(turn())[0]["content"] == "Captain Cherry"
        assert agent.format_reply("Hello", persona()) == "Ahoy"


def test_the_formatter_of_the_persona_wins():
    class Poetic(LLMAgent):
        formatter = Poet

    assert Poetic().build_messages(turn())[0]["content"] == "O Cherry"
    assert Poetic().build_messages(turn(formatter="test-pirate"))[0]["content"] == "Captain Cherry"


def test_a_formatter_nobody_registered_is_the_personas_fault():
    with pytest.raises(PromptError, match="persona 'cherry': unknown formatter 'nobody'"):
        LLMAgent().build_messages(turn(formatter="nobody"))


def test_replies_take_the_style_of_the_persona():
    signed = persona(reply={"sign_off": "x Cherry"})
    assert LLMAgent().format_reply("Cherry: Hello", signed) == "Hello\n\nx Cherry"
