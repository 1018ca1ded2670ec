"""The example client, as people run it: a process with arguments, its output and its exit code."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from tests.harness import ROOT, Process, System, free_port, until
from tests.terminal import CTRL_C, Terminal

CLIENT = str(ROOT / "core" / "orchestrator" / "examples" / "llm_client.py")

Run = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def client(system: System, tmp_path: Path) -> Run:
    async def run(*arguments: str, python: Sequence[str] = (sys.executable,)) -> tuple[int, str]:
        if "--url" not in arguments:
            arguments = (*arguments, "--url", system.url)
        process = await Process.start([*python, CLIENT, *arguments], tmp_path / "client.log", {}, cwd=tmp_path)
        return await process.wait(), process.output

    return run


async def test_the_reply_and_what_is_worth_knowing_about_it_are_printed(client: Run) -> None:
    code, output = await client("--message", "Hello", "--persona-id", "sophia", "--model", "openai/gpt-4")
    assert code == 0, output
    reply, facts = output.split("\n\n", 1)
    assert reply.startswith("Sophia here (a stand-in for openai/gpt-4 speaking)")
    told = dict(line.split(":", 1) for line in facts.splitlines())
    assert list(told) == ["persona", "model", "provider", "tokens", "session"]
    assert told["persona"].strip().startswith("Sophia (sophia, version ")
    assert told["model"].strip() == "openai/gpt-4"
    assert told["provider"].strip() == "openrouter"
    assert "prompt + " in told["tokens"]
    assert told["tokens"].endswith(" USD")


async def test_a_session_is_continued(client: Run) -> None:
    await client("--message", "My name is Ada", "--session-id", "client-session")
    code, output = await client("--message", "What is my name?", "--session-id", "client-session")
    assert code == 0
    assert "I remember 2 earlier messages" in output
    assert "session:  client-session" in output


async def test_direct_mode_sends_the_system_message(client: Run) -> None:
    code, output = await client("--mode", "direct", "--message", "Hello", "--system", "You are Nobody, a test.")
    assert code == 0
    assert output.startswith("Nobody here (a stand-in for openai/gpt-3.5-turbo speaking)")
    assert "persona:" not in output
    assert "session:" not in output


async def test_calls_that_failed_are_told(client: Run) -> None:
    code, output = await client(
        "--message", "Hello", "--model", "standin/no-endpoints", "--fallback-model", "openai/gpt-4o"
    )
    assert code == 0
    assert "attempts: standin/no-endpoints model_not_found, openai/gpt-4o succeeded" in output


async def test_a_fallback_line_is_told_as_one(client: Run) -> None:
    code, output = await client("--message", "Hello", "--model", "standin/unauthorized")
    assert code == 0
    assert "model:    none answered" in output
    assert "error:    authentication: the upstream answered 401" in output
    assert "0.000000 USD" in output, "a call that was refused costs nothing, and that is known"


async def test_a_stream_into_a_file_is_the_reply_once_and_the_same_facts(client: Run) -> None:
    code, output = await client("--message", "Hello", "--model", "openai/gpt-4", "--stream")
    assert code == 0, output
    reply, facts = output.split("\n\n", 1)
    assert (
        reply == 'Cherry here (a stand-in for openai/gpt-4 speaking). You said: "Hello". I remember 0 earlier messages.'
    )
    assert [line.split(":", 1)[0] for line in facts.splitlines()] == [
        "persona",
        "model",
        "provider",
        "tokens",
        "session",
    ]


async def test_a_streamed_completion_that_fails_tells_each_attempt_and_the_end(client: Run) -> None:
    code, output = await client(
        *("--mode", "direct", "--stream", "--message", "Hello"),
        *("--model", "standin/truncated", "--fallback-model", "standin/unauthorized"),
    )
    assert code == 1
    *attempts, ending = output.splitlines()
    assert attempts[-2:] == [
        "standin/truncated failed: truncated, asking the next model",
        "standin/unauthorized failed: authentication, giving up",
    ]
    assert ending.startswith("error: authentication: none of 2 models answered")


async def test_a_terminal_shows_a_reply_as_it_comes_and_ctrl_c_only_stops_waiting(
    system: System, tmp_path: Path
) -> None:
    system.standin.script("openai/gpt-4", {"hold": True, "after": 3})
    command = [sys.executable, CLIENT, "--url", system.url, "--stream", "--message", "Hello", "--model", "openai/gpt-4"]
    async with Terminal(command, tmp_path) as terminal:
        await terminal.until("Cherry here (a")  # the call is held: that is all there is yet
        terminal.types(CTRL_C)
        await terminal.until("no longer waiting; the service finishes the reply all the same")
        assert await terminal.ends() == 130
    system.standin.release()
    await until(lambda: system.standin.ledger.calls[-1].outcome == "completed")


async def test_a_killed_and_restarted_api_costs_no_reply_and_repeats_none(own_system: System, tmp_path: Path) -> None:
    _, api = await own_system.start()
    own_system.standin.script("openai/gpt-4", *[{"hold": True, "after": 3}] * 3)
    command = [sys.executable, CLIENT, "--url", own_system.url, "--message", "Hello", "--model", "openai/gpt-4"]
    async with Terminal([*command, "--stream"], tmp_path) as terminal:
        waiting = await Process.start(command, tmp_path / "waiting.log", {})
        piped = await Process.start([*command, "--stream"], tmp_path / "piped.log", {})
        await terminal.until("Cherry here (a")
        await until(lambda: len(own_system.standin.ledger.calls) == 3)
        await api.kill()
        await terminal.until("trying again")
        for process in (waiting, piped):
            await process.until_output("trying again")
        await own_system.start_api()
        own_system.standin.release()
        await terminal.until("(continue with --session-id)")
        outputs = [terminal.seen]
        for process in (waiting, piped):
            assert await process.wait() == 0, process.output
            outputs.append(process.output)
        assert await terminal.ends() == 0
    for output in outputs:
        assert output.count("Cherry here (a") == 1, output
        assert output.count("I remember 0 earlier messages.") == 1, output
    assert len(own_system.standin.ledger.calls) == 3, "nothing was asked twice"


async def test_a_service_that_is_down_is_told_in_one_line(client: Run) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    code, output = await client("--message", "Hello", "--url", url)
    assert code == 1
    assert output == f"error: the service is not up at {url}; start it with 'make run', or name another --url\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--message", "Hello", "--persona-id", "nobody"), "404 not_found: unknown persona 'nobody'"),
        (("--message", "", "--user-id", "Ada"), "422 invalid_request: message: "),
        (("--message", "Hello", "--url", "ftp://example"), "ftp://example is not an http:// or https:// address"),
        (
            ("--mode", "direct", "--message", "Hello", "--model", "standin/unauthorized"),
            "502 authentication: the upstream answered 401",
        ),
    ],
)
async def test_what_the_service_refuses_is_told_without_a_traceback(
    client: Run, arguments: tuple[str, ...], complaint: str
) -> None:
    code, output = await client(*arguments)
    assert code == 1
    assert output.startswith(f"error: {complaint}")
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "the following arguments are required: --message"),
        (("--message", "Hello", "--mode", "telepathy"), "invalid choice: 'telepathy'"),
        (("--message", "Hello", "--system", "Be brief"), "--system has no meaning in mode interact"),
        (("--message", "Hello", "--mode", "direct", "--persona-id", "cherry"), "--persona-id has no meaning in mode"),
    ],
)
async def test_wrong_arguments_are_told_with_the_usage(client: Run, arguments: tuple[str, ...], complaint: str) -> None:
    code, output = await client(*arguments)
    assert code == 2
    assert output.startswith("usage: llm_client.py")
    assert complaint in output


@pytest.mark.skipif(not (ROOT / ".venv" / "bin" / "python").exists(), reason="there is no .venv to go on in")
async def test_it_runs_outside_the_environment(client: Run) -> None:
    # With -S an interpreter sees no installed packages, so httpx is missing.
    code, output = await client("--message", "Hello", python=(sys._base_executable, "-S"))
    assert code == 0, output
    assert "Cherry here" in output
