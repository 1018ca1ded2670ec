"""Asking a provider for its list. It may be anybody's code: it may never answer, not be stopped, or raise anything."""

import asyncio
from datetime import timedelta

from core.orchestrator.contracts import ModelInfo
from core.orchestrator.foreign import must_go_on
from core.orchestrator.models.listing import sound_models
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.providers.untrusted import one_line

_TIMEOUT = timedelta(seconds=30)
_FAREWELL = timedelta(seconds=1)
"""So long a provider may take to end when it is told to."""


async def listed_by(provider: LLMProvider) -> dict[str, ModelInfo]:
    """Ask a provider, in a task of its own: one that never answers, and will not be cancelled, is left behind."""
    task = asyncio.create_task(_outcome_of(provider))
    try:
        await asyncio.wait((task,), timeout=_TIMEOUT.total_seconds())
        if not task.done():
            raise TimeoutError(f"no answer within {_TIMEOUT.total_seconds():g} seconds")
    finally:
        if task.cancel():
            await asyncio.wait((task,), timeout=_FAREWELL.total_seconds())
    outcome = task.result()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def _outcome_of(provider: LLMProvider) -> dict[str, ModelInfo] | BaseException:
    try:
        return sound_models(await provider.list_models())
    except BaseException as error:
        if must_go_on(error):
            raise
        return error  # raised out of a task, a SystemExit would end the process


def described(error: BaseException) -> str:
    """Return what went wrong in one line, whatever was raised."""
    try:
        return one_line(f"{type(error).__name__}: {error}")
    except Exception:  # noqa: BLE001 - somebody else's exception, down to its __str__
        return type(error).__name__
