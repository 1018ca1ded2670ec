"""What crosses a boundary: the payloads of workflows and activities, and the replies of the HTTP API.

Every model here is written into Temporal histories or promised to HTTP clients, so a new field always has a
default, and none is ever renamed. Ids and short text only: prompts, memory and the messages of `/direct` stay in
the store, where these payloads' ids find them.
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from core.orchestrator.errors import ErrorType, NextStep

DEFAULT_PROVIDER = "openrouter"
"""Serves every model whose name selects no other provider."""
INTERACTION_WORKFLOW = "interaction"
COMPLETION_WORKFLOW = "completion"
RECONCILIATION_WORKFLOW = "reconciliation"
PLACE_FREED_SIGNAL = "place_freed"

Message = dict[str, Any]
"""A chat message: `role` and `content`, the latter a string or OpenAI-style parts."""
ToolCall = dict[str, Any]
"""A call of a tool, as OpenAI's chat API writes it: `id`, `type` and `function` with `name` and `arguments`."""


class InteractionKind(StrEnum):
    """What was asked for: a reply in character, or a bare completion."""

    INTERACT = "interact"
    DIRECT = "direct"


class InteractionStatus(StrEnum):
    """Where an interaction stands. The last four are final."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"

    @property
    def is_final(self) -> bool:
        """Whether the interaction has ended."""
        return self not in (InteractionStatus.QUEUED, InteractionStatus.IN_PROGRESS)


class AttemptStatus(StrEnum):
    """How one upstream call ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class OnFailure(StrEnum):
    """What a caller wants when no model answered."""

    REPLY = "reply"
    """The persona's own fallback line."""
    ERROR = "error"
    """An error."""


class AfterOutput(StrEnum):
    """What follows when a call breaks after some of its text was shown."""

    RESTART = "restart"
    """Forget the text, and ask again: the same model or the next one, as the failure suggests."""
    INCOMPLETE = "incomplete"
    """Keep the text as the reply, marked as incomplete, and ask nobody else."""
    CONTINUE = "continue"
    """Keep the text; the next model, or else the same one, continues it."""


class MultitaskStrategy(StrEnum):
    """What happens when a message is sent to a session whose earlier turns have not ended."""

    ENQUEUE = "enqueue"
    """It waits for them."""
    REJECT = "reject"
    """It is refused."""
    INTERRUPT = "interrupt"
    """They are cancelled, and keep what they said by then."""
    ROLLBACK = "rollback"
    """They are cancelled, and leave no message."""


def model_name(provider: str, model: str) -> str:
    """Return the name by which a client asks for a provider's model: `openai/gpt-4`, `ollama:llama3`."""
    return model if provider == DEFAULT_PROVIDER else f"{provider}:{model}"


