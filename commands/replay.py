"""`orchestrator replay`: histories against the code of today, for a person or as a gate before a roll-out."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from temporalio.client import WorkflowHistory

from core.orchestrator.config import Settings, load_settings
from core.orchestrator.errors import ConfigurationError
from temporal.client import connect
from temporal.payloads import data_converter
from temporal.replay import count_of, histories_of, history_in, history_of
from temporal.replay import replay as replay_histories
from workflows.all import WORKFLOWS


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
    out = Console()
    same, different = asyncio.run(_replay(load_settings(), out, workflow_id, query, history))
    if same + different == 0:
        out.print(f"nothing was compared: no run matches {query}", soft_wrap=True, markup=False, highlight=False)
    if different or not (same or allow_empty):
        raise typer.Exit(1)


async def _replay(
    settings: Settings, out: Console, workflow_id: str | None, query: str | None, history: Path | None
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
