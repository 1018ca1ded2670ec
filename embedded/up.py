"""`orchestrator up`: Temporal, the worker, the API and, without a key, the stand-in; ended together."""

import asyncio
from datetime import timedelta

from pydantic import SecretStr
from rich.console import Console
from temporalio.client import Client

from api.app import create_app
from api.server import serve
from core.orchestrator.access.keys import KeyRing
from core.orchestrator.application import Application, register_openrouter, start_application
from core.orchestrator.config import Settings
from core.orchestrator.processes import spare_what_stays, stop_requested
from embedded.children import Children
from embedded.first_interaction import make_guest, show_first_interaction
from embedded.ports import check_port_is_free
from embedded.standin_server import start_standin
from embedded.temporal_server import HOST, start_temporal
from temporal.client import connect
from temporal.setup import prepare_namespace
from temporal.telemetry import telemetry
from worker import build_worker, looking_back, running

_ANY_KEY = "none"
"""The stand-in takes any key. One this short is no secret, so it is taken out of no text."""


async def up(settings: Settings, console: Console, *, hello: bool) -> None:
    """Run everything until Ctrl-C or SIGTERM.

    Args:
        settings: with TEMPORAL_ADDRESS set, that server is used instead of one of our own.
        console: where progress is shown.
        hello: perform one interaction when all is ready.

    Raises:
        ConfigurationError: a setting is wrong, or a port is in use; nothing is left running.
        ChildFailedError: Temporal or the stand-in did not start, or ended; nothing is left running.
        WorkflowServiceUnavailableError: the Temporal at TEMPORAL_ADDRESS does not answer.
    """
    settings = _for_one_machine(settings)
    stop = stop_requested()
    children = Children(settings.DATA_DIR)
    for name in children.take_over():
        console.print(f"[yellow]ended[/yellow] {name}, left over from an earlier run")
    _check_ports(settings)
    try:
        await _run(settings, console, children, stop, hello=hello)
    finally:
        if await children.stop():
            console.print("stopped")


async def _run(settings: Settings, console: Console, children: Children, stop: asyncio.Event, *, hello: bool) -> None:
    application = await start_application(settings, embedded=True)
    try:
        if settings.OPENROUTER_API_KEY is None:
            await _use_standin(settings, console, children)
        async with telemetry(application):
            client = await _temporal(settings, console, children)
            watching = asyncio.create_task(_stop_without(children, stop))
            try:
                await _serve(application, client, console, stop, hello=hello)
            finally:
                watching.cancel()
        children.check()
    finally:
        await application.close()


async def _stop_without(children: Children, stop: asyncio.Event) -> None:
    """Stop when a child has ended: without Temporal nothing is accepted, without the stand-in nothing answered."""
    await children.one_ended()
    stop.set()


async def _use_standin(settings: Settings, console: Console, children: Children) -> None:
    url = await start_standin(children)
    register_openrouter(
        settings.model_copy(update={"OPENROUTER_BASE_URL": url, "OPENROUTER_API_KEY": SecretStr(_ANY_KEY)})
    )
    console.print(f"[green]✓[/green] stand-in for OpenRouter at {url}")
    console.print("  [bold yellow]OPENROUTER_API_KEY is not set: replies come from the stand-in, not a model.[/]")


async def _temporal(settings: Settings, console: Console, children: Children) -> Client:
    if settings.TEMPORAL_ADDRESS is not None:
        client = await connect(settings)
        await prepare_namespace(client, timedelta(days=settings.HISTORY_RETENTION_DAYS))
        console.print(f"[green]✓[/green] Temporal at {settings.TEMPORAL_ADDRESS}")
        return client
    with console.status("starting the Temporal dev server"):
        client = await start_temporal(settings, children)
    console.print(
        f"[green]✓[/green] Temporal dev server at {HOST}:{settings.TEMPORAL_PORT}, its UI at {_ui_url(settings)}"
    )
    return client


async def _serve(
    application: Application, client: Client, console: Console, stop: asyncio.Event, *, hello: bool
) -> None:
    settings = application.settings
    # First the callers get their answers, while the worker still works; then the worker finishes its calls.
    grace = settings.shutdown_grace / 2
    ready = asyncio.Event()
    async with (
        application.catalogue.kept_fresh(),
        running(build_worker(application, client, grace), grace),
        looking_back(application, client),
        application.trimmer.kept_trimmed(),
    ):
        console.print(f"[green]✓[/green] worker on task queue '{settings.TASK_QUEUE}'")
        guest = make_guest() if hello and application.keys else None
        keys = KeyRing([*application.keys, guest.entry]) if guest is not None else application.keys
        front = create_app(application, client, keys)
        serving = asyncio.create_task(serve(front, settings, stop=stop, grace=grace, ready=ready))
        listening = asyncio.create_task(ready.wait())
        await asyncio.wait((serving, listening), return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if ready.is_set():
            spare_what_stays()
            url = f"http://{settings.API_HOST}:{settings.API_PORT}"
            console.print(f"[green]✓[/green] API at {url} and its docs at {url}/docs")
            if hello and not stop.is_set():
                ui_url = _ui_url(settings) if settings.TEMPORAL_ADDRESS is None else None
                await show_first_interaction(settings, ui_url, console, guest)
            console.print("\nCtrl-C stops everything; conversations are kept.")
        telling = asyncio.create_task(_tell_stopping(stop, console, grace))
        try:
            await serving
        finally:
            telling.cancel()


async def _tell_stopping(stop: asyncio.Event, console: Console, grace: timedelta) -> None:
    await stop.wait()
    console.print(
        f"stopping … replies under way may take up to {grace.total_seconds():g} seconds; Ctrl-C again cuts them off"
    )


def _for_one_machine(settings: Settings) -> Settings:
    """Return the settings with what goes without saying here.

    All runs as one build, begun and ended together: there is nothing to be current, or to wait for. And where payloads
    are encrypted, the UI of our own Temporal may show them.
    """
    update: dict[str, object] = {"WORKER_DEPLOYMENT_NAME": None, "WORKER_BUILD_ID": None}
    if settings.TEMPORAL_ADDRESS is None:
        ours = [f"http://{host}:{settings.TEMPORAL_UI_PORT}" for host in (HOST, "localhost")]
        update["CODEC_ORIGINS"] = [*settings.CODEC_ORIGINS, *ours]
    return settings.model_copy(update=update)


def _check_ports(settings: Settings) -> None:
    check_port_is_free(settings.API_HOST, settings.API_PORT, "API", "--port")
    if settings.TEMPORAL_ADDRESS is None:
        check_port_is_free(HOST, settings.TEMPORAL_PORT, "Temporal", "--temporal-port")
        check_port_is_free(HOST, settings.TEMPORAL_UI_PORT, "Temporal UI", "--ui-port")


def _ui_url(settings: Settings) -> str:
    return f"http://{HOST}:{settings.TEMPORAL_UI_PORT}"
