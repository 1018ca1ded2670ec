"""`orchestrator keys`: making API keys, and showing which ones there are."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.orchestrator.access.caller import Scope
from core.orchestrator.access.keys import KeyEntry, KeyRing, create_key, read_scopes
from core.orchestrator.config import load_settings
from core.orchestrator.errors import ConfigurationError

keys = typer.Typer(
    help="Make keys of the API, and show which there are.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="What the key is called in lists and limits, such as web.")],
    scopes: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(Scope)}.")],
    user: Annotated[str | None, typer.Option(help="The user it is bound to. [default: it acts for any]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a key and its entry for API_KEYS. Nothing keeps the key itself: it is shown this once."""
    try:
        made = create_key(name, read_scopes(scopes, ","), user)
    except ConfigurationError as error:
        raise ConfigurationError(f"no key was made: {error}") from None
    if as_json:
        typer.echo(json.dumps({"key": made.key, "entry": str(made.entry)}))
        return
    typer.echo(
        f"The key, shown this once: clients send it as `Authorization: Bearer KEY`.\n\n"
        f"  {made.key}\n\n"
        "Its entry, which holds no secret: add it to API_KEYS, after a comma if there are others, and start the API "
        f"again.\n\n  {made.entry}\n"
    )


@keys.command("list")
def show(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the keys that API_KEYS accepts: who has them, and what they are good for."""
    entries = list(KeyRing.parse(load_settings().API_KEYS))
    if as_json:
        typer.echo(json.dumps([_shown(entry) for entry in entries], indent=2))
    elif entries:
        Console().print(_table(entries))
    else:
        typer.echo("API_KEYS is empty: the service asks for no key, and listens on this machine alone.")


def _shown(entry: KeyEntry) -> dict[str, str | list[str] | None]:
    return {"name": entry.name, "user": entry.user, "scopes": [scope for scope in Scope if scope in entry.scopes]}


def _table(entries: Sequence[KeyEntry]) -> Table:
    table = Table("name", "user", "scopes")
    for entry in entries:
        scopes = " ".join(scope for scope in Scope if scope in entry.scopes)
        table.add_row(entry.name, "any" if entry.user is None else Text(entry.user), scopes)
    return table
