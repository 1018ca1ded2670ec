"""One call to one model: recorded before it is made, and its answer kept before anybody hears of it.

So a worker that dies after the model finished does not pay again: the retry finds the text. How often a model is tried
is decided here too, from the ledger: tries are counted per kind of error, and a lost worker is no try.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from core.orchestrator.contracts import AttemptStatus, CallFailure, ModelAnswer, PlannedCall
from core.orchestrator.errors import (
    ErrorType,
    LLMProviderError,
    LLMProviderModelError,
    LLMProviderServiceError,
    LLMProviderTimeoutError,
    NextStep,
    OrchestratorError,
    Posture,
    StorageUnavailableError,
)
from core.orchestrator.events import AttemptFailed, AttemptStarted, EventBus
from core.orchestrator.foreign import must_go_on
from core.orchestrator.interactions.answers import Progress, Stopwatch, read_answer
from core.orchestrator.interactions.ledger import AttemptLedger, FinishedText
from core.orchestrator.interactions.reader import Prompt
from core.orchestrator.interactions.store import Clock, InteractionStore, utc_now
from core.orchestrator.providers.base import ChatCompletion, LLMProvider
from core.orchestrator.providers.untrusted import one_line
from core.orchestrator.registry import Registry

logger = logging.getLogger(__name__)

T = TypeVar("T")

_SUPERSEDED = CallFailure(
    error_type=ErrorType.WORKER_LOST, detail="a newer call has taken over", then=NextStep.NEXT_MODEL
)
_ENDED = CallFailure(error_type=ErrorType.CANCELLED, detail="the interaction has ended", then=NextStep.FAIL)
_LABEL_CHARACTERS = 200
_FIRST_BACKOFF = timedelta(milliseconds=500)
_WRITE_PAUSES_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 10, 10)


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A call failed; `retry_in` says when the same model is to be asked again, None that its tries are spent."""

    failure: CallFailure
    retry_in: timedelta | None


