"""The `orchestrator` command: finds in `commands` what is run, and turns a failure into a line and an exit code."""

import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typing_extensions import override

from core.orchestrator.errors import ConfigurationError, OrchestratorError
from core.orchestrator.processes import leave

COMMANDS = {
    "up": "commands.serving",
    "worker": "commands.serving",
    "api": "commands.serving",
    "chat": "commands.chat",
    "migrate": "commands.setup",
    "setup": "commands.setup",
    "personas": "commands.personas",
    "keys": "commands.keys",
    "usage": "commands.usage",
    "replay": "commands.replay",
}
"""In the order of the help text, and where each is found, under its own name. A server takes a second to import all
that it is made of; whoever only makes a key, or chats, need not wait for that."""


class _Commands(TyperGroup):
    @override
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        if not isinstance(command, typer.Typer):
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            alone.command(cmd_name)(command)
            command = alone
        return typer.main.get_command(command)


app = typer.Typer(
    cls=_Commands,
    help="The durable LLM layer: every interaction with a persona is a Temporal workflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orchestrator {version('ai-orchestrator')}")
        raise typer.Exit


@app.callback()
def _orchestrator(
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Make this a group, though no command is known before it is asked for."""


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