class Contract(BaseModel):
    """Base: unknown fields are ignored, so that a newer writer does not break an older reader."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


Dollars = Annotated[float, AfterValidator(lambda dollars: round(dollars, 12))]
"""US dollars. Sums of binary fractions carry noise far behind the point; no price reaches so far."""


class Usage(Contract):
    """Tokens and cost of one call or of several. None means unknown, never 0."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    """Prompt tokens the upstream had cached; part of `prompt_tokens`."""
    reasoning_tokens: int | None = None
    """Tokens spent on reasoning; part of `completion_tokens`."""
    cost_usd: Dollars | None = None
    """US dollars, as the provider billed them."""
    estimated_cost_usd: Dollars | None = None
    """Where `cost_usd` is null: what the whole may have cost, by list prices. An estimate, and never part of a bill."""


class Attempt(Contract):
    """One upstream call, as it stands in the ledger."""

    ordinal: int
    """1 for the interaction's first call, then counting on, Temporal's retries included."""
    model: str
    """The model that was asked."""
    provider: str
    """Ours: the part before the colon, such as `openrouter`."""
    upstream_provider: str | None = None
    """Who served it, as the provider names it."""
    answered_model: str | None = None
    status: AttemptStatus
    error_type: ErrorType | None = None
    http_status: int | None = None
    """What HTTP said."""
    error_code: str | None = None
    """What the body said."""
    detail: str | None = None
    """The error, or why the model was skipped, in one line without secrets."""
    generation_id: str | None = None
    usage: Usage | None = None
    first_token_ms: int | None = None
    """Milliseconds from the request to the first text."""
    duration_ms: int | None = None
    """Milliseconds the whole call took."""
    wait_ms: int | None = None
    """Milliseconds to wait before the next call; Temporal may take a little longer."""


class InteractionError(Contract):
    """Why an interaction failed."""

    type: ErrorType
    detail: str


class InteractionView(Contract):
    """An interaction as a client sees it: the response of `/interact` and of `GET …/interactions/{id}`."""

    message: str | None = None
    """The reply; None while there is none."""
    tool_calls: Annotated[list[ToolCall] | None, Field(exclude_if=lambda calls: calls is None)] = None
    """The client's own tools that the model wants called before it goes on; absent where there are none."""
    persona_id: str | None = None
    persona_name: str | None = None
    persona_version: str | None = None
    """The first 12 hexadecimal digits of the hash of the persona's content."""
    model: str | None = None
    provider: str | None = None
    usage: Usage = Usage()
    session_id: str | None = None
    interaction_id: str
    workflow_id: str
    agent: str | None = None
    status: InteractionStatus
    finish_reason: str | None = None
    degraded: bool = False
    """True when `message` is the persona's fallback line rather than a model's answer."""
    error: InteractionError | None = None
    attempts: list[Attempt] = Field(default_factory=list)
    response_time_ms: int | None = None
    """Milliseconds from acceptance to the end."""


class CompletionView(Contract):
    """The response of `/direct`."""

    content: str
    model: str | None
    provider: str | None
    usage: Usage
    finish_reason: str | None
    response_time_ms: int | None
    interaction_id: str
    attempts: list[Attempt]


class ModelInfo(Contract):
    """A model as its provider's catalogue lists it. None means that the catalogue does not say."""

    id: str
    """The name its provider knows it by."""
    name: str | None = None
    """For people."""
    context_length: int | None = None
    """Tokens that prompt and answer may take together."""
    max_completion_tokens: int | None = None
    prompt_usd: float | None = None
    """US dollars per prompt token."""
    completion_usd: float | None = None
    """US dollars per completion token."""


# --- workflow and activity payloads ---------------------------------------------------------------------------


class InteractionRequest(Contract):
    """Input of the `interaction` workflow: everything needed to re-create the turn, should the store lack it."""

    interaction_id: str
    user_id: str
    session_id: str | None = None
    """The conversation. None: nothing is remembered, and the client sends all that was said before."""
    persona_id: str
    message: str
    """What the user said last, as text; a part of it where it is very long and `has_input`."""
    has_input: bool = False
    """More came with the message than stands here, such as images or an earlier conversation: the store has it."""
    model: str | None = None
    fallback_models: list[str] | None = None
    """None: the persona's, else the setting's. Empty: none."""
    temperature: float | None = None
    max_tokens: int | None = None
    context: dict[str, JsonValue] = Field(default_factory=dict)
    agent: str | None = None
    """Forces an agent by name."""
    on_failure: OnFailure = OnFailure.REPLY
    after_output: AfterOutput | None = None
    """None: the persona's, else `restart`."""
    reply_as_written: bool = False
    """The reply stays as the model wrote it, because it was shown so while it came."""


class CompletionRequest(Contract):
    """Input of the `completion` workflow. The messages are in the store."""

    interaction_id: str
    user_id: str
    model: str | None = None
    fallback_models: list[str] | None = None
    temperature: float | None = None
    max_tokens: int | None = None


