"""What a client of OpenAI's APIs says at once: often all that was said before, with how the model is to answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.orchestrator.contracts import Message


@dataclass(frozen=True, slots=True)
class Said:
    """One request of such a client, beside what an `InteractionRequest` holds."""

    messages: Sequence[Message]
    """As sent, oldest first and without instructions. The last ones, from nobody but the user and the client's tools,
    are new; those before them, if any, are what the client takes for the conversation so far."""
    instructions: Sequence[Message] = ()
    """System and developer messages. They count for this turn alone, and follow the persona's own."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """How the model is to answer, by the names of OpenAI's chat API, beside temperature and length."""
    echo: Mapping[str, Any] = field(default_factory=dict)
    """What the client wants to find in the answer again, such as `metadata`."""
    answers: str | None = None
    """The interaction whose reply this follows; None: as the messages and the session say."""
    resends: bool | None = None
    """Whether the client always sends the whole conversation; None: that shows once it has sent a reply again."""
    is_retry: bool = False
    """The client says that it has sent the same a moment ago, and heard nothing."""

    @property
    def new(self) -> Sequence[Message]:
        """What follows the last reply: at least one message."""
        return self.messages[self._begin :]

    @property
    def earlier(self) -> Sequence[Message]:
        """The conversation so far, as the client has it; empty where it sends only what is new."""
        return self.messages[: self._begin]

    @property
    def _begin(self) -> int:
        replies = [index for index, message in enumerate(self.messages) if message["role"] == "assistant"]
        return replies[-1] + 1 if replies else 0
