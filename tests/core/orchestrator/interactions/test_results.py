from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from core.orchestrator.agents.base import Agent
from core.orchestrator.agents.llm_agent import LLMAgent
from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.calls.reconciliation import Reconciliation
from core.orchestrator.contracts import (
    CompletionRequest,
    InteractionError,
    InteractionStatus,
    InteractionView,
    MemoryWindow,
    PlannedCall,
    StoreResults,
)
from core.orchestrator.errors import ErrorType, LLMProviderServiceError, UnknownResourceError
from core.orchestrator.events import EVERY_EVENT, EventBus, InteractionEvent
from core.orchestrator.interactions.reader import find_row, known
from core.orchestrator.interactions.results import Results
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.memory.conversations import Conversations
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.personas.model import PersonaConfig
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry
from core.orchestrator.replies.log import read_events
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.agents.personas import persona
from tests.core.orchestrator.domain import (
    NOON,
    PROMPT,
    QUICK,
    FakeRuns,
    begun,
    completion,
    new_id,
    opened,
    opened_watched,
)
from tests.core.orchestrator.plans import statements

RATE_LIMIT = InteractionError(type=ErrorType.RATE_LIMIT, detail="too many requests")
CANCELLED = InteractionError(type=ErrorType.CANCELLED, detail="cancelled")


class Shouting(LLMAgent):
    """Formats replies in a way of its own."""

    def format_reply(self, text: str, persona: PersonaConfig) -> str:
        return text.upper()


class Broken(LLMAgent):
    """Cannot format replies."""

    def format_reply(self, text: str, persona: PersonaConfig) -> str:
        raise KeyError("style")


@dataclass
class Desk:
    store: InteractionStore
    ledger: AttemptLedger
    conversations: Conversations
    database: Database
    personas: list[PersonaConfig] = field(default_factory=lambda: [persona()])
    agents: dict[str, Callable[[], Agent]] = field(default_factory=lambda: {"conversation": LLMAgent})
    events: list[InteractionEvent] = field(default_factory=list)
    runs: FakeRuns = field(default_factory=FakeRuns)

    async def keep(self, results: StoreResults) -> InteractionView:
        return await self.results().keep(results)

    def results(self) -> Results:
        agents: Registry[Agent] = Registry("agent", Agent)  # type: ignore[type-abstract]
        for name, factory in self.agents.items():
            agents.register(name, factory)
        bus = EventBus()
        bus.subscribe(EVERY_EVENT, self.events.append)
        return Results(
            store=self.store,
            ledger=self.ledger,
            personas=PersonaLibrary(self.personas),
            agents=agents,
            events=bus,
            runs=self.runs,
            reconciliation=Reconciliation(self.database, Registry("provider", LLMProvider), self.runs),  # type: ignore[type-abstract]
        )

    async def turn(self, text: str | None = None, *, agent: str = "conversation", place: int = 0, **fields: str) -> str:
        """Open a turn and let a model answer it with `text`."""
        interaction_id = await opened(self.store, **fields)
        await self.store.save_prompt(interaction_id, PROMPT, {}, agent=agent)
        if text is not None:
            await self.answer(interaction_id, text, place)
        return interaction_id

    async def answer(self, interaction_id: str, text: str, place: int = 0, **fields: Any) -> None:
        call = PlannedCall(place=place, provider="openrouter", model=f"model/{place}")
        ordinal = await begun(self.ledger, interaction_id, call, NOON)
        answer = completion(text, **{"finish_reason": "stop", **fields})
        await self.ledger.succeed(interaction_id, place, ordinal, answer, QUICK)

    async def end_answered(self, results: Results, interaction_id: str) -> None:
        """End an interaction with its answer, as its call does."""
        async with self.database.read() as connection:
            row = known(await find_row(connection, interaction_id), interaction_id)
        answer = await self.ledger.finished_text(interaction_id, 0)
        assert answer is not None
        await results.end_answered(row, 0, answer)

    async def part(self, interaction_id: str, text: str) -> None:
        """Let a model say a part of an answer."""
        call = PlannedCall(place=0, provider="openrouter", model="model/0")
        ordinal = await begun(self.ledger, interaction_id, call, NOON)
        broken = LLMProviderServiceError("broken", error_type=ErrorType.TRUNCATED)
        await self.ledger.fail(interaction_id, ordinal, broken, QUICK, partial=text)

    async def said(self) -> list[str]:
        return [line.content for line in await self.conversations.transcript("s1", user_id=None, after=0, limit=99)]


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(InteractionStore(database), AttemptLedger(database), Conversations(database), database)


