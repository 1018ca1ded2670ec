"""What the routes do: open an interaction in the store, start its workflow, wait for its end."""

import asyncio
from contextlib import suppress

from uuid6 import uuid7

from core.orchestrator.application import Application
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.contracts import (
    CompletionRequest,
    InteractionRequest,
    InteractionView,
    workflow_id_of,
)
from core.orchestrator.errors import UnknownResourceError, WorkflowServiceUnavailableError
from core.orchestrator.events import InteractionCreated
from temporal.runs import WorkflowRuns


def new_id() -> str:
    """Return a UUIDv7: unique, and ordered by time."""
    return str(uuid7())


class InteractionService:
    """Accepts interactions and tells how they end."""

    def __init__(self, application: Application, runs: WorkflowRuns) -> None:
        """Keep interactions in the application's store and run them through `runs`."""
        self._application = application
        self._store = application.store
        self._runs = runs
        self._settlement = application.settlement(runs)
        self._leaving = asyncio.Event()

    async def accept(self, request: InteractionRequest) -> None:
        """Open a turn and start its workflow: only a recorded start is accepted.

        Raises:
            UnknownResourceError: the persona or the agent does not exist; nothing was stored.
            SessionOwnershipError: the session belongs to another user; nothing was stored.
            StorageUnavailableError: the database did not answer; nothing was stored.
            WorkflowServiceUnavailableError: Temporal did not answer. Unless the start was recorded all the same,
                the turn will be settled as abandoned.
        """
        self._application.personas.get(request.persona_id)
        if request.agent is not None and request.agent not in self._application.agents:
            raise UnknownResourceError("agent", request.agent)
        await self._store.open_turn(request)
        await self._runs.start(request)
        self._application.events.publish(
            InteractionCreated(
                interaction_id=request.interaction_id,
                session_id=request.session_id,
                persona_id=request.persona_id,
                workflow_id=workflow_id_of(request.interaction_id),
            )
        )

    async def accept_completion(self, request: CompletionRequest, prompt: Prompt) -> None:
        """Keep a bare completion's messages and start its workflow.

        Raises:
            StorageUnavailableError: the database did not answer; nothing was stored.
            WorkflowServiceUnavailableError: Temporal did not answer.
        """
        await self._store.open_completion(request, prompt)
        await self._runs.start(request)
        self._application.events.publish(
            InteractionCreated(
                interaction_id=request.interaction_id, workflow_id=workflow_id_of(request.interaction_id)
            )
        )

    def leave(self) -> None:
        """End every wait: the process is about to stop, and its callers are told where to find their replies."""
        self._leaving.set()

    async def result(self, interaction_id: str) -> InteractionView:
        """Wait until an interaction has ended and return it.

        Raises:
            WorkflowServiceUnavailableError: Temporal stopped answering, or the process is about to stop; the
                interaction goes on all the same.
            StorageUnavailableError: the database did not answer.
        """
        view = None
        # An operator who resets a run ends it, and another one goes on in its place.
        while view is None or not view.status.is_final:
            try:
                await self._wait(interaction_id)
            except WorkflowServiceUnavailableError:
                view = await self._store.view(interaction_id)
                if not view.status.is_final:
                    raise
            else:
                view = await self.current(interaction_id)
        return view

    async def _wait(self, interaction_id: str) -> None:
        ended = asyncio.create_task(self._runs.wait(interaction_id))
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait((ended, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                raise WorkflowServiceUnavailableError(
                    "this process is stopping; the interaction goes on and can be read by its id",
                    interaction_id=interaction_id,
                )
            await ended
        finally:
            ended.cancel()
            leaving.cancel()

    async def current(self, interaction_id: str, wait_seconds: float = 0) -> InteractionView:
        """Return an interaction as it is now, or as soon as it has ended within `wait_seconds`.

        Raises:
            UnknownResourceError: there is none of that id.
            StorageUnavailableError: the database did not answer.
        """
        view = await self._store.view(interaction_id)
        if view.status.is_final:
            return view
        if wait_seconds:
            with suppress(TimeoutError, WorkflowServiceUnavailableError):
                async with asyncio.timeout(wait_seconds):
                    await self._runs.wait(interaction_id)
        await self._settlement.settle_if_gone(interaction_id)
        return await self._store.view(interaction_id)
