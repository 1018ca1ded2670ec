"""A call's text, shown in the reply log while it comes."""

from collections.abc import Callable, Sequence

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.events import EventBus, TextDelta
from core.orchestrator.providers.redaction import TextRedactor
from core.orchestrator.replies.writing import DeltaWriter


class Showing:
    """Shows what one call says."""

    def __init__(
        self,
        interaction_id: str,
        attempt: int,
        ledger: AttemptLedger,
        events: EventBus,
        refused: Callable[[], None],
        *,
        before: str = "",
        secrets: Sequence[str] = (),
    ) -> None:
        """Log the text through `ledger`, and publish it; `refused` is called when the call is no longer the latest.

        Args:
            interaction_id: whose call.
            attempt: its ordinal.
            ledger: refuses the text of a call that is closed.
            events: where it is published.
            refused: told when it is refused.
            before: what was shown already, and this call continues.
            secrets: what the whole text must not hold. A provider sees to that within its own; two may each say a part.
        """
        self._interaction_id = interaction_id
        self._attempt = attempt
        self._ledger = ledger
        self._events = events
        self._writer = DeltaWriter(self._write, refused)
        self._guards = [_Guard(secret, before) for secret in secrets] if before else []

    def add(self, piece: str) -> None:
        """Show some more text, soon."""
        for guard in self._guards:
            piece = guard.add(piece)
        if piece:
            self._writer.add(piece)

    async def rest(self) -> list[TextDelta]:
        """Stop, and return what has not been shown yet."""
        text = await self._writer.drain()
        return [self._delta(text)] if text else []

    async def _write(self, text: str) -> bool:
        delta = self._delta(text)
        shown = await self._ledger.show(delta)
        if shown:
            self._events.publish(delta)
        return shown

    def _delta(self, text: str) -> TextDelta:
        return TextDelta(interaction_id=self._interaction_id, attempt=self._attempt, delta=text)


class _Guard:
    """Holds back what may complete a secret that the text before begins."""

    def __init__(self, secret: str, before: str) -> None:
        self._redactor = TextRedactor(secret)
        self._shown = before[len(self._redactor.add(before)) :]  # the secret's beginning, as it may be: it is out

    def add(self, piece: str) -> str:
        text = self._redactor.add(piece)
        if self._shown and text:
            text, self._shown = text.removeprefix(self._shown), ""
        return text
