"""The end of an interaction: the reply as the user sees it, or the persona's own words when there is none."""

import asyncio
import logging
from typing import Any

from sqlalchemy import Row

from core.orchestrator.agents.base import Agent
from core.orchestrator.agents.guards import reply_of
from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.calls.reconciliation import Reconciliation
from core.orchestrator.calls.texts import FinishedText
from core.orchestrator.contracts import (
    AfterOutput,
    CompletionRequest,
    InteractionError,
    InteractionRequest,
    InteractionStatus,
    InteractionView,
    OnFailure,
    StoreResults,
)
from core.orchestrator.errors import ErrorType, OrchestratorError, UnknownResourceError
from core.orchestrator.events import EventBus, terminal_event_of
from core.orchestrator.interactions.reader import read_request
from core.orchestrator.interactions.store import Ended, Ending, InteractionStore
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.registry import Registry
from core.orchestrator.runs import Runs
from core.orchestrator.workflow_ids import workflow_id_of

logger = logging.getLogger(__name__)

_LOST_ANSWER = InteractionError(
    type=ErrorType.UNAVAILABLE, detail="the answer is no longer in the database: was an older copy restored?"
)
_MOMENT_SECONDS = 5
_NOBODYS_LINE = "I cannot answer right now. Please try again in a moment."
"""Said when even the persona is gone."""


class Results:
    """Stores how interactions end."""

    def __init__(
        self,
        *,
        store: InteractionStore,
        ledger: AttemptLedger,
        personas: PersonaLibrary,
        agents: Registry[Agent],
        events: EventBus,
        runs: Runs,
        reconciliation: Reconciliation,
    ) -> None:
        """End interactions in `store`, in the voices of `personas`; who waits in line is told through `runs`."""
        self._store = store
        self._ledger = ledger
        self._personas = personas
        self._agents = agents
        self._events = events
        self._runs = runs
        self._reconciliation = reconciliation
        self._just_ended: dict[str, InteractionView] = {}
        """Those whose last step is about to come: mostly here, and then it need not read them."""

    async def keep(self, results: StoreResults) -> InteractionView:
        """End an interaction, unless it has ended; tell the subscribers, and the next turn of the session.

        Returns:
            The interaction as the store had it at its end: the first ending stays.

        Raises:
            UnknownResourceError: the interaction was never opened, or it was erased, more than a moment ago; then so is
                its run.
            StorageUnavailableError: the database did not answer.
        """
        view = self._just_ended.pop(results.interaction_id, None) or await self._end(results)
        await self._reconciliation.begin_if_due(view)
        return view

    async def end_answered(self, interaction: Row[Any], place: int, answer: FinishedText) -> None:
        """End an interaction, as it was when its call began, with an answer that is kept; tell those whom it concerns.

        What it has cost is left to `keep`, which finds the end.

        Raises:
            UnknownResourceError: it was erased.
            StorageUnavailableError: the database did not answer.
        """
        # Agents are other people's code: it runs when the answer is kept, and where it holds no lock.
        ending = self._answered(read_request(interaction), place, answer, interaction.agent)
        ended = await self._store.end(interaction.interaction_id, ending)
        await self._tell(ended)
        self._just_ended[interaction.interaction_id] = ended.view
        asyncio.get_running_loop().call_later(_MOMENT_SECONDS, self._just_ended.pop, interaction.interaction_id, None)

    async def cancel(self, interaction_id: str) -> InteractionView | None:
        """Cancel an interaction as far as the store goes: one that has not begun ends at once, a call is told to stop.

        Returns:
            The interaction if it has ended; None while its call, or its run, has yet to stop.

        Raises:
            UnknownResourceError: there is none of that id.
            StorageUnavailableError: the database did not answer.
        """
        ended = await self._store.cancel(interaction_id)
        if ended is None:
            return None
        await self._tell(ended)
        await self._reconciliation.begin_if_due(ended.view)
        return ended.view

    async def _end(self, results: StoreResults) -> InteractionView:
        try:
            ended = await self._store.ended(results.interaction_id)
            if ended is None:
                ended = await self._store.end(results.interaction_id, await self._ending(results))
        except UnknownResourceError:
            if await self._store.was_erased(results.interaction_id):
                # It was erased while its start was under way: the run holds what was said, and is nobody's.
                await self._runs.delete(workflow_id_of(results.interaction_id))
            raise
        await self._tell(ended)
        return ended.view

    async def _tell(self, ended: Ended) -> None:
        if ended.first:
            self._events.publish(terminal_event_of(ended.view))
        if ended.following is not None:
            await self._runs.free_place(workflow_id_of(ended.following))

    async def _ending(self, results: StoreResults) -> Ending:
        request, agent = await self._store.asked(results.interaction_id)
        if results.answered_place is not None:
            finished = await self._ledger.finished_text(results.interaction_id, results.answered_place)
            if finished is not None:
                return self._answered(request, results.answered_place, finished, agent)
        error = results.error or _LOST_ANSWER
        kept = await self._kept_part(results.interaction_id)
        if error.type is ErrorType.CANCELLED:
            return Ending(InteractionStatus.CANCELLED, reply=kept, error=error)
        if kept is not None:
            return Ending(InteractionStatus.INCOMPLETE, reply=kept, error=error)
        if isinstance(request, InteractionRequest) and request.on_failure is OnFailure.REPLY:
            line = self._fallback_line(request.persona_id)
            return Ending(InteractionStatus.FAILED, reply=line, degraded=True, error=error)
        return Ending(InteractionStatus.FAILED, error=error)

    def _answered(
        self, request: InteractionRequest | CompletionRequest, place: int, finished: FinishedText, agent: str | None
    ) -> Ending:
        reply = self._reply(request, finished, agent)
        return Ending(InteractionStatus.COMPLETED, reply, answered_place=place, tool_calls=finished.tool_calls)

    async def _kept_part(self, interaction_id: str) -> str | None:
        """Return the part of a reply that is to be kept, as the model wrote it: what it lacks cannot be styled."""
        partial = await self._ledger.partial_text(interaction_id)
        if partial is None or await self._store.after_output(interaction_id) is AfterOutput.RESTART:
            return None
        return partial.text

    def _reply(self, request: InteractionRequest | CompletionRequest, finished: FinishedText, agent: str | None) -> str:
        """Return the reply: in character, unless it is to stay as written or only leads over to calls of tools.

        It stays as the model wrote it, too, when persona or agent are gone since.
        """
        if not isinstance(request, InteractionRequest) or request.reply_as_written or finished.tool_calls:
            return finished.text
        try:
            persona = self._personas.get(request.persona_id)
            speaker = self._agents.get(agent or "")
        except OrchestratorError as error:
            logger.warning("the reply of %s stays as the model wrote it: %s", request.interaction_id, error)
            return finished.text
        return reply_of(speaker, finished.text, persona)

    def _fallback_line(self, persona_id: str) -> str:
        return self._personas.get(persona_id).fallback_line if persona_id in self._personas else _NOBODYS_LINE
