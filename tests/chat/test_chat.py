"""`orchestrator chat`, as a person has it: a real process in a real terminal, before a real service."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.core.orchestrator.examples.service import Cut, Drop, Service, told
from tests.harness import ORCHESTRATOR, Process, System, until
from tests.terminal import CTRL_C, CTRL_D, Terminal

HOSTILE = "red \x1b[31mhere\x1b[0m\x1b]0;owned\x07 [bold]and[/bold] :smile: \x9b31mthere"

Chat = Callable[..., Terminal]


@pytest.fixture
def chat(system: System, tmp_path: Path) -> Chat:
    def start(*arguments: str) -> Terminal:
        return Terminal([ORCHESTRATOR, "chat", "--url", system.url, *arguments], tmp_path)

    return start


async def test_a_reply_streams_and_the_chat_goes_on(chat: Chat, system: System) -> None:
    system.standin.script("openai/gpt-4", {"hold": True, "after": 3})
    async with chat("--model", "openai/gpt-4", "--session-id", "pty-streams") as terminal:
        await terminal.until("Cherry")
        place = await terminal.until("> ")
        terminal.types("Hello\n")
        await terminal.until("Cherry here (a", place)  # the call is held: that is all there is yet
        system.standin.release()
        place = await terminal.until('You said: "Hello". I remember 0 earlier messages.\r\n', place)
        place = await terminal.until("openai/gpt-4 · ", place)
        place = await terminal.until("> ", place)
        terminal.types("And now?\n")
        place = await terminal.until('I remember 2 earlier messages. Before that you said: "Hello".', place)
        place = await terminal.until("> ", place)
        terminal.types(CTRL_D)
        assert await terminal.ends() == 0


async def test_ctrl_c_cancels_the_reply_and_leaves_at_the_prompt(chat: Chat, system: System) -> None:
    system.standin.script("openai/gpt-4", {"hold": True, "after": 3})
    async with chat("--model", "openai/gpt-4") as terminal:
        place = await terminal.until("> ")
        terminal.types("Hello\n")
        place = await terminal.until("Cherry here (a", place)
        terminal.types(CTRL_C)
        place = await terminal.until("cancelled\r\n", place)
        assert "Cherry here (a" in terminal.seen, "what was said stays"
        place = await terminal.until("> ", place)
        await until(lambda: system.standin.ledger.calls[-1].outcome == "aborted")
        terminal.types("Still there?\n")
        place = await terminal.until('You said: "Still there?".', place)
        await terminal.until("> ", place)
        assert await terminal.ends_on(CTRL_C) == 0


async def test_lost_connections_end_no_chat_and_repeat_no_words(tmp_path: Path) -> None:
    async with (
        Service(told("Good", " day"), Cut(2), Drop(), None, *[Drop()] * 100) as service,
        Terminal([ORCHESTRATOR, "chat", "--url", service.url], tmp_path) as terminal,
    ):
        place = await terminal.until("> ")
        terminal.types("Hello\n")
        place = await terminal.until("Good\r\n", place)
        place = await terminal.until("trying again\r\nconnected again\r\n day\r\n", place)
        place = await terminal.until("> ", place)
        terminal.types("Are you there?\n")
        place = await terminal.until("trying again\r\n", place)
        terminal.types(CTRL_C)
        place = await terminal.until("Ctrl-C once more stops waiting\r\n", place)
        terminal.types(CTRL_C)
        place = await terminal.until("no longer waiting", place)
        place = await terminal.until("> ", place)
        terminal.types(CTRL_D)
        assert await terminal.ends() == 0


async def test_lines_that_are_pasted_are_one_message(system: System, tmp_path: Path) -> None:
    command = [ORCHESTRATOR, "chat", "--url", system.url]
    async with Terminal(command, tmp_path, TERM="xterm") as terminal:
        place = await terminal.until("> ")
        terminal.types("\x1b[200~one\ntwo\x1b[201~\n")
        await terminal.until('You said: "one\r\ntwo".', place)


async def test_a_session_of_somebody_else_is_refused_before_anything_is_said(system: System, tmp_path: Path) -> None:
    await system.interact(session_id="not-eves", user_id="ada")
    command = f"echo Hello | {shlex.quote(ORCHESTRATOR)} chat --url {system.url} --user-id eve --session-id not-eves"
    process = await Process.start(["bash", "-c", command], tmp_path / "chat.log", {}, cwd=tmp_path)
    assert await process.wait() == 1
    assert process.output == "error: 403 forbidden: session 'not-eves' belongs to another user\n"


async def test_commands_change_who_answers_and_with_which_model(chat: Chat) -> None:
    async with chat() as terminal:
        place = await terminal.until("> ")
        terminal.types("/history\n")
        place = await terminal.until("nothing was said in this session yet", place)
        terminal.types("/persona nobody\n")
        place = await terminal.until("there is no persona 'nobody'; there are cherry, karen, sophia", place)
        terminal.types("/persona Sophia\n")
        place = await terminal.until("Sophia", place)
        terminal.types("/model openai/gpt-4o\n")
        place = await terminal.until("asking openai/gpt-4o from now on", place)
        terminal.types("Who are you?\n")
        place = await terminal.until("Sophia here (a stand-in for openai/gpt-4o speaking)", place)
        terminal.types("/history\n")
        place = await terminal.until("assistant · ", place)
        place = await terminal.until("Sophia here", place)
        terminal.types("/dance\n")
        place = await terminal.until("/dance is no command", place)
        place = await terminal.until("/quit", place)
        terminal.types("/new\n")
        place = await terminal.until("session chat-", place)
        terminal.types("And now?\n")
        place = await terminal.until("I remember 0 earlier messages", place)
        terminal.types("/quit\n")
        assert await terminal.ends() == 0


async def test_bad_days_are_told_and_what_a_model_says_commands_no_terminal(chat: Chat, system: System) -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": HOSTILE}}
    body = {"id": "gen-1", "model": "openai/gpt-4", "choices": [choice]}
    system.standin.script("openai/gpt-4", {"status": 200, "body": body})
    async with chat("--model", "standin/truncated") as terminal:
        place = await terminal.until("> ")
        terminal.types("Hello\n")
        place = await terminal.until("standin/truncated failed: truncated, ", place)
        place = await terminal.until("no model answered: truncated: ", place)
        assert " here (a stand-in for standin/truncated speaking)" in terminal.seen  # whichever try it was shown of
        terminal.types("/model openai/gpt-4\nHello\n")
        place = await terminal.until("red here [bold]and[/bold] :smile: there\r\n", place)
        terminal.types("/history\n")
        place = await terminal.until("red here [bold]and[/bold] :smile: there\r\n", place)
    assert "\x1b[31m" not in terminal.seen
    assert "owned" not in terminal.seen
    assert "\x9b" not in terminal.seen


async def test_a_pipe_gets_each_reply_once(system: System, tmp_path: Path) -> None:
    command = f"printf 'Hello\\n\\nAgain\\n' | {shlex.quote(ORCHESTRATOR)} chat --url {system.url} --user-id piper"
    process = await Process.start(["bash", "-c", command], tmp_path / "chat.log", {}, cwd=tmp_path)
    assert await process.wait() == 0, process.output
    assert process.output.count('You said: "Hello". I remember 0 earlier messages.\n') == 1
    assert process.output.count('You said: "Again". I remember 2 earlier messages.') == 1
    assert "\x1b" not in process.output
    assert "> " not in process.output
