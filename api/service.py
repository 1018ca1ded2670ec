"""What the routes do: open an interaction in the store, start its workflow, wait for its end, cancel it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from datetime import timedelta
from functools import partial

from uuid6 import uuid7

from api.streaming import KEEP_ALIVE, ReplyStream
from api.waiting import Waits
from core.orchestrator.application import Application
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.contracts import CompletionRequest, InteractionRequest, InteractionStatus, InteractionView
from core.orchestrator.errors import (
    OrchestratorError,
    OverloadedError,
    SessionBusyError,
    TooManyOpenError,
    UnknownResourceError,
    WorkflowServiceUnavailableError,
)
from core.orchestrator.events import EVERY_EVENT
from core.orchestrator.interactions.door import Door
from core.orchestrator.interactions.following import ReplyFollower
from core.orchestrator.interactions.opening import Opened, Opening, created_event
from core.orchestrator.log_context import handling
from core.orchestrator.workflow_ids import workflow_id_of
from temporal.runs import WorkflowRuns

logger = logging.getLogger("orchestrator.api")

_CANCELLED_WITHIN_SECONDS = 2
"""So long a cancelled interaction usually takes to end at most."""


def new_id() -> str:
    """Return a UUIDv7: unique, and ordered by time."""
    return str(uuid7())


class InteractionService:
    """Accepts interactions and tells how they end."""

    def __init__(self, application: Application, runs: WorkflowRuns, follower: ReplyFollower, waits: Waits) -> None:
        """Keep interactions in the application's store and run them through `runs`; follow them, or wait for them."""
        self._application = application
        self._store = application.store
        self._runs = runs
        self._results = application.results(runs)
        self._settlement = application.settlement(runs)
        self._limits = application.limits
        self._room = application.room(runs)
        self._door = Door(max(1, application.settings.DATABASE_CONNECTIONS // 2))  # the others are for those who read
        self._follower = follower
        self._waits = waits
        application.events.subscribe(EVERY_EVENT, waits.tell)
        self._cancelling: set[asyncio.Task[None]] = set()

    # --- accepting ---

    async def accept(self, request: InteractionRequest, opening: Opening) -> Opened:
        """Open a turn and start its workflow: only a recorded start is accepted.

        Returns:
            The turn; with a key that was sent before, the one that it opened then.

        Raises:
            UnknownResourceError: the persona or the agent does not exist; nothing was stored.
            SessionOwnershipError: the session belongs to another user; nothing was stored.
            SessionBusyError: an earlier turn has not ended, and the sender would not wait; nothing was stored.
            IdempotencyConflictError: the key came with another request before; nothing was stored.
            NotNowError: a limit is reached; nothing was stored.
            StorageUnavailableError: the database did not answer; nothing was stored.
            WorkflowServiceUnavailableError: Temporal did not answer. Unless the start was recorded all the same,
                the turn will be settled as abandoned.
        """
        self._application.personas.get(request.persona_id)
        if request.agent is not None and request.agent not in self._application.agents:
            raise UnknownResourceError("agent", request.agent)
        # Those of one session wait for each other out here, not where they would keep others from the database.
        session_id = request.session_id
        async with self._application.database.in_line(session_id) if session_id else nullcontext():
            opened = await self._open(partial(self._store.open_turn, request, opening, self._limits), opening)
        return await self._begin(opened)

    async def accept_completion(self, request: CompletionRequest, prompt: Prompt, opening: Opening) -> Opened:
        """Keep a bare completion's messages and start its workflow.

        Returns:
            The completion; with a key that was sent before, the one that it opened then.

        Raises:
            IdempotencyConflictError: the key came with another request before; nothing was stored.
            NotNowError: a limit is reached; nothing was stored.
            StorageUnavailableError: the database did not answer; nothing was stored.
            WorkflowServiceUnavailableError: Temporal did not answer.
        """
        ask = partial(self._store.open_completion, request, prompt, opening, self._limits)
        return await self._begin(await self._open(ask, opening))

    async def _open(self, ask: Callable[[], Awaitable[Opened]], opening: Opening) -> Opened:
        """Open an interaction. One whose workflow was ended from outside, or never began, keeps nobody out."""
        in_any_case = opening.key is not None
        made_room = False
        while True:
            try:
                return await self._door.through(ask, in_any_case=in_any_case)
            except SessionBusyError as busy:
                if not await self._settlement.settle_if_gone(busy.interaction_id):
                    raise
            except (TooManyOpenError, OverloadedError) as refusal:
                if made_room or not await self._room.made_for(refusal):
                    raise
                made_room = in_any_case = True

    async def _begin(self, opened: Opened) -> Opened:
        handling(opened.request.interaction_id)
        if opened.status is InteractionStatus.QUEUED:  # of a repeated one the first start may not have been recorded
            await self._runs.start(opened.request)
        if not opened.replayed:
            self._application.events.publish(created_event(opened.request))
        await asyncio.gather(*map(self._displace, opened.displaced))
        return opened

    async def _displace(self, interaction_id: str) -> None:
        """Cancel the workflow of an earlier turn; where that fails, the new turn repeats it."""
        with suppress(WorkflowServiceUnavailableError):  # it is logged
            await self._runs.cancel(workflow_id_of(interaction_id))

    # --- waiting ---

    @property
    def leaving(self) -> bool:
        """Whether the process is about to stop."""
        return self._waits.leaving

    def end_streams(self) -> None:
        """End every stream: the process was asked to stop, and their readers go on with the next one."""
        self._waits.end_streams()

    def leave(self) -> None:
        """End every wait: the process is about to stop, and its callers are told where to find their replies."""
        self._waits.leave()

    async def result(self, interaction_id: str) -> InteractionView:
        """Wait until an interaction has ended and return it.

        Raises:
            WorkflowServiceUnavailableError: Temporal stopped answering, or the process is about to stop; the
                interaction goes on all the same.
            StorageUnavailableError: the database did not answer.
        """
        async with self._waits.on(interaction_id) as wait:
            while (ended := wait.ended or await self._follower.ended(interaction_id)) is None:
                if self.leaving:
                    raise WorkflowServiceUnavailableError(
                        "this process is stopping; the interaction goes on and can be read by its id",
                        interaction_id=interaction_id,
                    )
                if wait.in_vain:
                    raise WorkflowServiceUnavailableError("Temporal does not answer", interaction_id=interaction_id)
                await wait.changed()
        return ended

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
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds), self._waits.on(interaction_id) as wait:
                    while not self.leaving:
                        if ended := wait.ended or await self._follower.ended(interaction_id):
                            return ended
                        await wait.changed()
        await self._settlement.settle_if_gone(interaction_id)
        return await self._store.view(interaction_id)

    async def stream(self, interaction_id: str, after: int = 0, keep_alive: timedelta = KEEP_ALIVE) -> ReplyStream:
        """Return what happens to an interaction after an event, as it comes; it may be over already.

        Nothing lasts longer than `keep_alive` without a sign of life.

        Raises:
            UnknownResourceError: there is none of that id.
            StorageUnavailableError: the database did not answer.
        """
        is_open = await self._follower.attach(interaction_id)
        over = not is_open and not (await self._follower.read(interaction_id, after)).events
        return ReplyStream(self._follower, self._waits, interaction_id, after, over=over, keep_alive=keep_alive)

    async def last_reset(self, interaction_id: str) -> int:
        """Return the number of the last event so far that tells to forget the text before it; 0 where none does.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        return await self._follower.last_reset(interaction_id)

    # --- cancelling ---

    async def cancel(self, interaction_id: str) -> InteractionView:
        """End an interaction as cancelled, and return it as it is then, or soon after; one that has ended stays so.

        Raises:
            UnknownResourceError: there is none of that id.
            StorageUnavailableError: the database did not answer.
        """
        view = await self._store.view(interaction_id)
        if view.status.is_final:
            return view
        ended = await self._results.cancel(interaction_id)
        with suppress(WorkflowServiceUnavailableError):  # it is logged, and the store knows what is wanted
            await self._runs.cancel(workflow_id_of(interaction_id))
        return ended or await self.current(interaction_id, _CANCELLED_WITHIN_SECONDS)

    def cancel_for_absent(self, interaction_id: str) -> None:
        """Cancel an interaction whose client has left, and wanted that; not when it is we who leave.

        Nor while anybody else waits for it or streams it here; readers at another API process are not seen.
        """
        if not (self.leaving or self._waits.anybody_on(interaction_id)):
            task = asyncio.create_task(self._cancel_quietly(interaction_id))
            self._cancelling.add(task)  # it outlives the request
            task.add_done_callback(self._cancelling.discard)

    async def _cancel_quietly(self, interaction_id: str) -> None:
        try:
            await self.cancel(interaction_id)
        except OrchestratorError as error:
            logger.warning("%s was not cancelled when its client left: %s", interaction_id, error)
