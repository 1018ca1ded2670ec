"""`orchestrator up`, `worker` and `api`: the processes of the service."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api.app import create_app
from api.server import serve
from core.orchestrator.access.exposure import check_exposure
from core.orchestrator.application import start_application
from core.orchestrator.config import Settings, load_settings
from core.orchestrator.processes import run_process, spare_what_stays, stop_requested
from embedded.up import up as run_everything
from temporal.client import connect
from temporal.telemetry import telemetry
from worker import run_worker

Insecure = Annotated[
    bool, typer.Option("--insecure", help="Listen beyond this machine without API_KEYS: anybody may do everything.")
]
DataDir = Annotated[Path | None, typer.Option(help="Databases and process records. [default: .orchestrator]")]


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
    run_process(run_everything(settings, Console(), hello=hello))


def worker() -> None:
    """Run one worker against TEMPORAL_ADDRESS until SIGTERM; the same as `python worker.py`."""
    run_process(run_worker(load_settings()))


def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [default: 8000]")] = None,
    insecure: Insecure = False,
) -> None:
    """Run one API process against TEMPORAL_ADDRESS until SIGTERM."""
    settings = load_settings(API_HOST=host, API_PORT=port)
    _check_exposure(settings, insecure)
    run_process(_api(settings))


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
            beginning = asyncio.create_task(_begin(ready, settings))
            await serve(front, settings, stop=stop, grace=settings.shutdown_grace, ready=ready)
        beginning.cancel()
    finally:
        await application.close()


async def _begin(ready: asyncio.Event, settings: Settings) -> None:
    await ready.wait()
    spare_what_stays()
    Console().print(f"API at http://{settings.API_HOST}:{settings.API_PORT}")
