"""Composition root: the `orchestrator` command."""

import asyncio
import getpass
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from api.app import create_app
from api.server import serve
from chat.loop import run_chat
from commands.keys import keys_command
from commands.replay import replay
from commands.usage import usage
from core.orchestrator.access.exposure import check_exposure
from core.orchestrator.agents.formatter import check_formatters
from core.orchestrator.application import start_application
from core.orchestrator.config import Settings, load_settings
from core.orchestrator.errors import ConfigurationError, OrchestratorError
from core.orchestrator.examples.service_client import ClientError
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.plugins import load_plugins
from core.orchestrator.processes import keep_memory_in_few_pools, leave, stop_requested
from core.orchestrator.storage.address import name_of
from core.orchestrator.storage.database import open_database
from embedded.up import up as run_everything
from temporal.client import connect
from temporal.setup import make_namespace, prepare_namespace
from temporal.telemetry import telemetry
from worker import run_worker

app = typer.Typer(
    help="The durable LLM layer: every interaction with a persona is a Temporal workflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(keys_command, name="keys")
app.command()(usage)
app.command()(replay)
out = Console()

Insecure = Annotated[
    bool, typer.Option("--insecure", help="Listen beyond this machine without API_KEYS: anybody may do everything.")
]
DataDir = Annotated[Path | None, typer.Option(help="Databases and process records. [default: .orchestrator]")]


@app.command()
def up(
    *,
    port: Annotated[int | None, typer.Option(help="Port of the API. [default: 8000]")] = None,
    temporal_port: Annotated[int | None, typer.Option(help="Port of Temporal. [default: 7233]")] = None,
    ui_port: Annotated[int | None, typer.Option(help="Port of the Temporal UI. [default: 8233]")] = None,
    data_dir: DataDir = None,
    hello: Annotated[bool, typer.Option(help="Perform one interaction when all is ready.")] = False,
    insecure: Insecure = False,
) -> None:
    """Run everything on this machine until Ctrl-C: Temporal, worker, API and, without a key, a stand-in.

    With TEMPORAL_ADDRESS set, that Temporal is used instead of one of our own.
    """
    settings = load_settings(API_PORT=port, TEMPORAL_PORT=temporal_port, TEMPORAL_UI_PORT=ui_port, DATA_DIR=data_dir)
    _check_exposure(settings, insecure)
    asyncio.run(run_everything(settings, out, hello=hello))


@app.command()
def worker() -> None:
    """Run one worker against TEMPORAL_ADDRESS until SIGTERM; the same as `python worker.py`."""
    asyncio.run(run_worker(load_settings()))


@app.command()
def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [default: 8000]")] = None,
    insecure: Insecure = False,
) -> None:
    """Run one API process against TEMPORAL_ADDRESS until SIGTERM."""
    settings = load_settings(API_HOST=host, API_PORT=port)
    _check_exposure(settings, insecure)
    asyncio.run(_api(settings))


def _check_exposure(settings: Settings, insecure: bool) -> None:
    """Return if nobody can reach the service who should not, or if that is wanted: then warn of it."""
    if warning := check_exposure(settings, insecure=insecure):
        Console(stderr=True).print(f"[bold red]warning:[/] {warning}", soft_wrap=True, highlight=False)


async def _api(settings: Settings) -> None:
    keep_memory_in_few_pools()
    stop = stop_requested()
    application = await start_application(settings)
    try:
        async with telemetry(application), application.catalogue.kept_fresh():
            front = create_app(application, await connect(settings, lazy=True))
            ready = asyncio.Event()
            telling = asyncio.create_task(_tell_ready(ready, settings))
            await serve(front, settings, stop=stop, grace=settings.shutdown_grace, ready=ready)
        telling.cancel()
    finally:
        await application.close()


async def _tell_ready(ready: asyncio.Event, settings: Settings) -> None:
    await ready.wait()
    out.print(f"API at http://{settings.API_HOST}:{settings.API_PORT}")


@app.command()
def chat(
    *,
    url: Annotated[str | None, typer.Option(help="The service. [default: that of API_HOST and API_PORT]")] = None,
    persona_id: Annotated[str | None, typer.Option(help="Who answers. [default: DEFAULT_PERSONA_ID]")] = None,
    user_id: Annotated[
        str | None, typer.Option(help="Who talks. [default: the user of the key, else your name on this machine]")
    ] = None,
    session_id: Annotated[str | None, typer.Option(help="The conversation to continue. [default: a new one]")] = None,
    model: Annotated[str | None, typer.Option(help="Such as openai/gpt-4, or provider:model.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="ORCHESTRATOR_API_KEY", help="The key of the service, where it asks for one.")
    ] = None,
) -> None:
    """Chat in the terminal with a persona of a running service; /help there lists the commands."""
    settings = load_settings()
    try:
        run_chat(
            out,
            url or f"http://{settings.API_HOST}:{settings.API_PORT}",
            user_id=user_id or (None if api_key else _name_of_user()),
            default_persona_id=settings.DEFAULT_PERSONA_ID,
            persona_id=persona_id,
            session_id=session_id,
            model=model,
            api_key=api_key,
        )
    except ClientError as error:
        raise typer.Exit(_complain(str(error), 1)) from error


def _name_of_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container whose user has no name
        return "user"


@app.command()
def migrate() -> None:
    """Bring the database's schema up to date. Safe to repeat, and for several at once."""
    asyncio.run(_migrate(load_settings()))


async def _migrate(settings: Settings) -> None:
    database = open_database(settings.database)
    try:
        migration = await database.migrate()
    finally:
        await database.close()
    out.print(f"database {name_of(settings.database)}: {migration}", soft_wrap=True, markup=False, highlight=False)


@app.command()
def setup() -> None:
    """Prepare a fresh Temporal cluster and database: namespace, search attributes, schema. Safe to repeat."""
    asyncio.run(_setup(load_settings()))


async def _setup(settings: Settings) -> None:
    await _migrate(settings)
    client = await connect(settings)
    retention = timedelta(days=settings.HISTORY_RETENTION_DAYS)
    changes = [*await make_namespace(client, retention), *await prepare_namespace(client, retention)]
    for change in changes or ["nothing to change"]:
        out.print(f"namespace {client.namespace}: {change}")


@app.command()
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
    out.print(table)


def main() -> NoReturn:
    """Run the command line and end the process."""
    leave(run())


def run() -> int:
    """Run the command line and return the exit code: 2 for a wrong setting, told in one line, 1 for other failures."""
    try:
        app()
    except ConfigurationError as error:
        return _complain(str(error), 2)
    except OrchestratorError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return 130
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    return 0


def _complain(message: str, code: int) -> int:
    for line in message.splitlines():
        print(f"error: {line}" if not line.startswith(" ") else line, file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    main()
