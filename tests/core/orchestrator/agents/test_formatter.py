from typing import Any, Dict  # noqa: UP035 - as the documentation prints it

import pytest

from core.orchestrator.agents.formatter import (
    ConversationFormatter,
    check_formatters,
    formatters,
    register_formatter,
)
from core.orchestrator.errors import ConfigurationError
from core.orchestrator.personas.model import PersonaConfig
from core.orchestrator.registry import Registry
from tests.core.orchestrator.agents.personas import persona


def test_the_system_message_is_the_rendered_prompt():
    merry = persona(system_prompt="You are {{ name }}, {{ context.mood or 'calm' }}, with {{ user_id }}.")
    message = ConversationFormatter.create_system_message(merry.for_turn("user123", {"mood": "merry"}))
    assert message == {"role": "system", "content": "You are Cherry, merry, with user123."}


def test_the_documented_formatter_is_a_class_that_works_as_printed():
    class SpecializedFormatter(ConversationFormatter):
        @staticmethod
        def create_system_message(persona: PersonaConfig) -> Dict[str, str]:  # noqa: UP006
            return {"role": "system", "content": f"Be {persona.name}."}

    assert SpecializedFormatter.create_system_message(persona())["content"] == "Be Cherry."


def test_history_keeps_what_a_model_takes_and_nothing_else():
    stored: list[dict[str, Any]] = [
        {"role": "user", "content": "Hi", "sequence": 1, "created_at": "2026-01-01"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello"}], "status": "completed"},
    ]
    assert ConversationFormatter().format_history(stored) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]},
    ]


def test_history_keeps_calls_of_tools_and_their_results():
    called = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}]}
    results = [{"role": "tool", "tool_call_id": "1", "content": ""}, {"role": "user", "name": "ada", "content": "Hi"}]
    assert ConversationFormatter().format_history([called, *results]) == [called, *results]


def test_history_leaves_out_messages_that_say_nothing():
    stored = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ""}, {"role": "assistant"}]
    assert ConversationFormatter().format_history(stored) == [{"role": "user", "content": "Hi"}]


def test_the_default_formatter_is_registered():
    assert type(formatters.get("default")) is ConversationFormatter


def test_a_formatter_without_a_name_is_refused():
    with pytest.raises(ConfigurationError):
        register_formatter("", ConversationFormatter)


def test_a_persona_that_names_an_unknown_formatter_is_found_at_start():
    registry = Registry("formatter", ConversationFormatter)
    registry.register("haiku", ConversationFormatter)
    check_formatters([persona(), persona(formatter="haiku")], registry)
    with pytest.raises(ConfigurationError, match=r"persona 'cherry': formatter: .* registered as 'hiaku'"):
        check_formatters([persona(formatter="hiaku")], registry)
