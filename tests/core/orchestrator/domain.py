"""What a test of the domain needs to say in one line: requests, calls, answers, and a scripted provider."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from uuid6 import uuid7

from core.orchestrator.calls.ledger import AttemptLedger, BegunCall, KeptAnswer, Timing
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.contracts import InteractionRequest, Message, PlannedCall, SkippedCall, Usage
from core.orchestrator.errors import LLMProviderError, StorageUnavailableError
from core.orchestrator.interactions.opening import Opening
from core.orchestrator.interactions.store import Ending, InteractionStatus, InteractionStore
from core.orchestrator.providers.base import CallAccepted, ChatCompletion, LLMProvider
from core.orchestrator.runs import Runs, RunState
from core.orchestrator.storage.tables import prompts
from core.orchestrator.storage.upserts import insert_if_absent

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LATER = datetime(2100, 1, 1, tzinfo=UTC)
QUICK = Timing(duration_ms=20, first_token_ms=5)
CALL = PlannedCall(place=0, provider="openrouter", model="a/model")
PROMPT = Prompt([{"role": "user", "content": "Hello"}], 0.7, None)
ANY_BUDGET = 1_000_000


class SettableClock:
    """A clock that moves when it is told to."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@dataclass
class FakeRuns(Runs):
    """Workflows by id; one that is not there is missing."""

    states: dict[str, RunState] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    freed: list[str] = field(default_factory=list)
    reconciled: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    async def state(self, workflow_id: str) -> RunState:
        self.asked.append(workflow_id)
        return self.states.get(workflow_id, RunState.MISSING)

    async def free_place(self, workflow_id: str) -> None:
        self.freed.append(workflow_id)

    async def reconcile(self, interaction_id: str) -> None:
        self.reconciled.append(interaction_id)

    async def cancel(self, workflow_id: str) -> None:
        self.cancelled.append(workflow_id)

    async def delete(self, workflow_id: str) -> None:
        self.deleted.append(workflow_id)


def new_id() -> str:
    return str(uuid7())


def request(message: str = "Hello", **fields: Any) -> InteractionRequest:
    defaults = {
        "interaction_id": new_id(),
        "user_id": "ada",
        "session_id": "s1",
        "persona_id": "cherry",
        "message": message,
    }
    return InteractionRequest.model_validate(defaults | fields)


async def opened(store: InteractionStore, message: str = "Hello", **fields: Any) -> str:
    asked = request(message, **fields)
    await store.open_turn(asked)
    return asked.interaction_id


async def opened_watched(store: InteractionStore, message: str = "Hello", **fields: Any) -> str:
    """Open a turn whose reply somebody may watch."""
    asked = request(message, **fields)
    await store.open_turn(asked, Opening(watched=True))
    return asked.interaction_id


async def answered(
    store: InteractionStore,
    ledger: AttemptLedger,
    interaction_id: str,
    text: str = "Hi there",
    *,
    call: PlannedCall = CALL,
    usage: Usage | None = None,
    now: datetime = NOON,
) -> None:
    """Let a model answer an interaction and end it with the answer."""
    ordinal = await begun(ledger, interaction_id, call, now)
    await ledger.succeed(interaction_id, call.place, ordinal, ChatCompletion(content=text, usage=usage), QUICK)
    await store.end(interaction_id, Ending(InteractionStatus.COMPLETED, reply=text, answered_place=call.place))


async def talked(store: InteractionStore, ledger: AttemptLedger, message: str, reply: str, **fields: Any) -> str:
    """Hold one whole turn."""
    interaction_id = await opened(store, message, **fields)
    await store.take_place(interaction_id, 0)
    await answered(store, ledger, interaction_id, reply)
    return interaction_id


Step = str | CallAccepted | ChatCompletion | BaseException | asyncio.Event | Callable[[], Any]


class ScriptedProvider(LLMProvider):
    """Plays one script a call: pieces, completions, errors to raise, events to wait for, functions to run."""

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self.scripts = list(scripts)
        self.calls: list[tuple[Sequence[Message], str | None, float, int | None]] = []
        self.parameters: list[Mapping[str, Any]] = []
        """Of the calls that came with any."""
        self.speaking = asyncio.Event()
        """Set when a script has come to a step that waits."""
        self.closed = 0
        self.released = False

    @property
    def provider_name(self) -> str:
        return "openrouter"

    async def generate_chat_completion(
        self,
        messages: Sequence[Message],
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int | None = None,
    ) -> str:
        raise NotImplementedError

    async def stream_chat_completion(
        self,
        messages: Sequence[Message],
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int | None = None,
        **more: Mapping[str, Any],
    ) -> AsyncGenerator[str | CallAccepted | ChatCompletion, None]:
        self.calls.append((messages, model, temperature, max_tokens))
        self.parameters += more.values()
        try:
            for step in self.scripts[len(self.calls) - 1]:
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, asyncio.Event):
                    self.speaking.set()
                    await step.wait()
                elif isinstance(step, str | CallAccepted | ChatCompletion):
                    yield step
                else:
                    step()
        finally:
            self.closed += 1

    async def aclose(self) -> None:
        self.released = True


async def prompted(ledger: AttemptLedger, interaction_id: str) -> None:
    """Make a prompt that says nothing, where there is none."""
    nothing = {"messages": [], "temperature": 0.7, "max_tokens": None, "explanation": {}}
    async with ledger._database.write() as connection:
        await insert_if_absent(connection, prompts, {"interaction_id": interaction_id, **nothing})


async def begun(
    ledger: AttemptLedger,
    interaction_id: str,
    call: PlannedCall = CALL,
    now: datetime = NOON,
    skipped: Sequence[SkippedCall] = (),
) -> int:
    """Begin a call and return its ordinal; where there is no prompt, one that says nothing is made."""
    await prompted(ledger, interaction_id)
    call_begun = await ledger.begin(interaction_id, call, now, skipped)
    assert isinstance(call_begun, BegunCall), call_begun
    return call_begun.ordinal


class FlakyLedger(AttemptLedger):
    """A ledger whose database is away for some of the writes that end a call."""

    away = 0
    """So many writes fail before the next one succeeds."""
    lost_answers = 0
    """So many writes are done, but the word of it is lost."""

    identified: asyncio.Event | None = None
    """Set when the id of a running call is written down."""

    async def identify(self, *args: Any, **kwargs: Any) -> None:
        await super().identify(*args, **kwargs)
        if self.identified is not None:
            self.identified.set()

    async def succeed(self, *args: Any, **kwargs: Any) -> KeptAnswer | None:
        self._fail_if_away()
        kept = await super().succeed(*args, **kwargs)
        if self.lost_answers:
            self.lost_answers -= 1
            raise StorageUnavailableError("the connection broke during the commit")
        return kept

    async def fail(self, *args: Any, **kwargs: Any) -> bool:
        self._fail_if_away()
        return await super().fail(*args, **kwargs)

    def _fail_if_away(self) -> None:
        if self.away:
            self.away -= 1
            raise StorageUnavailableError("the database is away for a moment")


def completion(text: str = "Hi there", **fields: Any) -> ChatCompletion:
    return ChatCompletion(content=text, **fields)


def failure(kind: type[LLMProviderError], message: str = "broken", **fields: Any) -> LLMProviderError:
    return kind(message, **fields)
