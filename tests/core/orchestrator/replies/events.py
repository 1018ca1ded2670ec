"""Events of the reply log in one word."""

from core.orchestrator.events import TextDelta, TextReset


def delta(interaction_id: str, text: str, attempt: int = 1) -> TextDelta:
    return TextDelta(interaction_id=interaction_id, attempt=attempt, delta=text)


def reset(interaction_id: str, attempt: int = 1) -> TextReset:
    return TextReset(interaction_id=interaction_id, attempt=attempt)
