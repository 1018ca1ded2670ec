"""A client of OpenAI's APIs, as tests of conversations need it: it says things, and is answered."""

from dataclasses import dataclass
from typing import Any

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.contracts import InteractionRequest, InteractionStatus, Message
from core.orchestrator.interactions.opening import Opened, Opening
from core.orchestrator.interactions.said import Said
from core.orchestrator.interactions.store import Ending, InteractionStore
from core.orchestrator.memory.chat_messages import is_plain, text_of
from core.orchestrator.memory.conversations import Conversations, StoredSession
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.domain import ANY_BUDGET, request

ROLES = {"u": "user", "a": "assistant", "t": "tool"}


def talk(*lines: str | Message) -> list[Message]:
    """Messages in short: `u: Hello`, `a: Hi`, or as they are."""
    return [_message(line) if isinstance(line, str) else line for line in lines]


def _message(line: str) -> Message:
    role, _, text = line.partition(": ")
    return {"role": ROLES[role], "content": text}


@dataclass
class Talk:
    """What is said, and what is kept of it."""

    database: Database

    def __post_init__(self) -> None:
        self.store = InteractionStore(self.database)
        self.ledger = AttemptLedger(self.database)
        self.conversations = Conversations(self.database)

    async def say(
        self,
        *lines: str | Message,
        session_id: str | None = "c",
        opening: dict[str, Any] | None = None,
        asked: dict[str, Any] | None = None,
        **said: Any,
    ) -> Opened:
        """Send messages as `/v1` does."""
        all_said = Said(talk(*lines), **said)
        news = all_said.messages if session_id is None else all_said.new
        message = next((text_of(one) for one in reversed(all_said.messages) if one["role"] == "user"), "")
        plain = is_plain(news, "user") and not (said.keys() & _BESIDE)
        wanted = request(message, session_id=session_id, has_input=not plain, **(asked or {}))
        return await self.store.open_turn(wanted, Opening(said=all_said, **(opening or {})))

    async def answer(self, opened: Opened, text: str = "", **ending: Any) -> None:
        """End an interaction with a reply."""
        interaction_id = opened.request.interaction_id
        await self.store.take_place(interaction_id, 0)
        await self.store.end(interaction_id, Ending(InteractionStatus.COMPLETED, reply=text, **ending))

    async def fail(self, opened: Opened) -> None:
        interaction_id = opened.request.interaction_id
        await self.store.take_place(interaction_id, 0)
        await self.store.end(interaction_id, Ending(InteractionStatus.FAILED))

    async def turn(self, *lines: str | Message, reply: str, **fields: Any) -> Opened:
        """Hold a whole turn."""
        opened = await self.say(*lines, **fields)
        await self.answer(opened, reply)
        return opened

    async def transcript(self, session_id: str = "c") -> list[str]:
        found = await self.conversations.transcript(session_id, user_id=None, after=0, limit=1000)
        return [f"{message.role[0]}: {message.content}" for message in found]

    async def memory(self, opened: Opened) -> list[Message]:
        """What a turn would remember."""
        window = await self.store.take_place(opened.request.interaction_id, ANY_BUDGET)
        return list(await self.conversations.history(session_of(opened), window))

    async def sessions(self, user_id: str = "ada") -> dict[str, StoredSession]:
        found = await self.conversations.sessions(user_id, after=None, limit=1000)
        return {session.session_id: session for session in found}


_BESIDE = {"instructions", "parameters", "echo"}


def session_of(opened: Opened) -> str:
    assert isinstance(opened.request, InteractionRequest)
    assert opened.request.session_id is not None
    return opened.request.session_id
