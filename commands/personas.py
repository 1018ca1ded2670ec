"""`orchestrator personas`: the persona files, checked and listed."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from core.orchestrator.agents.formatter import check_formatters
from core.orchestrator.config import load_settings
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.plugins import load_plugins


def personas(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check the persona files and list the personas."""
    settings = load_settings()
    load_plugins(settings.PLUGINS)  # they may bring the formatters that personas name
    library = PersonaLibrary.load(settings.PERSONAS_DIR)
    check_formatters(library)
    if as_json:
        typer.echo(json.dumps([{**persona.model_dump(), "version": persona.version} for persona in library], indent=2))
        return
    table = Table("id", "name", "version", "model", "description")
    for persona in library:
        table.add_row(persona.id, persona.name, persona.version, persona.model or "default", persona.description)
    Console().print(table)
