"""One interaction over HTTP, to show a newcomer that all of it works, and what to try next."""

import httpx
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from core.orchestrator.access.caller import Scope
from core.orchestrator.access.keys import NewKey, create_key
from core.orchestrator.config import Settings

_TIMEOUT_SECONDS = 120
_USER = "newcomer"
_SESSION = "first-steps"
_MESSAGE = "Hello! Who are you, and do you remember me?"


def make_guest() -> NewKey:
    """Return a key for the first interaction alone, for a service that asks for keys; nobody is told it."""
    return create_key("first-interaction", frozenset({Scope.INTERACT}), _USER)


async def show_first_interaction(
    settings: Settings, ui_url: str | None, console: Console, guest: NewKey | None
) -> None:
    """Send a message, with the key of a guest where keys are asked for; print the reply and what can be done next."""
    url = f"http://{settings.API_HOST}:{settings.API_PORT}"
    console.print(f"\n[dim]POST {url}/api/llm/interact[/dim]  {_MESSAGE}", soft_wrap=True)
    try:
        headers = {"Authorization": f"Bearer {guest.key}"} if guest else {}
        async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_SECONDS, headers=headers) as client:
            response = await client.post(
                "/api/llm/interact", json={"message": _MESSAGE, "user_id": _USER, "session_id": _SESSION}
            )
        answer = response.raise_for_status().json()
    except httpx.HTTPError as error:
        # The service stays up: what is wrong may be mended, or be somebody else's.
        console.print(f"[red]no reply[/red]: {error or type(error).__name__}", soft_wrap=True)
        return
    who = answer["persona_name"] or answer["persona_id"]
    title = f"{who} · {answer['model'] or 'no model answered'} · {answer['response_time_ms']} ms"
    console.print(Panel(Text(answer["message"] or ""), title=title, title_align="left"))
    if answer["error"] is not None:
        console.print(f"[yellow]{answer['error']['type']}[/yellow]: {answer['error']['detail']}")
    talk = f'{{"message": "Tell me a story", "user_id": "{_USER}", "session_id": "{_SESSION}"}}'
    client_url = "" if Settings.model_fields["API_PORT"].default == settings.API_PORT else f" --url {url}"
    by_client = f"python core/orchestrator/examples/llm_client.py{client_url} --message 'Tell me a story'"
    curl = 'curl -H "Authorization: Bearer $ORCHESTRATOR_API_KEY"' if guest else "curl"
    next_steps = {
        "this very run": f"{ui_url}/namespaces/default/workflows/{answer['workflow_id']}"
        if ui_url
        else f"temporal workflow show --workflow-id {answer['workflow_id']}",
        "API docs": f"{url}/docs",
        "why this reply": f"{curl} {url}/api/llm/interactions/{answer['interaction_id']}/explain",
        "talk by curl": f"{curl} {url}/api/llm/interact -H 'content-type: application/json' -d '{talk}'",
        "talk by client": f"{by_client} --persona-id sophia --stream",
        "chat": f".venv/bin/orchestrator chat{client_url}",
        "OpenAI's SDKs": f"base URL {url}/v1, model cherry: docs/clients.md",
        "see a fallback": f"{by_client} --model standin/down --fallback-model openai/gpt-4o",
    }
    console.print("\n[bold]What to try next[/bold]")
    if guest:
        console.print("  with a key of any user in ORCHESTRATOR_API_KEY: `orchestrator keys create` makes one")
    for what, how in next_steps.items():
        console.print(f"  [cyan]{what:<15}[/cyan]{how}", soft_wrap=True, highlight=False)