async def test_the_answer_becomes_the_reply(desk: Desk) -> None:
    interaction_id = await desk.turn("Hi there", place=1)
    view = await desk.keep(StoreResults(interaction_id=interaction_id, answered_place=1))
    assert (view.status, view.message, view.model) == (InteractionStatus.COMPLETED, "Hi there", "model/1")
    assert (view.finish_reason, view.degraded, view.error) == ("stop", False, None)
    assert await desk.said() == ["Hello", "Hi there"]


async def test_a_reply_is_stored_in_the_personas_style(desk: Desk) -> None:
    desk.personas = [persona(reply={"emoji": "remove", "sign_off": "Yours, Cherry"})]
    interaction_id = await desk.turn("Cherry: Hi 😀")
    view = await desk.keep(StoreResults(interaction_id=interaction_id, answered_place=0))
    assert view.message == "Hi\n\nYours, Cherry"
    assert await desk.said() == ["Hello", "Hi\n\nYours, Cherry"]


async def test_the_agent_that_asked_formats_the_reply(desk: Desk) -> None:
    desk.agents["shouting"] = Shouting
    interaction_id = await desk.turn("Hi", agent="shouting")
    assert (await desk.keep(StoreResults(interaction_id=interaction_id, answered_place=0))).message == "HI"


@pytest.mark.parametrize(("agent", "personas"), [("broken", [persona()]), ("gone", [persona()]), ("conversation", [])])
async def test_a_reply_that_cannot_be_formatted_stays_as_the_model_wrote_it(
    desk: Desk, agent: str, personas: list[PersonaConfig]
) -> None:
    desk.agents["broken"] = Broken
    desk.personas = personas
    interaction_id = await desk.turn("Hi 😀", agent=agent)
    assert (await desk.keep(StoreResults(interaction_id=interaction_id, answered_place=0))).message == "Hi 😀"


async def test_a_reply_that_was_shown_while_it_came_stays_as_the_model_wrote_it(desk: Desk) -> None:
    desk.personas = [persona(reply={"emoji": "remove", "sign_off": "Yours, Cherry"})]
    interaction_id = await desk.turn("Hi 😀", reply_as_written=True)
    assert (await desk.keep(StoreResults(interaction_id=interaction_id, answered_place=0))).message == "Hi 😀"


