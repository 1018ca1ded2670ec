from time import perf_counter

import pytest

from core.orchestrator.agents.code_agent import CodeAgent
from tests.core.orchestrator.agents.personas import turn


def test_a_topic_of_code_is_claimed_most():
    assert CodeAgent().can_handle(turn("Hello", context={"topic": "code"})) == 0.9


@pytest.mark.parametrize(
    "message",
    [
        "Why?\n```python\nprint(1)\n```",
        "Help:\nTraceback (most recent call last):\n  File 'a.py', line 1",
        "It says\n    at com.example.Main.main(Main.java:12)",
        "TypeError: x\n  at run (/srv/app.js:3:7)",
        "Write a function that reverses a list",
        "please implement quicksort code",
        "Can you write me a Python script?",
        "write a unit test for this",
        "optimise this SQL",
    ],
)
def test_a_message_that_shows_code_or_asks_for_it_is_claimed(message: str):
    assert CodeAgent().can_handle(turn(message)) == 0.8


@pytest.mark.parametrize(
    "message",
    [
        "Tell me about artificial intelligence",
        "Write a poem about Python",
        "Write a programme for the wedding",
        "Write a script for the school play",
        "What is the function of the heart?",
        "Fix my class schedule",
        "What is the dress code?",
        "Meet me at 10:30",
        "",
    ],
)
def test_other_messages_are_left_to_others(message: str):
    assert CodeAgent().can_handle(turn(message, context={"topic": "life"})) == 0.0


@pytest.mark.parametrize("noise", ["  at a", ":1", "write ", "write a ", " ", "\n ", "`", "a"])
def test_a_long_message_is_judged_in_no_time(noise: str):
    started = perf_counter()
    CodeAgent().can_handle(turn(f"  at x{noise * (100_000 // len(noise))}"))
    assert perf_counter() - started < 2


def test_the_persona_still_speaks_but_the_code_must_run():
    system = CodeAgent().build_messages(turn("Write a function"))[0]["content"]
    assert system.startswith("You are Cherry, a friend.\n\n")
    assert "runs as it stands" in system


def test_it_leaves_less_to_chance():
    assert CodeAgent().temperature == 0.2
