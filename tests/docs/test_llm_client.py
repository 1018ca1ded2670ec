"""The example client, as people run it: a process with arguments, its output and its exit code."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from tests.harness import ROOT, Process, System, free_port

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
