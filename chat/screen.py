"""What the chat shows. Nothing that a model or the service says is taken for markup, or for a terminal's command."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.orchestrator.examples.terminal import GrowingText, clean

_NAME = "bold"
_DIM = "dim"
_MARK = "yellow"


class Screen:
    """A terminal, or a file in its place."""

    def __init__(self, console: Console) -> None:
        """Show everything on `console`."""
        self._console = console

    def reply(self, speaker: str) -> GrowingText:
        """Begin a reply. In a terminal it is shown as it grows; elsewhere a caller shows the end alone."""
        self._line(speaker, _NAME)
        return GrowingText(self._write, self.note)

    @property
    def is_terminal(self) -> bool:
        """Whether somebody may be looking."""
        return self._console.is_terminal

    def note(self, line: str) -> None:
        """Show a line that may be overlooked."""
        self._line(line, _DIM)

    def mark(self, line: str) -> None:
        """Show a line that should not be overlooked."""
        self._line(line, _MARK)

    def say(self, text: str) -> None:
        """Show a text as it is."""
        self._line(text, "")

    def greet(self, persona: dict[str, Any]) -> None:
        """Show who answers, and what they say before anything was said."""
        introduction = Text.assemble((clean(persona["name"]), _NAME), (f" · {clean(persona['description'])}", _DIM))
        self._console.print(introduction, soft_wrap=True)
        if persona["greeting"]:
            self.say(persona["greeting"])

    def personas(self, personas: list[dict[str, Any]]) -> None:
        """Show who could answer."""
        table = Table("id", "name", "description", box=None, header_style=_DIM)
        for persona in personas:
            table.add_row(*(Text(clean(persona[field])) for field in ("id", "name", "description")))
        self._console.print(table)

    def _write(self, text: str) -> None:
        self._console.out(text, end="", highlight=False)

    def _line(self, text: str, style: str) -> None:
        self._console.print(Text(clean(text), style), soft_wrap=True)


def facts_of(response: dict[str, Any]) -> str:
    """Return what a reply took, in one line."""
    usage = response["usage"]
    cost = "cost unknown"
    if usage["cost_usd"] is not None:
        cost = f"{usage['cost_usd']:.6f} USD"
    elif usage.get("estimated_cost_usd") is not None:
        cost = f"about {usage['estimated_cost_usd']:.6f} USD"
    unknown = usage["total_tokens"] is None
    tokens = "tokens unknown" if unknown else f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens"
    facts = [response["model"] or "no model", tokens, cost]
    if response["response_time_ms"] is not None:
        facts.append(f"{response['response_time_ms'] / 1000:.1f} s")
    return " · ".join(facts)


def ending_of(response: dict[str, Any]) -> str | None:
    """Return how a reply ended, if that is not by saying all."""
    error = response["error"]
    why = f": {error['type']}: {error['detail']}" if error else ""
    match response["status"]:
        case "completed":
            return None
        case "cancelled":
            return "cancelled"
        case "incomplete":
            return f"incomplete{why}"
        case _ if response["degraded"]:
            return f"no model answered{why}"
        case status:
            return f"{status}{why}"
