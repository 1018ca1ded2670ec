"""Plugins: modules that add providers, agents, formatters or subscribers while they are imported."""

import importlib
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

from core.orchestrator.errors import ConfigurationError

ENTRY_POINT_GROUP = "ai_orchestrator.plugins"


def load_plugins(modules: Iterable[str]) -> None:
    """Import the named modules, then every installed entry point of the group `ai_orchestrator.plugins`.

    Raises:
        ConfigurationError: a plugin is missing or fails while it is imported.
    """
    # A module beside the `.env` file is found as well as an installed one.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    for module in modules:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            raise ConfigurationError(f"PLUGINS: '{module}' could not be imported: {_reason(error)}") from error
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry_point.load()
        except (Exception, SystemExit) as error:
            raise ConfigurationError(
                f"the plugin '{entry_point.name}' ({entry_point.value}) could not be loaded: {_reason(error)}"
            ) from error


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
