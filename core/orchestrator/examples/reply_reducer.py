"""From events to the reply: what any client of the stream needs, whichever connections its events came through.

Connections break, and events come twice. It does not matter: feed every event to `add`, in the order of arrival, ask
after a break for those after `last_number` (`?starting_after=`, or the header `Last-Event-ID`), and `text` is at the
end the stored reply, byte for byte.
"""

from dataclasses import dataclass
from typing import Any


@dataclass
class Reply:
    """The reply to one interaction, as far as its events have come."""

    interaction_id: str | None = None
    last_number: int = 0
    """The `sequence_number` of the last event taken in."""
    text: str = ""
    """The reply so far."""
    response: dict[str, Any] | None = None
    """The whole interaction, once it has ended."""

    def add(self, event: dict[str, Any]) -> bool:
        """Take in the `data` of an event, and return whether it was new."""
        if event["sequence_number"] <= self.last_number:
            return False
        self.interaction_id = event["interaction_id"]
        self.last_number = event["sequence_number"]
        if event["type"] == "text.delta":
            self.text += event["delta"]
        elif event["type"] == "text.reset":
            self.text = ""
        self.response = event.get("response")  # the terminal event has it, and nothing follows that
        return True
