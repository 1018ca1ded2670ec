"""Keeping a provider's key to itself, whatever the upstream echoes.

Labels and errors are short and nobody's prose: there every identifying part of the key is taken out. An answer's text
is somebody's words, in which a part such as `sk-or-v1` may rightly occur: there the whole key is, also where it comes
in pieces. Only the end of a piece that may be the beginning of the key waits for the next one, so a text without it
costs one search.
"""

from core.orchestrator.providers.untrusted import IDENTIFYING_LENGTH, REDACTED, redact


class Redactor:
    """Takes one key out of what an upstream sent."""

    def __init__(self, key: str = "") -> None:
        """Without a key there is nothing to hide; nor with a placeholder, such as `none` or `ollama`: words, not keys.

        Args:
            key: one shorter than `IDENTIFYING_LENGTH` protects nothing, and taking it out would maim the text.
        """
        self._key = key if len(key) >= IDENTIFYING_LENGTH else ""

    def line(self, text: str) -> str:
        """Return a label or a message without the key or any identifying part of it."""
        return redact(text, [self._key])

    def identity(self, text: str | None) -> str | None:
        """Return an id as it is; None where it holds a part of the key: nothing could be looked up under the rest."""
        return text if text and self.line(text) == text else None

    def text(self) -> "TextRedactor":
        """Return what reads one answer's text."""
        return TextRedactor(self._key)


class TextRedactor:
    """Takes the key out of a text that comes in pieces."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._held = ""

    def add(self, piece: str) -> str:
        """Take in one piece, and return what can be shown by now."""
        if not self._key:
            return piece
        text = (self._held + piece).replace(self._key, REDACTED)
        start = self._start_of_key(text)
        self._held = text[start:]
        return text[:start]

    def end(self) -> str:
        """Return what was held back; redacted where the text was cut off deep within the key."""
        held, self._held = self._held, ""
        return REDACTED if len(held) * 2 > len(self._key) > 0 else held

    def _start_of_key(self, text: str) -> int:
        """Return where the longest end of the text starts that is a beginning of the key; its length without one."""
        start = text.find(self._key[0], max(0, len(text) - len(self._key) + 1))
        while start >= 0 and not self._key.startswith(text[start:]):
            start = text.find(self._key[0], start + 1)
        return start if start >= 0 else len(text)
