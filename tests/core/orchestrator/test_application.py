import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = """
import asyncio, sys
from core.orchestrator.application import start_application
from core.orchestrator.config import Settings
from core.orchestrator.errors import OrchestratorError
from core.orchestrator.extensions import LLMProvider, register_llm_provider

class Untidy(LLMProvider):
    provider_name = "untidy"
    async def generate_chat_completion(self, messages, model=None, temperature=0.7, max_tokens=None):
        return "Hi"
    async def aclose(self):
        raise OSError("it does not let go")

class Tidy(Untidy):
    async def aclose(self):
        print("closed tidily")

async def start(changes):
    settings = Settings(_env_file=None, OPENROUTER_API_KEY="k" * 20, **changes)
    try:
        application = await start_application(settings)
    except OrchestratorError as error:
        print(type(error).__name__, error)
        return
    await application.database.ping()
    print(*application.agents.names(), *application.providers.names(), len(application.personas))
    register_llm_provider("untidy", Untidy)
    register_llm_provider("tidy", Tidy)
    application.providers.get("untidy"), application.providers.get("tidy")
    await application.close()

for changes in eval(sys.argv[1]):
    asyncio.run(start(changes))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def start(folder: Path, *settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Start and close the domain in a process of its own; one that does not end is a failure."""
    all_settings = [{"DATA_DIR": str(folder)} | changes for changes in settings or ({},)]
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", PROGRAM, repr(all_settings)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )


def test_the_domain_starts_and_closes_whatever_its_providers_do(folder: Path) -> None:
    done = start(folder)
    assert done.stdout == "conversation code openrouter 3\nclosed tidily\n"
    assert "it does not let go" in done.stderr
    assert "never awaited" not in done.stderr
    assert (folder / "orchestrator.db").stat().st_size > 0
    assert not (folder / "orchestrator.db-wal").exists(), "the database was closed"


def test_a_process_that_cannot_start_says_why_and_ends(folder: Path) -> None:
    (folder / "orchestrator.db").write_bytes(b"no database" * 1000)
    assert start(folder).stdout.startswith("StorageUnavailableError")


def test_a_wrong_setting_is_found_before_anything_is_started(folder: Path) -> None:
    wrong = {
        "DEFAULT_PERSONA_ID": ("nobody", "DEFAULT_PERSONA_ID"),
        "PERSONAS_DIR": ("/nowhere", "/nowhere"),
        "PLUGINS": ("nowhere", "PLUGINS: 'nowhere'"),
        "DATABASE_URL": ("sqlite:////proc/none/x.db", "/proc/none/x.db"),
    }
    said = start(folder, *({name: value} for name, (value, _) in wrong.items())).stdout.splitlines()
    assert len(said) == len(wrong)
    for line, (_, complaint) in zip(said, wrong.values(), strict=True):
        assert line.startswith("ConfigurationError")
        assert complaint in line
