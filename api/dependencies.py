"""What routes ask for, by type.

Each of them is a coroutine, though none waits: for others FastAPI takes a thread, and that costs more than they do.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request
from fastapi.exceptions import RequestValidationError

from api.fields import Identifier, InteractionId
from api.readiness import ReadinessCheck
from api.service import InteractionService
from core.orchestrator.access.caller import Caller
from core.orchestrator.application import Application
from core.orchestrator.config import Settings
from core.orchestrator.interactions.erasing import Erasure
from core.orchestrator.log_context import handling

T = TypeVar("T")


def made_here(kind: Callable[..., T]) -> Callable[..., Awaitable[T]]:
    """Return a class as a dependency that is made without a thread; it asks for what its constructor does."""

    async def made(**asked: Any) -> T:
        return kind(**asked)

    made.__signature__ = inspect.signature(kind)  # type: ignore[attr-defined] # FastAPI reads it
    return made


async def _application(request: Request) -> Application:
    application: Application = request.app.state.application
    return application


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.application.settings
    return settings


async def _service(request: Request) -> InteractionService:
    service: InteractionService = request.app.state.service
    return service


async def _erasure(request: Request) -> Erasure:
    erasure: Erasure = request.app.state.erasure
    return erasure


async def _readiness(request: Request) -> ReadinessCheck:
    readiness: ReadinessCheck = request.app.state.readiness
    return readiness


App = Annotated[Application, Depends(_application)]
AppSettings = Annotated[Settings, Depends(_settings)]
Service = Annotated[InteractionService, Depends(_service)]
Eraser = Annotated[Erasure, Depends(_erasure)]
Readiness = Annotated[ReadinessCheck, Depends(_readiness)]


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


Asker = Annotated[Caller, Depends(_caller)]
"""Who sent the request, as the guard found out: see `api/access.py`."""


async def _user_in_query(
    asker: Asker,
    user_id: Annotated[
        Identifier | None, Query(description="Only this user's. Settled by a key that is bound to a user.")
    ] = None,
) -> str | None:
    return asker.named(user_id)


async def _visible(interaction_id: InteractionId, asker: Asker, application: App) -> str:
    handling(interaction_id)
    if asker.user is not None:
        asker.check_owner(await application.store.owner(interaction_id), "interaction", interaction_id)
    return interaction_id


UserInQuery = Annotated[str | None, Depends(_user_in_query)]
"""Whom a request is for: the user of its key, or the one it names, or None."""
VisibleInteraction = Annotated[str, Depends(_visible)]
"""The id of an interaction; another user's is as unknown as one that nobody has."""


def required(user_id: str | None, words: str) -> str:
    """Return whom a request is for.

    Raises:
        RequestValidationError: neither its key says so, nor its query.
    """
    if user_id is None:
        raise RequestValidationError([{"type": "value_error", "loc": ("query", "user_id"), "msg": words}])
    return user_id