class MemoryWindow(Contract):
    """Result of `load_memory`: which messages of the session the prompt may see, not their text."""

    ended: bool = False
    """The turn had ended already; nothing is left to do but to report it."""
    waiting_on: str | None = None
    """The interaction whose turn comes first; None once this turn's place has come."""
    ahead: int = 1
    """How many turns come before this one, as far as it matters: at most ten are counted."""
    first_sequence: int | None = None
    """Oldest message kept; None when there is none."""
    last_sequence: int | None = None
    messages: int = 0
    """How many messages are kept."""
    tokens: int = 0
    """Their estimated cost."""
    dropped: int = 0
    """Messages of the session left out because the budget was spent."""
    budget: int | None = None
    """Estimated tokens that memory may take in this turn; None where nobody said."""
    budget_reason: str | None = None
    """Why no more: what the model asked first has room for; None: the setting says so."""


class BuildPrompt(Contract):
    """Input of `build_prompt`."""

    interaction_id: str
    window: MemoryWindow | None = None
    """None for a bare completion."""


class PlannedCall(Contract):
    """One model of the plan."""

    place: int
    """0 for the model asked for, 1 for the first fallback, …"""
    provider: str
    model: str
    """The name the provider knows it by."""
    context_length: int | None = None
    """Tokens that prompt and answer may take together; None where the catalogue does not know."""
    cooling: str | None = None
    """Why the model is asked only when no other is left: it kept failing. None: it is well."""
    cooling_error: ErrorType | None = None
    """What it kept failing with."""


class SkippedCall(Contract):
    """A model of the plan that was passed over."""

    call: PlannedCall
    error_type: ErrorType
    reason: str


class CallLimits(Contract):
    """The time limits of one interaction, in seconds; settings of the worker that planned it."""

    deadline_seconds: float = 300
    """The whole interaction, from the moment its place has come."""
    call_seconds: float = 180
    """One upstream call."""
    heartbeat_seconds: float = 15
    """After this long without a sign of life a worker counts as lost."""


class PromptPlan(Contract):
    """Result of `build_prompt`: what will be asked of whom. The prompt itself is in the store."""

    prompt_tokens: int = 0
    """Estimated."""
    agent: str | None = None
    persona_version: str | None = None
    calls: list[PlannedCall] = Field(default_factory=list)
    limits: CallLimits = CallLimits()
    after_output: AfterOutput = AfterOutput.RESTART


class CallModel(Contract):
    """Input of `call_model`."""

    interaction_id: str
    call: PlannedCall
    after_output: AfterOutput = AfterOutput.RESTART
    is_last: bool = True
    """Nobody is left to be asked after this model."""
    skipped: list[SkippedCall] = Field(default_factory=list)
    """The models passed over since the call before."""


class CancelCall(Contract):
    """Input of `cancel_call`: whose call is to stop, wherever it runs."""

    interaction_id: str


class ModelAnswer(Contract):
    """Result of `call_model`."""

    place: int
    text: str
    model: str
    provider: str
    finish_reason: str | None = None
    usage: Usage | None = None
    attempts: list[Attempt] = Field(default_factory=list)
    """The calls made to this model, the answering one last."""


class CallFailure(Contract):
    """What `call_model` attaches to its error: why, who is next, and the calls made to this model so far."""

    error_type: ErrorType
    detail: str
    then: NextStep
    attempts: list[Attempt] = Field(default_factory=list)


class StoreResults(Contract):
    """Input of `store_results`: the place whose answer is the reply, or why there is none."""

    interaction_id: str
    answered_place: int | None = None
    error: InteractionError | None = None


class Reconcile(Contract):
    """Input of the `reconciliation` workflow: whose calls to look up at their provider."""

    interaction_id: str


class Reconciled(Contract):
    """Result of the `reconciliation` workflow."""

    settled: int = 0
    """Calls of the interaction whose cost is known now."""
    unknown: int = 0
    """Calls whose provider did not tell in time, or never tells: their cost stays unknown."""
