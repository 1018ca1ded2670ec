"""The examples of `docs/clients.md`, run as they stand there: only the address and the key are those of the tests."""

import asyncio
import gc
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import llm.cli
import pytest
import yaml
from click.testing import CliRunner

from tests.clients.conftest import Front
from tests.clients.javascript import NODE, PACKAGES, needs_javascript
from tests.docs.documents import blocks
from tests.harness import ROOT, clean_environment

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # examples close nothing

CLIENTS = ROOT / "docs" / "clients.md"
HELLO = 'Cherry here (a stand-in for openai/gpt-3.5-turbo speaking). You said: "Hello". I remember 0 earlier messages.'
CHAT, RESPONSES = 0, 1
REMEMBERED = 'You said: "What is my name?". I remember 2 earlier messages. Before that you said: "My name is Ada.".'


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """What the examples leave open goes while nobody minds."""
    yield
    gc.collect(1)


def _for_the_tests(example: str, front: Front) -> str:
    return example.replace("http://127.0.0.1:8000/v1", front.base_url).replace("sk-anything", front.key)


async def _run(front: Front, directory: Path, command: Sequence[str], example: str) -> str:
    """Run an example in a process of its own and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        _for_the_tests(example, front),
        cwd=directory,
        env=clean_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    return output.decode()


@pytest.mark.parametrize("place", range(3), ids=["chat", "responses", "LangChain"])
async def test_the_examples_in_python_do_what_they_say(front: Front, place: int) -> None:
    example = _for_the_tests(blocks(CLIENTS, "python")[place], front)
    with redirect_stdout(StringIO()) as printed:
        await asyncio.to_thread(exec, compile(example, str(CLIENTS), "exec"), {})
    lines = printed.getvalue().splitlines()
    if place == CHAT:
        assert lines[0] == HELLO
        assert "ada-1" in [session["session_id"] for session in await front.sessions("ada")]
    if place == RESPONSES:
        assert 'You said: "Tell me a story.".' in lines[-2]
        assert lines[-1] == "completed"
    assert any(REMEMBERED in line for line in lines)


async def test_the_set_up_of_llm_works(front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (models,) = [block for block in blocks(CLIENTS, "yaml") if "api_key_name" in block]
    (commands,) = [block for block in blocks(CLIENTS, "bash") if "llm keys" in block]
    (tmp_path / "extra-openai-models.yaml").write_text(_for_the_tests(models, front))
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    for command in _for_the_tests(commands, front).splitlines():
        # The command, and no process: that would do nothing but import for a second.
        result = await asyncio.to_thread(CliRunner().invoke, llm.cli.cli, shlex.split(command)[1:])
        assert result.exit_code == 0, result.output
    assert REMEMBERED in result.output


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_examples_with_curl_do_what_they_say(front: Front, tmp_path: Path) -> None:
    whole, streamed, resumed = [
        await _run(front, tmp_path, ["bash", "-euc"], block) for block in blocks(CLIENTS, "bash") if "curl" in block
    ]
    assert '"object":"chat.completion"' in whole
    assert "Cherry here" in whole
    assert streamed.endswith("data: [DONE]\n\n")
    numbers = [int(number) for number in re.findall(r'"sequence_number":\s*(\d+)', resumed)]
    assert numbers
    assert min(numbers) > 2
    assert "event: response.completed" in resumed


@needs_javascript
async def test_the_examples_in_javascript_do_what_they_say(front: Front) -> None:
    compatible, responses = blocks(CLIENTS, "js")
    apart = f"{{ {_without_imports(compatible)} }}\n{{ {_without_imports(responses)} }}"
    imports = "\n".join(dict.fromkeys(re.findall(r"^import .*$", compatible + responses, re.MULTILINE)))
    command = [NODE, "--input-type=module", "-e"]
    printed = await _run(front, PACKAGES, command, f"{imports}\n{apart}")
    assert printed == f"{HELLO}\n{HELLO}\n"


def _without_imports(block: str) -> str:
    return re.sub(r"^import .*$", "", block, flags=re.MULTILINE)


def test_every_other_example_is_at_least_well_formed() -> None:
    assert all(yaml.safe_load(block) for language in ("yaml", "json") for block in blocks(CLIENTS, language))
