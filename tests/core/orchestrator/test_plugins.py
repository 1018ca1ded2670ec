import subprocess
import sys
from pathlib import Path

import pytest

from core.orchestrator.extensions import __all__ as extensions

ROOT = Path(__file__).parents[3]
HOST = """
import sys
from core.orchestrator.errors import ConfigurationError
from core.orchestrator.plugins import load_plugins
from core.orchestrator.providers.registry import llm_providers
for modules in sys.argv[1:] or [""]:
    try:
        load_plugins(modules.split(",") if modules else [])
    except ConfigurationError as error:
        print("error:", error)
    else:
        print(*llm_providers.names())
"""
PLUGIN = """
from core.orchestrator.extensions import LLMProvider, register_llm_provider
class Mine(LLMProvider):
    provider_name = "mine"
    async def generate_chat_completion(self, messages, model=None, temperature=0.7, max_tokens=None):
        return "Hi"
register_llm_provider("NAME", Mine)
"""


def load(folder: Path, *modules: str, path: str = "") -> str:
    """Load plugins, comma-separated, one argument after the other, in a process of their own started in `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = [p for p in sys.path if p]; {path}\n{HOST}", *modules],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_plugin.py").write_text(PLUGIN.replace("NAME", "mine"))
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "inner.py").write_text(PLUGIN.replace("NAME", "inner"))
    return tmp_path


def test_modules_in_the_current_directory_are_found(folder: Path) -> None:
    assert load(folder, "my_plugin,package.inner") == "mine inner"


def test_no_plugins_are_no_error(folder: Path) -> None:
    assert load(folder) == ""


def test_a_module_in_the_current_directory_hides_no_module_of_ours_or_pythons(folder: Path) -> None:
    for name in ("json.py", "worker.py"):
        (folder / name).write_text("raise SystemExit('hidden')")
    assert load(folder, "json,my_plugin") == "mine"


def test_a_plugin_that_cannot_be_imported_is_named(folder: Path) -> None:
    broken = {
        "missing": (None, "ModuleNotFoundError"),
        "broken": ("import nowhere_to_be_found", "nowhere_to_be_found"),
        "raising": ("raise KeyError('mine')", "KeyError: 'mine'"),
        "misspelt": ("def f(:", "SyntaxError"),
        "leaving": ("import sys; sys.exit(3)", "SystemExit: 3"),
        ".relative": (None, "TypeError"),
        "two words": (None, "ModuleNotFoundError"),
    }
    for name, (source, _) in broken.items():
        if source is not None:
            (folder / f"{name}.py").write_text(source)
    said = load(folder, *broken).splitlines()
    assert len(said) == len(broken)
    for line, (name, (_, reason)) in zip(said, broken.items(), strict=True):
        assert line.startswith(f"error: PLUGINS: '{name}' could not be imported")
        assert reason in line


def distribution(folder: Path, value: str) -> None:
    """Install a distribution with an entry point of ours, as pip would leave it."""
    info = folder / "somebodys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[ai_orchestrator.plugins]\nsomebodys = {value}\n")


def test_an_installed_entry_point_is_loaded(folder: Path) -> None:
    distribution(folder, "my_plugin")
    assert load(ROOT, path=f"sys.path.append({str(folder)!r})") == "mine"


def test_an_entry_point_that_cannot_be_loaded_is_named(folder: Path) -> None:
    distribution(folder, "my_plugin:nothing")
    said = load(ROOT, path=f"sys.path.append({str(folder)!r})")
    assert said.startswith("error: the plugin 'somebodys' (my_plugin:nothing) could not be loaded")


def test_everything_a_plugin_may_use_is_exported() -> None:
    assert {"LLMProvider", "register_llm_provider", "Agent", "register_agent", "register_formatter"} <= set(extensions)
