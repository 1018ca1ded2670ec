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
from core.orchestrator.calls.asking import ask
from core.orchestrator.calls.cancelling import Cancellations
from core.orchestrator.calls.costs import Estimate
from core.orchestrator.calls.ending import Endings
from core.orchestrator.calls.identification import Identification
from core.orchestrator.calls.insisting import finish, insist
from core.orchestrator.calls.ledger import AttemptLedger, BegunCall
from core.orchestrator.calls.observing import CallObserver, NobodyLooks
from core.orchestrator.calls.provider_errors import as_provider_error
from core.orchestrator.calls.recording import CallRecorder, RunningCall
from core.orchestrator.calls.showing import Showing
from core.orchestrator.calls.stopping import Stop
from core.orchestrator.calls.texts import FinishedText
from core.orchestrator.calls.time_limit import TimeLimit
from core.orchestrator.clock import Clock, utc_now
from core.orchestrator.contracts import AfterOutput, Attempt, CallFailure, CallModel, ModelAnswer
from core.orchestrator.errors import ErrorType, LLMProviderError, NextStep, OrchestratorError, StorageUnavailableError
from core.orchestrator.events import AttemptFailed, EventBus, InteractionEvent, TextReset
from core.orchestrator.foreign import must_go_on
from core.orchestrator.models.cooldowns import Cooldowns
from core.orchestrator.providers.base import ChatCompletion, LLMProvider
from core.orchestrator.providers.untrusted import IDENTIFYING_LENGTH, one_line
from core.orchestrator.registry import Registry

logger = logging.getLogger(__name__)

