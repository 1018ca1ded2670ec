"""Labels of metrics whose values are bounded, whatever clients send.

Every distinct value is a series of its own, kept for as long as the process runs; and the names of models come from
clients. So only names that somebody else vouches for are counted as such, and of these only so many.
"""

from collections.abc import Callable, Collection

from core.orchestrator.telemetry.names import NONE, OTHER

VALUES_AT_MOST = 100


class BoundedLabel:
    """The values of one label."""

    def __init__(self, at_most: int = VALUES_AT_MOST) -> None:
        """Let through the first `at_most` values."""
        self._at_most = at_most
        self._seen: set[str] = set()

    def of(self, value: str) -> str:
        """Return the value, or what stands for all the others."""
        if value in self._seen:
            return value
        if len(self._seen) >= self._at_most:
            return OTHER
        self._seen.add(value)
        return value


class ModelLabel:
    """The models' label."""

    def __init__(
        self, listed: Callable[[str, str], object], configured: Collection[str], at_most: int = VALUES_AT_MOST
    ) -> None:
        """Name the models that are `listed` by their provider, or `configured` by name; the latter always."""
        self._listed = listed
        self._configured = frozenset(configured)
        self._label = BoundedLabel(at_most)

    def of(self, provider: str, model: str) -> str:
        """Return the name under which a model is counted."""
        if model in self._configured:
            return model
        return OTHER if self._listed(provider, model) is None else self._label.of(model)


class PersonaLabel:
    """The personas' label."""

    def __init__(self, personas: Collection[str]) -> None:
        """Name these."""
        self._personas = frozenset(personas)

    def of(self, persona_id: str | None) -> str:
        """Return the name under which a persona is counted; one may be gone since its interaction began."""
        if persona_id is None:
            return NONE
        return persona_id if persona_id in self._personas else OTHER
