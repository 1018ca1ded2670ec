"""One call to one model: recorded before it is made, and its answer kept before anybody hears of it.

So a worker that dies after the model finished does not pay again: the retry finds the text. How often a model is tried
is decided here too, from the ledger: tries are counted per kind of error, and a lost worker is no try.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from core.orchestrator.calls.after_failure import what_follows
from core.orchestrator.calls.answers import Heard, Progress, read_answer
from core.orchestrator.calls.costs import Estimate
from core.orchestrator.calls.identification import Identification
from core.orchestrator.calls.insisting import insist
from core.orchestrator.calls.ledger import AttemptLedger, FinishedText
from core.orchestrator.calls.prompt import Prompts
from core.orchestrator.calls.provider_errors import as_provider_error
from core.orchestrator.calls.recording import CallRecorder, RunningCall
from core.orchestrator.calls.time_limit import TimeLimit
from core.orchestrator.clock import Clock, utc_now
from core.orchestrator.contracts import AfterOutput, CallFailure, CallModel, ModelAnswer
from core.orchestrator.errors import ErrorType, LLMProviderError, NextStep, StorageUnavailableError
from core.orchestrator.events import AttemptFailed, AttemptStarted, EventBus, TextReset
from core.orchestrator.foreign import must_go_on
from core.orchestrator.models.cooldowns import Cooldowns
from core.orchestrator.providers.base import ChatCompletion, LLMProvider
from core.orchestrator.providers.untrusted import IDENTIFYING_LENGTH, one_line
from core.orchestrator.registry import Registry

logger = logging.getLogger(__name__)

_SUPERSEDED = CallFailure(
    error_type=ErrorType.WORKER_LOST, detail="a newer call has taken over", then=NextStep.NEXT_MODEL
)
_ENDED = CallFailure(error_type=ErrorType.CANCELLED, detail="the interaction has ended", then=NextStep.FAIL)
_IDENTIFY_AFTER = timedelta(seconds=1)


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
        prompts: Prompts,
        ledger: AttemptLedger,
        providers: Registry[LLMProvider],
        events: EventBus,
        cooldowns: Cooldowns,
        estimate: Estimate,
        call_timeout: timedelta,
        max_wait: timedelta,
        secrets: Sequence[str] = (),
        identify_after: timedelta = _IDENTIFY_AFTER,
        clock: Clock = utc_now,
    ) -> None:
        """Limit a call to `call_timeout`; a wait beyond `max_wait` means the next model at once.

        The id of a call that runs for `identify_after` is written down while it runs. `secrets` are taken out of texts
        that several calls have said together.
        """
        self._prompts = prompts
        self._ledger = ledger
        self._providers = providers
        self._events = events
        self._cooldowns = cooldowns
        self._recorder = CallRecorder(ledger, estimate)
        self._call_timeout = call_timeout
        self._max_wait = max_wait
        self._secrets = [secret for secret in secrets if len(secret) >= IDENTIFYING_LENGTH]
        self._identify_after = identify_after
        self._clock = clock

    async def call(
        self,
        request: CallModel,
        progress: Progress,
        interruption: Callable[[], ErrorType],
        remaining: timedelta | None = None,
    ) -> ModelAnswer | FailedCall:
        """Ask a model once, unless its answer is kept already.

        Args:
            request: whose prompt to send to which model.
            progress: written while the answer comes in.
            interruption: says why the task was cancelled, should it be: `cancelled` or `worker_lost`.
            remaining: until the interaction's deadline, at which the call ends itself; None: it has none.

        Raises:
            UnknownResourceError: the interaction has no prompt.
            StorageUnavailableError: the database did not answer.
        """
        limit = TimeLimit(self._call_timeout, remaining)
        interaction_id, call = request.interaction_id, request.call
        prompt = await self._prompts.prompt(interaction_id)
        ordinal = await self._ledger.begin(interaction_id, call, self._clock(), request.skipped)
        if isinstance(ordinal, FinishedText):
            return await self._answer(request)
        if ordinal is None:
            return FailedCall(_ENDED, None)
        progress.ordinal = ordinal
        self._events.publish(AttemptStarted(interaction_id=interaction_id, attempt=ordinal, model=call.model))
        heard = Heard(await self._text_so_far(request), secrets=self._secrets)

        async def identify(generation_id: str) -> None:
            await self._ledger.identify(interaction_id, ordinal, generation_id)

        async with Identification(identify, self._identify_after) as identification:
            running = RunningCall(request, ordinal, prompt, heard, limit, identification)
            return await self._ask(running, progress, interruption)

    async def _text_so_far(self, request: CallModel) -> str:
        if request.after_output is not AfterOutput.CONTINUE:
            return ""
        partial = await insist(lambda: self._ledger.partial_text(request.interaction_id))
        return partial.text if partial else ""

    async def _ask(
        self, running: RunningCall, progress: Progress, interruption: Callable[[], ErrorType]
    ) -> ModelAnswer | FailedCall:
        timer = running.limit.timer()
        try:
            async with timer:
                completion = await self._read(running, progress)
        except BaseException as error:
            if must_go_on(error):
                await self._interrupted(running, interruption())
                raise
            failed = running.limit.error() if timer.expired() else as_provider_error(error, running.call.provider)
            return await self._failed(running, failed)
        return await self._keep(running, completion)

    async def _read(self, running: RunningCall, progress: Progress) -> ChatCompletion:
        prompt, call = running.prompt, running.call
        provider = self._providers.get(call.provider)
        stream = provider.stream_chat_completion(running.messages, call.model, prompt.temperature, prompt.max_tokens)
        return await read_answer(stream, running.heard, progress, running.watch, running.identification.accepted)

    async def _keep(self, running: RunningCall, completion: ChatCompletion) -> ModelAnswer | FailedCall:
        if not await self._recorder.succeed(running, completion):
            logger.warning("a newer call has begun; the answer of attempt %d is dropped", running.ordinal)
            return FailedCall(_SUPERSEDED, None)
        return await self._answer(running.request)

    async def _failed(self, running: RunningCall, error: LLMProviderError) -> FailedCall:
        request = running.request
        before = await insist(lambda: self._ledger.attempts(request.interaction_id, request.call.place))
        following = what_follows(
            error.posture,
            1 + sum(attempt.error_type is error.error_type for attempt in before),
            request,
            shown=running.heard.partial is not None,
            max_wait=self._max_wait,
            time_left=running.limit.left,
        )
        recorded = await self._recorder.fail(running, error, following.wait_ms)
        if recorded and following.wait is None:
            await self._strike(request, error)
        self._events.publish(
            AttemptFailed(
                interaction_id=request.interaction_id,
                attempt=running.ordinal,
                model=request.call.model,
                error_type=error.error_type,
                next=following.next,
                wait_ms=following.wait_ms,
            )
        )
        if following.resets:
            self._events.publish(TextReset(interaction_id=request.interaction_id, attempt=running.ordinal))
        failure = CallFailure(
            error_type=error.error_type,
            detail=one_line(str(error)),
            then=following.then,
            attempts=await insist(lambda: self._ledger.attempts(request.interaction_id, request.call.place)),
        )
        return FailedCall(failure, following.wait)

    async def _interrupted(self, running: RunningCall, why: ErrorType) -> None:
        await self._recorder.interrupt(running, why)
        begins_afresh = why is ErrorType.WORKER_LOST and running.request.after_output is not AfterOutput.CONTINUE
        if begins_afresh and running.heard.partial is not None:
            self._events.publish(TextReset(interaction_id=running.interaction_id, attempt=running.ordinal))

    async def _strike(self, request: CallModel, error: LLMProviderError) -> None:
        try:
            await self._cooldowns.strike(request.call.provider, request.call.model, error)
        except StorageUnavailableError as away:
            logger.warning("that %s used up its tries could not be recorded: %s", request.call.model, away)

    async def _answer(self, request: CallModel) -> ModelAnswer:
        interaction_id, call = request.interaction_id, request.call
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
