"""How a call is closed in the ledger: with its answer, its error or its interruption, and what it may have cost."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from core.orchestrator.calls.answers import Heard, Stopwatch
from core.orchestrator.calls.costs import Estimate, likely_cost
from core.orchestrator.calls.identification import Identification
from core.orchestrator.calls.insisting import finish, insist
from core.orchestrator.calls.ledger import AttemptLedger, BegunCall, KeptAnswer, Timing
from core.orchestrator.calls.observing import ObservedCall
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.calls.stopping import Stop
from core.orchestrator.calls.time_limit import TimeLimit
from core.orchestrator.contracts import AttemptStatus, CallModel, Message, PlannedCall, Usage
from core.orchestrator.errors import ErrorType, LLMProviderError, LLMProviderServiceError, StorageUnavailableError
from core.orchestrator.events import InteractionEvent
from core.orchestrator.providers.base import ChatCompletion

logger = logging.getLogger(__name__)

Told = Sequence[InteractionEvent]
"""Events that are logged in the transaction that makes them true, where somebody may watch."""


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A call that has begun."""

    request: CallModel
    begun: BegunCall
    heard: Heard
    limit: TimeLimit
    identification: Identification
    stop: Stop
    observed: ObservedCall
    watch: Stopwatch = field(default_factory=Stopwatch)

    @property
    def ordinal(self) -> int:
        """Its number in the interaction, from 1."""
        return self.begun.ordinal

    @property
    def prompt(self) -> Prompt:
        """What is sent, or what a text is continued with."""
        return self.begun.prompt

    @property
    def interaction_id(self) -> str:
        """Whose it is."""
        return self.request.interaction_id

    @property
    def watched(self) -> bool:
        """Whether somebody may watch."""
        return self.heard.shown_by is not None

    @property
    def call(self) -> PlannedCall:
        """Which model is asked."""
        return self.request.call

    @property
    def messages(self) -> list[Message]:
        """What is sent."""
        return self.prompt.continuing(self.heard.before)

    @property
    def parameters(self) -> dict[str, Any]:
        """What is sent with them."""
        return self.prompt.parameters_after(self.heard.before)


class CallRecorder:
    """Closes calls, and waits for a database that is away for a moment: they may be paid for."""

    def __init__(self, ledger: AttemptLedger, estimate: Estimate) -> None:
        """Close them in `ledger`; `estimate` knows what tokens cost."""
        self._ledger = ledger
        self._estimate = estimate

    async def succeed(self, running: RunningCall, completion: ChatCompletion, told: Told = ()) -> KeptAnswer | None:
        """Keep an answer, even if we are told to stop meanwhile, and log what is told of it.

        Returns:
            None when a newer call has begun, or the interaction has ended: then nothing was written.

        Raises:
            StorageUnavailableError: the database stayed away.
        """
        timing = running.watch.timing()
        said = completion.content[len(running.heard.before) :]
        called = json.dumps(completion.tool_calls, ensure_ascii=False) if completion.tool_calls else ""
        likely = self._likely_cost(running, said + called, completion.usage)
        generation_id = completion.generation_id or running.identification.generation_id
        completion = completion.model_copy(update={"generation_id": generation_id})
        running.observed.answered(completion, timing)
        return await finish(
            insist(
                lambda: self._ledger.succeed(
                    running.interaction_id,
                    running.call.place,
                    running.ordinal,
                    completion,
                    timing,
                    estimated_cost_usd=likely,
                    told=told if running.watched else (),
                )
            )
        )

    async def fail(self, running: RunningCall, error: LLMProviderError, wait_ms: int | None, told: Told = ()) -> bool:
        """Keep an error, and what had been said by then, and log what is told of it.

        Returns:
            False when the call is closed already, by a newer one or the interaction's end.

        Raises:
            StorageUnavailableError: the database stayed away.
        """
        timing = self._broken(running, error)  # a database that is away makes no call longer
        return await insist(
            lambda: self._close(running, error, AttemptStatus.FAILED, timing, told=told, wait_ms=wait_ms)
        )

    async def interrupt(self, running: RunningCall, why: ErrorType, told: Told = ()) -> bool:
        """Keep that a call was cancelled or its worker stopped, what had been said by then, and what is told of it.

        Returns:
            False when the call is closed already, or the database is away: then nothing was written.
        """
        cancelled = why is ErrorType.CANCELLED
        error = LLMProviderServiceError(
            "the call was cancelled" if cancelled else "the worker stopped during the call",
            error_type=why,
            may_be_billed=True,
        )
        status = AttemptStatus.CANCELLED if cancelled else AttemptStatus.FAILED
        timing = self._broken(running, error)
        try:
            return await self._close(running, error, status, timing, told=told)
        except StorageUnavailableError:
            logger.warning("the interruption of attempt %d could not be recorded", running.ordinal)
            return False

    def _broken(self, running: RunningCall, error: LLMProviderError) -> Timing:
        timing = running.watch.timing()
        error.generation_id = error.generation_id or running.identification.generation_id
        running.observed.failed(error.error_type, timing, error.generation_id)
        return timing

    async def _close(
        self,
        running: RunningCall,
        error: LLMProviderError,
        status: AttemptStatus,
        timing: Timing,
        *,
        told: Told,
        wait_ms: int | None = None,
    ) -> bool:
        return await self._ledger.fail(
            running.interaction_id,
            running.ordinal,
            error,
            timing,
            wait_ms=wait_ms,
            status=status,
            partial=running.heard.partial,
            estimated_cost_usd=self._likely_cost(running, running.heard.said) if error.may_be_billed else None,
            told=told if running.watched else (),
        )

    def _likely_cost(self, running: RunningCall, said: str, told: Usage | None = None) -> float | None:
        return likely_cost(self._estimate, running.call, running.messages, said, told, parameters=running.parameters)
