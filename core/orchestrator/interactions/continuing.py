"""How another model is asked to go on with a text that broke off."""

from collections.abc import Sequence

from core.orchestrator.contracts import Message

_GO_ON = (
    "Your last message was cut off. Go on exactly where it stopped, in the middle of a word if need be: repeat none of "
    "it, and say nothing about the interruption."
)


def continued(messages: Sequence[Message], text: str) -> list[Message]:
    """Return a prompt that asks for what follows `text`.

    The text is followed by a request, rather than left as the last message: not every model takes one of its own as
    the beginning of its answer.
    """
    return [*messages, {"role": "assistant", "content": text}, {"role": "user", "content": _GO_ON}]