_SUPERSEDED = CallFailure(
    error_type=ErrorType.WORKER_LOST, detail="a newer call has taken over", then=NextStep.NEXT_MODEL
)
_CANCELLED = CallFailure(error_type=ErrorType.CANCELLED, detail="the interaction was cancelled", then=NextStep.FAIL)
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
        ledger: AttemptLedger,
        providers: Registry[LLMProvider],
        events: EventBus,
        cooldowns: Cooldowns,
        cancellations: Cancellations,
        estimate: Estimate,
        call_timeout: timedelta,
        max_wait: timedelta,
        secrets: Sequence[str] = (),
        endings: Endings | None = None,
        observer: CallObserver | None = None,
        identify_after: timedelta = _IDENTIFY_AFTER,
        clock: Clock = utc_now,
    ) -> None:
        """Limit a call to `call_timeout`; a wait beyond `max_wait` means the next model at once.

        The id of a call that runs for `identify_after` is written down while it runs. `secrets` are taken out of texts
        that several calls have said together. An answer ends its interaction by `endings`. `observer` looks on.
        """
        self._ledger = ledger
        self._providers = providers
        self._events = events
        self._cooldowns = cooldowns
        self._cancellations = cancellations
        self._recorder = CallRecorder(ledger, estimate)
        self._endings = endings
        self._call_timeout = call_timeout
        self._max_wait = max_wait
        self._secrets = [secret for secret in secrets if len(secret) >= IDENTIFYING_LENGTH]
        self._observer = observer or NobodyLooks()
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
            UnknownResourceError: the interaction has no prompt, or is gone.
            StorageUnavailableError: the database did not answer.
        """
        limit = TimeLimit(self._call_timeout, remaining)
        async with self._cancellations.watch(request.interaction_id) as cancellation:
            continues = request.after_output is AfterOutput.CONTINUE
            begun = await self._ledger.begin(
                request.interaction_id, request.call, self._clock(), request.skipped, continues=continues
            )
            if isinstance(begun, FinishedText):
                attempts = await self._ledger.attempts(request.interaction_id, request.call.place)
                return _answer(request, begun, attempts)
            if begun is None:
                return FailedCall(_CANCELLED, None)
            self._publish(begun.told)
            progress.ordinal = begun.ordinal

            async def identify(generation_id: str) -> None:
                await self._ledger.identify(request.interaction_id, begun.ordinal, generation_id)

            with self._observer.observe(request, begun) as observed:
                async with Identification(identify, self._identify_after) as identification:
                    stop = Stop(cancellation)
                    heard = await self._listen(request, begun, stop)
                    running = RunningCall(request, begun, heard, limit, identification, stop, observed)
                    try:
                        return await self._ask(running, progress, interruption)
                    finally:
                        await heard.unshown()  # whatever happened, nobody goes on writing

    async def _listen(self, request: CallModel, begun: BegunCall, stop: Stop) -> Heard:
        before = await self._text_so_far(request)
        heard = Heard(before, secrets=self._secrets)
        if begun.watched:
            heard.shown_by = Showing(
                request.interaction_id,
                begun.ordinal,
                self._ledger,
                self._events,
                lambda: stop.ask(ErrorType.WORKER_LOST),
                before=before,
                secrets=self._secrets,
            )
        return heard

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
            async with timer, running.stop:
                completion = await self._read(running, progress)
        except BaseException as error:
            if must_go_on(error):
                await self._interrupted(running, interruption())
                raise
            if running.stop.reason is not None:
                await self._interrupted(running, running.stop.reason)
                why = _CANCELLED if running.stop.reason is ErrorType.CANCELLED else _SUPERSEDED
                calls = await self._ledger.attempts(running.interaction_id, running.call.place)
                return FailedCall(why.model_copy(update={"attempts": calls}), None)
            failed = running.limit.error() if timer.expired() else as_provider_error(error, running.call.provider)
            return await self._failed(running, failed)
        return await self._keep(running, completion)

    async def _read(self, running: RunningCall, progress: Progress) -> ChatCompletion:
        stream = ask(self._providers.get(running.call.provider), running)
        return await read_answer(
            stream,
            running.heard,
            progress,
            running.watch,
            running.identification.accepted,
            offers_tools=running.prompt.offers_tools,
        )

    async def _keep(self, running: RunningCall, completion: ChatCompletion) -> ModelAnswer | FailedCall:
        told = await running.heard.unshown()
        kept = await self._recorder.succeed(running, completion, told)
        if kept is None:
            logger.warning("a newer call has begun; the answer of attempt %d is dropped", running.ordinal)
            return FailedCall(_SUPERSEDED, None)
        self._publish(told)
        await finish(self._end(running, kept.answer))
        return _answer(running.request, kept.answer, kept.attempts)

    async def _end(self, running: RunningCall, answer: FinishedText) -> None:
        if self._endings is None:
            return
        try:
            await self._endings.end_answered(running.begun.interaction, running.call.place, answer)
        except OrchestratorError as error:
            logger.info("%s is not ended yet; its last step does it: %s", running.interaction_id, error)

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
        failed = AttemptFailed(
            interaction_id=request.interaction_id,
            attempt=running.ordinal,
            model=request.call.model,
            error_type=error.error_type,
            next=following.next,
            wait_ms=following.wait_ms,
        )
        told = await self._told(running, failed, resets=following.resets)
        recorded = await self._recorder.fail(running, error, following.wait_ms, told)
        if recorded and following.wait is None:
            await self._strike(request, error)
        self._publish(told)
        failure = CallFailure(
            error_type=error.error_type,
            detail=one_line(str(error)),
            then=following.then,
            attempts=await insist(lambda: self._ledger.attempts(request.interaction_id, request.call.place)),
        )
        return FailedCall(failure, following.wait)

    async def _interrupted(self, running: RunningCall, why: ErrorType) -> None:
        if why is ErrorType.CANCELLED:
            told: Sequence[InteractionEvent] = await running.heard.unshown()
        else:
            lost = AttemptFailed(
                interaction_id=running.interaction_id,
                attempt=running.ordinal,
                model=running.call.model,
                error_type=why,
                next="retry",
            )
            begins_afresh = running.request.after_output is not AfterOutput.CONTINUE
            told = await self._told(running, lost, resets=begins_afresh and running.heard.partial is not None)
        if await self._recorder.interrupt(running, why, told):
            self._publish(told)

    async def _told(self, running: RunningCall, failed: AttemptFailed, *, resets: bool) -> list[InteractionEvent]:
        unshown = await running.heard.unshown()
        if resets:
            return [failed, TextReset(interaction_id=running.interaction_id, attempt=running.ordinal)]
        return [*unshown, failed]

    def _publish(self, told: Sequence[InteractionEvent]) -> None:
        for event in told:
            self._events.publish(event)

    async def _strike(self, request: CallModel, error: LLMProviderError) -> None:
        try:
            await self._cooldowns.strike(request.call.provider, request.call.model, error)
        except StorageUnavailableError as away:
            logger.warning("that %s used up its tries could not be recorded: %s", request.call.model, away)


def _answer(request: CallModel, finished: FinishedText, attempts: Sequence[Attempt]) -> ModelAnswer:
    answering = next(attempt for attempt in attempts if attempt.ordinal == finished.ordinal)
    return ModelAnswer(
        place=request.call.place,
        text=finished.text,
        model=answering.answered_model or request.call.model,
        provider=request.call.provider,
        finish_reason=finished.finish_reason,
        usage=answering.usage,
        attempts=list(attempts),
    )
