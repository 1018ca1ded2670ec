"""What is sent to a model, and how another one is asked to go on with a text that broke off."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from core.orchestrator.contracts import Message

_GO_ON = (
    "Your last message was cut off. Go on exactly where it stopped, in the middle of a word if need be: repeat none of "
    "it, and say nothing about the interruption."
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """Exactly what is sent to a model."""

    messages: list[Message]
    temperature: float
    max_tokens: int | None
    parameters: dict[str, Any] = field(default_factory=dict)
    """How the model is to answer beyond that, by the names of OpenAI's chat API: `top_p`, `tools`, …"""

    @property
    def offers_tools(self) -> bool:
        """Whether the model may call tools of the client's."""
        return bool(self.parameters.get("tools")) and self.parameters.get("tool_choice") != "none"

    def parameters_after(self, text: str) -> dict[str, Any]:
        """Return how the model is to answer, where `text` has been said already: what completes a JSON text is none."""
        if not text:
            return self.parameters
        return {name: value for name, value in self.parameters.items() if name != "response_format"}

    def continuing(self, text: str) -> list[Message]:
        """Return messages that ask for what follows `text`; for what follows nothing, those of the prompt.

        The text is followed by a request, rather than left as the last message: not every model takes one of its own
        as the beginning of its answer.
        """
        if not text:
            return self.messages
        return [*self.messages, {"role": "assistant", "content": text}, {"role": "user", "content": _GO_ON}]


def read_prompt(row: Row[Any]) -> Prompt:
    """Return the prompt that a row of `prompts` holds."""
    return Prompt(row.messages, row.temperature, row.max_tokens, row.parameters or {})
