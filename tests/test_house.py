"""The house itself: whose names these are, what plugins may rely on, and a schema that is what the code believes."""

import ast
import importlib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from core.orchestrator import extensions
from core.orchestrator.storage import tables
from core.orchestrator.storage.database import open_database
from tests.harness import ROOT

PACKAGES = ("activities", "api", "chat", "commands", "core", "embedded", "standin", "temporal", "workflows")
MODULES = ("cli", "worker")
OURS = "ai-orchestrator"
PROMISED = {
    "LLMProvider",
    "ChatCompletion",
    "register_llm_provider",
    "Agent",
    "AgentContext",
    "register_agent",
    "ConversationFormatter",
    "register_formatter",
    "PersonaConfig",
    "subscribe",
}
ONE_SCREEN = 70


@pytest.mark.parametrize("name", PACKAGES + MODULES)
def test_no_other_distribution_claims_our_names(name: str) -> None:
    assert set(packages_distributions().get(name, ())) <= {OURS}


@pytest.mark.parametrize("name", PACKAGES + MODULES)
def test_our_names_mean_our_own_code(name: str) -> None:
    origin = importlib.import_module(name).__file__
    assert origin is not None
    assert Path(origin).is_relative_to(ROOT)
    assert not Path(origin).is_relative_to(ROOT / ".venv")


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for name in (*PACKAGES, "tests") for path in (ROOT / name).rglob("*.py")}
    migrations = ROOT / "core/orchestrator/storage/migrations"  # Alembic loads these by path
    assert [f for f in folders if not (f / "__init__.py").exists() and not f.is_relative_to(migrations)] == []


def test_what_a_plugin_may_use_fits_one_screen() -> None:
    text = Path(str(extensions.__file__)).read_text()
    assert len(text.splitlines()) <= ONE_SCREEN


def test_what_is_promised_to_plugins_is_there() -> None:
    assert set(extensions.__all__) >= PROMISED
    assert all(hasattr(extensions, name) for name in extensions.__all__)


def test_the_extension_surface_only_points_elsewhere() -> None:
    statements = ast.parse(Path(str(extensions.__file__)).read_text()).body
    assert {type(statement) for statement in statements} <= {ast.Expr, ast.ImportFrom, ast.Assign}


async def test_the_migrations_lead_to_the_schema_that_the_code_uses(tmp_path: Path) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))

    database = open_database(tmp_path / "empty.db")
    try:
        await database.migrate()
        async with database.read() as connection:
            assert await connection.run_sync(differences) == []
    finally:
        await database.close()
