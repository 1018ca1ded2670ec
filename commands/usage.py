"""`orchestrator usage`: what was used and what it cost, as a table or as JSON."""

import asyncio
from datetime import date
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from core.orchestrator.config import Settings, load_settings
from core.orchestrator.errors import ConfigurationError
from core.orchestrator.storage.database import open_database
from core.orchestrator.usage import GroupBy, UsageReport, UsageReports, UsageSum


def usage(
    group_by: Annotated[GroupBy, typer.Option(help="What to sum by.")] = GroupBy.MODEL,
    since: Annotated[str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="First day, UTC.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="Last day, UTC.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show tokens and cost."""
    report = asyncio.run(_report(load_settings(), group_by, _day(since), _day(until)))
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        Console().print(_table(report))


async def _report(settings: Settings, group_by: GroupBy, since: date | None, until: date | None) -> UsageReport:
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


def _table(report: UsageReport) -> Table:
    table = Table(caption="tokens; cost in USD; unknown: calls whose cost no provider told, ~ their estimate")
    table.add_column(report.group_by, overflow="fold")
    for heading in ("runs", "calls", "prompt", "reply", "total", "cost", "unknown"):
        table.add_column(heading, justify="right", no_wrap=True)
    for item in report.items:
        table.add_row(item.key or "-", *_cells(item))
    table.add_section()
    table.add_row("all", *_cells(report.total))
    return table


def _cells(item: UsageSum) -> list[str]:
    counts = (item.interactions, item.calls, item.prompt_tokens, item.completion_tokens, item.total_tokens)
    costs = [] if item.cost_usd is None else [f"{item.cost_usd:.6f}"]
    costs += [] if item.estimated_cost_usd is None else [f"~{item.estimated_cost_usd:.6f}"]
    return [*(f"{count:,}" for count in counts), "\n".join(costs or ["unknown"]), f"{item.unknown_cost_calls:,}"]
