"""Why an interaction came out as it did, as the API tells it.

The store keeps the explanation as it was written while the prompt was built; what is not described here passes too.
"""

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from core.orchestrator.contracts import (
    AfterOutput,
    Attempt,
    InteractionError,
    InteractionStatus,
    Message,
    PlannedCall,
)
from core.orchestrator.errors import ErrorType


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


class ExplainedPersona(_Part):
    """The persona that spoke."""

    id: str
    name: str
    version: str
    """The first 12 hexadecimal digits of the hash of the persona's content."""


class ExplainedAgent(_Part):
    """The agent that built the prompt."""

    name: str
    forced: bool
    """The request named it."""
    scores: dict[str, float]
    """How well each agent said it suits the context."""


class UsedMemory(_Part):
    """The earlier messages the prompt holds."""

    messages: int
    tokens: int
    """Estimated."""
    first_sequence: int | None
    last_sequence: int | None


class DroppedMemory(_Part):
    """The earlier messages the prompt does not hold."""

    messages: int
    reason: str | None


class ExplainedMemory(_Part):
    """What the prompt remembers of the session."""

    used: UsedMemory
    dropped: DroppedMemory
    token_budget: int | None
    """Estimated tokens that memory might take."""
    token_budget_reason: str | None = None
    """Why so many: the setting, or what the model asked first has room for."""


class ExplainedBudget(_Part):
    """Estimated tokens of the prompt, by section."""

    system: int | None = None
    memory: int | None = None
    message: int | None = None
    total: int


class ExplainedSkip(_Part):
    """A model that kept failing of late."""

    provider: str
    model: str
    error_type: ErrorType
    """What it failed with."""
    reason: str


class ExplainedPlan(_Part):
    """Which models were to be asked, in order, and who said so."""

    models: list[PlannedCall]
    model_from: str
    """`request`, `persona` or `setting`."""
    fallbacks_from: str
    """`request`, `persona` or `setting`."""
    after_output: AfterOutput | None = None
    """What was to follow when a call broke after text was shown."""
    after_output_from: str | None = None
    """`request`, `persona` or `setting`."""
    skipped: list[ExplainedSkip]
    """Models that were to be asked only when no other was left."""


class ExplainedPartial(_Part):
    """What a call had said when it broke."""

    attempt: int
    """Its ordinal."""
    text: str
    """With what it continued: the whole text so far."""


class Explanation(_Part):
    """An interaction explained. What is not known yet, or does not apply to a bare completion, is null."""

    interaction_id: str
    status: InteractionStatus
    error: InteractionError | None
    attempts: list[Attempt]
    """The calls that were made."""
    partials: list[ExplainedPartial] = Field(default_factory=list)
    """What broken calls had said. With `after_output: continue` the call after one was sent `messages`, then this text
    as the assistant's, then a request to go on."""
    persona: ExplainedPersona | None = None
    agent: ExplainedAgent | None = None
    memory: ExplainedMemory | None = None
    budget: ExplainedBudget | None = None
    plan: ExplainedPlan | None = None
    messages: list[Message] | None = None
    """Exactly what was sent."""
    temperature: float | None = None
    max_tokens: int | None = None
    parameters: dict[str, JsonValue] | None = None
    """How the model was to answer beyond that, by the names of OpenAI's chat API."""
    instructions: list[Message] | None = None
    """The client's own system and developer messages: a part of `messages`, after the persona's."""