class ModelCaller:
    """Makes calls and decides what follows a failed one."""

    def __init__(
        self,
        *,
        store: InteractionStore,
        ledger: AttemptLedger,
        providers: Registry[LLMProvider],
        events: EventBus,
        call_timeout: timedelta,
        max_wait: timedelta,
        clock: Clock = utc_now,
    ) -> None:
        """Limit a call to `call_timeout`; a wait beyond `max_wait` means the next model at once."""
        self._store = store
        self._ledger = ledger
        self._providers = providers
        self._events = events
        self._call_timeout = call_timeout
        self._max_wait = max_wait
        self._clock = clock

    async def call(
        self,
        interaction_id: str,
        call: PlannedCall,
        progress: Progress,
        interruption: Callable[[], ErrorType],
    ) -> ModelAnswer | FailedCall:
        """Ask a model once, unless its answer is kept already.

        Args:
            interaction_id: whose prompt to send.
            call: which model to ask.
            progress: written while the answer comes in.
            interruption: says why the task was cancelled, should it be: `cancelled` or `worker_lost`.

        Raises:
            UnknownResourceError: the interaction has no prompt.
            StorageUnavailableError: the database did not answer.
        """
        prompt = await self._store.prompt(interaction_id)
        ordinal = await self._ledger.begin(interaction_id, call, self._clock())
        if isinstance(ordinal, FinishedText):
            return await self._answer(interaction_id, call)
        if ordinal is None:
            return FailedCall(_ENDED, None)
        progress.ordinal = ordinal
        self._events.publish(AttemptStarted(interaction_id=interaction_id, attempt=ordinal, model=call.model))
        watch = Stopwatch()
        try:
            async with asyncio.timeout(self._call_timeout.total_seconds()):
                completion = await self._read(call, prompt, progress, watch)
        except BaseException as error:
            if must_go_on(error):
                await self._record_interruption(interaction_id, ordinal, interruption(), watch)
                raise
            return await self._failed(interaction_id, call, ordinal, self._as_provider_error(error, call), watch)
        return await self._keep(interaction_id, call, ordinal, completion, watch)

    async def _keep(
        self, interaction_id: str, call: PlannedCall, ordinal: int, completion: ChatCompletion, watch: Stopwatch
    ) -> ModelAnswer | FailedCall:
        timing = watch.timing()
        kept = await _finish(
            _insist(lambda: self._ledger.succeed(interaction_id, call.place, ordinal, completion, timing))
        )
        if not kept:
            logger.warning("a newer call has begun; the answer of attempt %d is dropped", ordinal)
            return FailedCall(_SUPERSEDED, None)
        return await self._answer(interaction_id, call)

    async def _read(self, call: PlannedCall, prompt: Prompt, progress: Progress, watch: Stopwatch) -> ChatCompletion:
        provider = self._providers.get(call.provider)
        stream = provider.stream_chat_completion(prompt.messages, call.model, prompt.temperature, prompt.max_tokens)
        return await read_answer(stream, progress, watch)

    def _as_provider_error(self, error: BaseException, call: PlannedCall) -> LLMProviderError:
        match error:
            case LLMProviderError():
                return _sound(error)
            case TimeoutError():
                seconds = self._call_timeout.total_seconds()
                return LLMProviderTimeoutError(
                    f"the call took longer than {seconds:g} seconds", posture=Posture(tries=2), may_be_billed=True
                )
            case OrchestratorError():  # the provider is unknown, or could not be made
                return LLMProviderModelError(str(error))
            case _:
                logger.warning("provider '%s' raised what no provider should", call.provider, exc_info=error)
                return LLMProviderServiceError(
                    f"provider '{call.provider}' failed: {type(error).__name__}: {error}", may_be_billed=True
                )

    async def _failed(
        self, interaction_id: str, call: PlannedCall, ordinal: int, error: LLMProviderError, watch: Stopwatch
    ) -> FailedCall:
        timing = watch.timing()
        before = await _insist(lambda: self._ledger.attempts(interaction_id, call.place))
        tries = 1 + sum(attempt.error_type is error.error_type for attempt in before)
        wait = self._wait(error.posture, tries)
        wait_ms = None if wait is None else round(wait.total_seconds() * 1000)
        await _insist(lambda: self._ledger.fail(interaction_id, ordinal, error, timing, wait_ms=wait_ms))
        gives_up = error.posture.then is NextStep.FAIL
        self._events.publish(
            AttemptFailed(
                interaction_id=interaction_id,
                attempt=ordinal,
                model=call.model,
                error_type=error.error_type,
                next="retry" if wait is not None else "give_up" if gives_up else "next_model",
                wait_ms=wait_ms,
            )
        )
        failure = CallFailure(
            error_type=error.error_type,
            detail=one_line(str(error)),
            then=error.posture.then,
            attempts=await _insist(lambda: self._ledger.attempts(interaction_id, call.place)),
        )
        return FailedCall(failure, wait)

    def _wait(self, posture: Posture, tries: int) -> timedelta | None:
        """Return how long to wait before the same model is asked again; None when it is not to be."""
        if tries >= posture.tries:
            return None
        wait = posture.retry_after if posture.retry_after is not None else _FIRST_BACKOFF * 2 ** (tries - 1)
        return wait if wait <= self._max_wait else None

    async def _record_interruption(self, interaction_id: str, ordinal: int, why: ErrorType, watch: Stopwatch) -> None:
        cancelled = why is ErrorType.CANCELLED
        error = LLMProviderServiceError(
            "the call was cancelled" if cancelled else "the worker stopped during the call",
            error_type=why,
            may_be_billed=True,
        )
        status = AttemptStatus.CANCELLED if cancelled else AttemptStatus.FAILED
        try:
            await self._ledger.fail(interaction_id, ordinal, error, watch.timing(), status=status)
        except StorageUnavailableError:
            logger.warning("the interruption of attempt %d could not be recorded", ordinal)

    async def _answer(self, interaction_id: str, call: PlannedCall) -> ModelAnswer:
        finished = await self._ledger.finished_text(interaction_id, call.place)
        attempts = await self._ledger.attempts(interaction_id, call.place)
        if finished is None:
            raise StorageUnavailableError("the answer that was just kept cannot be found")
        answering = next(attempt for attempt in attempts if attempt.ordinal == finished.ordinal)
        return ModelAnswer(
            place=call.place,
            text=finished.text,
            model=answering.answered_model or call.model,
            provider=call.provider,
            finish_reason=finished.finish_reason,
            usage=answering.usage,
            attempts=attempts,
        )


def _sound(error: LLMProviderError) -> LLMProviderError:
    """Make sure of an error's fields: a plugin may put anything there, and what is stored must be readable again."""
    if not isinstance(error.error_type, ErrorType):
        error.error_type = error.default_error_type
    if not isinstance(error.posture, Posture):
        error.posture = Posture()
    if type(error.http_status) is not int:
        error.http_status = None
    error.error_code = one_line(error.error_code, _LABEL_CHARACTERS) or None
    error.generation_id = one_line(error.generation_id, _LABEL_CHARACTERS) or None
    error.may_be_billed = bool(error.may_be_billed)
    return error


async def _finish(write: Coroutine[Any, Any, T]) -> T:
    """Finish a write even if we are told to stop meanwhile: what is paid for is kept. Then obey."""
    writing = asyncio.create_task(write)
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])
        raise


async def _insist(access: Callable[[], Awaitable[T]]) -> T:
    """Record what has been paid for, waiting out a database that is away for a moment."""
    for pause in _WRITE_PAUSES_SECONDS:
        try:
            return await access()
        except StorageUnavailableError:
            await asyncio.sleep(pause)
    return await access()
