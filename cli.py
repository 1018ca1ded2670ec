"""Composition root: the `orchestrator` command."""

import asyncio
import getpass
import json
import sys
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from temporalio.client import WorkflowHistory

from api.app import create_app
from api.keys_command import keys_command
from api.server import serve
from chat.loop import run_chat
from core.orchestrator.access.exposure import check_exposure
from core.orchestrator.agents.formatter import check_formatters
from core.orchestrator.application import start_application
from core.orchestrator.config import Settings, load_settings
from core.orchestrator.errors import ConfigurationError, OrchestratorError
from core.orchestrator.examples.service_client import ClientError
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.plugins import load_plugins
from core.orchestrator.processes import leave, stop_requested
from core.orchestrator.storage.address import name_of
from core.orchestrator.storage.database import open_database
from core.orchestrator.usage import GroupBy, UsageReport, UsageReports, UsageSum
from embedded.up import up as run_everything
from temporal.client import connect
from temporal.payloads import data_converter
from temporal.replay import count_of, histories_of, history_in, history_of
from temporal.replay import replay as replay_histories
from temporal.setup import make_namespace, prepare_namespace
from temporal.telemetry import telemetry
from worker import run_worker
from workflows.all import WORKFLOWS

app = typer.Typer(
    help="The durable LLM layer: every interaction with a persona is a Temporal workflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(keys_command, name="keys")
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
def usage(
    group_by: Annotated[GroupBy, typer.Option(help="What to sum by.")] = GroupBy.MODEL,
    since: Annotated[str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="First day, UTC.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="Last day, UTC.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show tokens and cost."""
    report = asyncio.run(_usage(load_settings(), group_by, _day(since), _day(until)))
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        out.print(_usage_table(report))


async def _usage(settings: Settings, group_by: GroupBy, since: date | None, until: date | None) -> UsageReport:
    database = open_database(settings.database)
    try:
        await database.prepare()
        return await UsageReports(database).report(group_by, since, until)
    finally:
        await database.close()


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"'{text}' is not a day such as 2026-01-31") from None


def _usage_table(report: UsageReport) -> Table:
    table = Table(caption="tokens; cost in USD; unknown: calls whose cost no provider told, ~ their estimate")
    table.add_column(report.group_by, overflow="fold")
    for heading in ("runs", "calls", "prompt", "reply", "total", "cost", "unknown"):
        table.add_column(heading, justify="right", no_wrap=True)
    for item in report.items:
        table.add_row(item.key or "-", *_usage_cells(item))
    table.add_section()
    table.add_row("all", *_usage_cells(report.total))
    return table


def _usage_cells(item: UsageSum) -> list[str]:
    counts = (item.interactions, item.calls, item.prompt_tokens, item.completion_tokens, item.total_tokens)
    costs = [] if item.cost_usd is None else [f"{item.cost_usd:.6f}"]
    costs += [] if item.estimated_cost_usd is None else [f"~{item.estimated_cost_usd:.6f}"]
    return [*(f"{count:,}" for count in counts), "\n".join(costs or ["unknown"]), f"{item.unknown_cost_calls:,}"]


@app.command()
def replay(
    workflow_id: Annotated[str | None, typer.Argument(help="Such as interaction-0198….")] = None,
    query: Annotated[str | None, typer.Option(help="Replay all that match, such as 'Fallbacks > 0'.")] = None,
    history: Annotated[
        Path | None, typer.Option(help="A file written by `temporal workflow show --output json`.")
    ] = None,
    allow_empty: Annotated[bool, typer.Option(help="Succeed although --query finds no run.")] = False,
) -> None:
    """Replay histories against the code of today and say what differs; exit code 1 if anything does.

    A query that finds nothing is exit code 1 as well: nothing was compared.
    """
    if sum(source is not None for source in (workflow_id, query, history)) != 1:
        raise ConfigurationError("replay needs exactly one of WORKFLOW_ID, --query and --history")
    same, different = asyncio.run(_replay(load_settings(), workflow_id, query, history))
    if same + different == 0:
        out.print(f"nothing was compared: no run matches {query}", soft_wrap=True, markup=False, highlight=False)
    if different or not (same or allow_empty):
        raise typer.Exit(1)


async def _replay(
    settings: Settings, workflow_id: str | None, query: str | None, history: Path | None
) -> tuple[int, int]:
    """Return how many go the same way, and how many do not."""
    histories: AsyncIterator[WorkflowHistory]
    if history is not None:
        histories = history_in(history)
    elif query is not None:
        client = await connect(settings)
        out.print(f"{await count_of(client, query)} to replay")
        histories = histories_of(client, query)
    else:
        histories = history_of(await connect(settings), str(workflow_id))
    same = different = 0
    async for result in replay_histories(WORKFLOWS, histories, data_converter(settings.PAYLOAD_ENCRYPTION_KEYS)):
        if result.difference is None:
            same += 1
            out.print(f"same     {result.workflow_id}  {result.events} events", soft_wrap=True)
        else:
            different += 1
            out.print(f"differs  {result.workflow_id}  {result.difference}", soft_wrap=True, markup=False)
    out.print(f"{same} go the same way, {different} differ")
    return same, different


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
