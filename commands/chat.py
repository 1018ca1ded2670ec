"""`orchestrator chat`: a conversation in the terminal."""

import getpass
from typing import Annotated

import typer
from rich.console import Console

from chat.loop import run_chat
from core.orchestrator.config import load_settings
from core.orchestrator.errors import OrchestratorError
from core.orchestrator.examples.service_client import ClientError


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
            Console(),
            url or f"http://{settings.API_HOST}:{settings.API_PORT}",
            user_id=user_id or (None if api_key else _name_of_user()),
            default_persona_id=settings.DEFAULT_PERSONA_ID,
            persona_id=persona_id,
            session_id=session_id,
            model=model,
            api_key=api_key,
        )
    except ClientError as error:
        raise OrchestratorError(str(error)) from error


def _name_of_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container whose user has no name
        return "user"