CALLS = [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rom"}'}}]


@pytest.mark.parametrize("text", ["", "Let me look 😀"])
async def test_a_reply_that_calls_tools_is_kept_as_written_and_can_be_sent_again(desk: Desk, text: str) -> None:
    desk.personas = [persona(reply={"emoji": "remove", "sign_off": "Yours, Cherry"})]
    interaction_id = await desk.turn()
    await desk.answer(interaction_id, text, tool_calls=CALLS, finish_reason="tool_calls")
    results = StoreResults(interaction_id=interaction_id, answered_place=0)
    view = await desk.keep(results)
    assert (view.status, view.message, view.tool_calls) == (InteractionStatus.COMPLETED, text, CALLS)
    assert view.finish_reason == "tool_calls"
    assert await desk.keep(results) == view
    assert await desk.said() == ["Hello", text]
    window = await desk.store.take_place(await opened(desk.store), 1000)
    *_, reply = await desk.conversations.history("s1", window)
    assert reply == {"role": "assistant", "content": text or None, "tool_calls": CALLS}


async def test_a_reply_of_calls_alone_is_watched_to_its_end_without_a_word(desk: Desk) -> None:
    interaction_id = await opened_watched(desk.store)
    await desk.answer(interaction_id, "", tool_calls=CALLS)
    await desk.keep(StoreResults(interaction_id=interaction_id, answered_place=0))
    async with desk.database.read() as connection:
        told = await read_events(connection, interaction_id, 0, 99)
    assert [event.type for event in told] == ["interaction.created", "attempt.started", "interaction.completed"]


async def test_a_cancelled_reply_calls_no_tools(desk: Desk) -> None:
    interaction_id = await desk.turn()
    await desk.answer(interaction_id, "", tool_calls=CALLS)
    view = await desk.keep(StoreResults(interaction_id=interaction_id, error=CANCELLED))
    assert (view.status, view.message, view.tool_calls) == (InteractionStatus.CANCELLED, None, None)


async def test_keeping_twice_is_keeping_once(desk: Desk) -> None:
    interaction_id = await desk.turn("Hi")
    results = StoreResults(interaction_id=interaction_id, answered_place=0)
    first, again = await desk.keep(results), await desk.keep(results)
    assert first == again
    assert await desk.said() == ["Hello", "Hi"]
    assert [event.type for event in desk.events] == ["interaction.completed"]


async def test_a_late_cancellation_gets_the_reply_that_was_recorded(desk: Desk) -> None:
    interaction_id = await desk.turn("Hi")
    first = await desk.keep(StoreResults(interaction_id=interaction_id, answered_place=0))
    late = await desk.keep(StoreResults(interaction_id=interaction_id, error=CANCELLED))
    assert late == first


async def test_a_late_answer_gets_the_cancellation_that_was_recorded(desk: Desk) -> None:
    interaction_id = await desk.turn("Hi")
    await desk.keep(StoreResults(interaction_id=interaction_id, error=CANCELLED))
    late = await desk.keep(StoreResults(interaction_id=interaction_id, answered_place=0))
    assert (late.status, late.message) == (InteractionStatus.CANCELLED, None)
    assert await desk.said() == ["Hello"]


async def test_when_no_model_answered_the_persona_says_its_own_line(desk: Desk) -> None:
    interaction_id = await desk.turn()
    view = await desk.keep(StoreResults(interaction_id=interaction_id, error=RATE_LIMIT))
    assert (view.status, view.message, view.degraded) == (InteractionStatus.FAILED, "One moment.", True)
    assert (view.error, view.model) == (RATE_LIMIT, None)
    window = await desk.store.take_place(await opened(desk.store), 1000)
    assert window == MemoryWindow(first_sequence=1, last_sequence=1, messages=1, tokens=window.tokens)


async def test_even_without_its_persona_a_turn_gets_a_line(desk: Desk) -> None:
    desk.personas = []
    interaction_id = await desk.turn()
    view = await desk.keep(StoreResults(interaction_id=interaction_id, error=RATE_LIMIT))
    assert view.degraded
    assert view.message


async def test_who_wants_an_error_gets_no_line(desk: Desk) -> None:
    interaction_id = await desk.turn(on_failure="error")
    view = await desk.keep(StoreResults(interaction_id=interaction_id, error=RATE_LIMIT))
    assert (view.status, view.message, view.degraded) == (InteractionStatus.FAILED, None, False)
    assert await desk.said() == ["Hello"]


@pytest.mark.parametrize("on_failure", ["reply", "error"])
async def test_a_cancelled_turn_has_no_reply(desk: Desk, on_failure: str) -> None:
    interaction_id = await desk.turn(on_failure=on_failure)
    view = await desk.keep(StoreResults(interaction_id=interaction_id, error=CANCELLED))
    assert (view.status, view.message, view.error) == (InteractionStatus.CANCELLED, None, CANCELLED)


async def test_without_any_reason_no_model_was_available(desk: Desk) -> None:
    interaction_id = await desk.turn()
    view = await desk.keep(StoreResults(interaction_id=interaction_id))
    assert view.error is not None
    assert view.error.type is ErrorType.UNAVAILABLE


async def test_an_answer_that_is_gone_with_a_restored_backup_ends_as_a_failure_that_says_so(desk: Desk) -> None:
    view = await desk.keep(StoreResults(interaction_id=await desk.turn(), answered_place=0))
    assert (view.status, view.degraded) == (InteractionStatus.FAILED, True)
    assert view.error is not None
    assert "no longer in the database" in view.error.detail


async def test_what_nobody_opened_cannot_end(desk: Desk) -> None:
    with pytest.raises(UnknownResourceError):
        await desk.keep(StoreResults(interaction_id="none", error=RATE_LIMIT))


@pytest.mark.parametrize(("error", "told"), [(RATE_LIMIT, "interaction.failed"), (CANCELLED, "interaction.cancelled")])
async def test_subscribers_hear_the_end_with_the_whole_response(desk: Desk, error: InteractionError, told: str) -> None:
    ended = await desk.keep(StoreResults(interaction_id=await desk.turn(), error=error))
    [event] = desk.events
    assert event.type == told
    assert getattr(event, "response", None) == ended


async def test_a_bare_completion_is_stored_as_the_model_wrote_it(desk: Desk) -> None:
    asked = CompletionRequest(interaction_id=new_id(), user_id="ada")
    await desk.store.open_completion(asked, PROMPT)
    await desk.answer(asked.interaction_id, "  Cherry: 😀 ")
    view = await desk.keep(StoreResults(interaction_id=asked.interaction_id, answered_place=0))
    assert (view.message, view.session_id, view.model) == ("  Cherry: 😀 ", None, "model/0")


async def test_a_bare_completion_that_failed_has_no_line(desk: Desk) -> None:
    asked = CompletionRequest(interaction_id=new_id(), user_id="ada")
    await desk.store.open_completion(asked, PROMPT)
    view = await desk.keep(StoreResults(interaction_id=asked.interaction_id, error=RATE_LIMIT))
    assert (view.status, view.message, view.error) == (InteractionStatus.FAILED, None, RATE_LIMIT)


@pytest.mark.parametrize("on_failure", ["reply", "error"])
@pytest.mark.parametrize("policy", ["incomplete", "continue"])
async def test_a_part_that_is_kept_is_the_reply_as_the_model_wrote_it(desk: Desk, policy: str, on_failure: str) -> None:
    desk.personas = [persona(reply={"emoji": "remove", "sign_off": "Yours, Cherry"})]
    interaction_id = await desk.turn(on_failure=on_failure)
    await desk.store.save_prompt(interaction_id, PROMPT, {"plan": {"after_output": policy}}, agent="conversation")
    await desk.part(interaction_id, "Once 😀 upon")
    view = await desk.keep(StoreResults(interaction_id=interaction_id, error=RATE_LIMIT))
    assert (view.status, view.message, view.degraded) == (InteractionStatus.INCOMPLETE, "Once 😀 upon", False)
    assert (view.error, view.model, view.provider) == (RATE_LIMIT, "model/0", "openrouter")
    assert await desk.said() == ["Hello", "Once 😀 upon"]
    assert [event.type for event in desk.events] == ["interaction.incomplete"]


@pytest.mark.parametrize("explanation", [{}, {"plan": {}}, {"plan": {"after_output": "restart"}}])
async def test_a_part_that_is_to_be_forgotten_is_no_reply(desk: Desk, explanation: dict[str, dict[str, str]]) -> None:
    interaction_id = await desk.turn()
    await desk.store.save_prompt(interaction_id, PROMPT, explanation)
    await desk.part(interaction_id, "Once upon")
    view = await desk.keep(StoreResults(interaction_id=interaction_id, error=RATE_LIMIT))
    assert (view.status, view.message, view.degraded) == (InteractionStatus.FAILED, "One moment.", True)


@pytest.mark.parametrize(
    ("policy", "kept"), [("restart", None), ("incomplete", "Once upon"), ("continue", "Once upon")]
)
async def test_a_turn_cancelled_between_calls_keeps_a_part_that_was_not_to_be_forgotten(
    desk: Desk, policy: str, kept: str | None
) -> None:
    interaction_id = await desk.turn()
    await desk.store.save_prompt(interaction_id, PROMPT, {"plan": {"after_output": policy}})
    await desk.part(interaction_id, "Once upon")
    view = await desk.keep(StoreResults(interaction_id=interaction_id, error=CANCELLED))
    assert (view.status, view.message) == (InteractionStatus.CANCELLED, kept)


async def test_a_whole_answer_wins_over_a_part(desk: Desk) -> None:
    interaction_id = await desk.turn()
    await desk.store.save_prompt(interaction_id, PROMPT, {"plan": {"after_output": "continue"}})
    await desk.part(interaction_id, "Once")
    await desk.answer(interaction_id, "Once upon a time", place=1)
    view = await desk.keep(StoreResults(interaction_id=interaction_id, answered_place=1))
    assert (view.status, view.message, view.model) == (InteractionStatus.COMPLETED, "Once upon a time", "model/1")


# --- ended with the answer ---


async def test_the_last_step_need_not_read_what_was_ended_in_its_process_a_moment_ago(desk: Desk) -> None:
    interaction_id = await desk.turn("Hi")
    last_step = StoreResults(interaction_id=interaction_id, answered_place=0)
    results = desk.results()
    await desk.end_answered(results, interaction_id)
    with statements(desk.database, "SELECT") as seen:
        view = await results.keep(last_step)
    assert seen == []
    assert view == await desk.store.view(interaction_id)
    assert await results.keep(last_step) == await desk.keep(last_step) == view  # repeated, and in another worker
