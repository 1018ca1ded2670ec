"""Every name that leaves the process: of metrics, their labels, spans and their attributes.

Dashboards and alerts are written against them, so a change here is a change for their owners. What begins with
`gen_ai.` is OpenTelemetry's vocabulary for generative AI (status: development), and `http.`, `error.` its stable one;
`temporal_` are the Temporal SDK's own names, and the rest is ours.
"""

from dataclasses import dataclass
from enum import StrEnum, auto

# --- attributes: of spans, and as labels of metrics -----------------------------------------------------------

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
CONVERSATION = "gen_ai.conversation.id"
AGENT_ID = "gen_ai.agent.id"
AGENT_NAME = "gen_ai.agent.name"
AGENT_VERSION = "gen_ai.agent.version"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_STREAM = "gen_ai.request.stream"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
RESPONSE_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - a name, no secret
ERROR_TYPE = "error.type"
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
INTERACTION = "orchestrator.interaction.id"
ATTEMPT = "orchestrator.attempt"
TRY = "temporal.activity.attempt"
WORKFLOW = "temporal.workflow.id"

CHAT = "chat"
"""The operation, and the first word of its spans' names: `chat openai/gpt-4`."""
INVOKE_AGENT = "invoke_agent"
"""The same of a whole interaction: `invoke_agent cherry`."""

# --- labels that only metrics have: short, for they are typed into queries ------------------------------------

PERSONA = "persona"
STATUS = "status"
STATUS_CLASS = "status_class"
DEGRADED = "degraded"
KIND = "kind"
UNTIL = "until"

OTHER = "other"
"""Stands for every value beyond those that are counted by name."""
NONE = "none"
"""Stands for no value, such as the persona of a bare completion."""


class InstrumentKind(StrEnum):
    """How values add up."""

    COUNTER = auto()
    """It only grows."""
    HISTOGRAM = auto()
    """How often a value lay in which range."""
    GAUGE = auto()
    """What is so at the moment it is read."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric."""

    name: str
    kind: InstrumentKind
    unit: str
    """As UCUM writes it; in braces where it only annotates a number."""
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_COUNTER, _HISTOGRAM, _GAUGE = InstrumentKind.COUNTER, InstrumentKind.HISTOGRAM, InstrumentKind.GAUGE
_OF_A_CALL = (OPERATION, PROVIDER, REQUEST_MODEL)
# The ranges of the first three are those that the GenAI conventions name, and of HTTP those of its conventions.
_CALL_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_CHUNK_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_TOKENS = tuple(4.0**power for power in range(14))
_HTTP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_WAIT_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_TASK_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# --- as they happen, by the process where they happen ---------------------------------------------------------

HTTP_DURATION = Instrument(
    "http.server.request.duration",
    _HISTOGRAM,
    "s",
    "requests to the API by how long they took; a stream takes until its end",
    (HTTP_METHOD, HTTP_ROUTE, STATUS_CLASS),
    _HTTP_SECONDS,
)
HTTP_ACTIVE = Instrument("http.server.active_requests", _GAUGE, "{request}", "requests to the API under way")
STREAMS = Instrument("orchestrator.streams", _GAUGE, "{stream}", "clients that watch a reply as it comes")
WAITS = Instrument("orchestrator.waits", _GAUGE, "{request}", "requests that wait for the end of an interaction")
CALLS_RUNNING = Instrument("orchestrator.calls.running", _GAUGE, "{call}", "calls to models under way")
CALL_DURATION = Instrument(
    "gen_ai.client.operation.duration",
    _HISTOGRAM,
    "s",
    "calls to models by how long they took; failed ones by their `error.type`",
    (*_OF_A_CALL, ERROR_TYPE),
    _CALL_SECONDS,
)
FIRST_CHUNK = Instrument(
    "gen_ai.client.operation.time_to_first_chunk",
    _HISTOGRAM,
    "s",
    "calls to models by how long the first text took",
    _OF_A_CALL,
    _FIRST_CHUNK_SECONDS,
)
TOKEN_USAGE = Instrument(
    "gen_ai.client.token.usage",
    _HISTOGRAM,
    "{token}",
    "calls to models by tokens of the prompt (`input`) and of the answer (`output`), where the provider told",
    (*_OF_A_CALL, TOKEN_TYPE),
    _TOKENS,
)
QUEUE_WAIT = Instrument(
    "orchestrator.queue.wait",
    _HISTOGRAM,
    "s",
    "how long interactions waited, from acceptance `until` their place had come and the prompt was built (`place`), "
    "and until the first call began (`call`)",
    (UNTIL,),
    _WAIT_SECONDS,
)
BEGUN = Instrument("orchestrator.interactions.begun", _COUNTER, "{interaction}", "interactions accepted", (PERSONA,))
DATABASE_CONNECTIONS = Instrument(
    "orchestrator.database.connections", _GAUGE, "{connection}", "database connections in use"
)

# --- once, when an interaction has ended, by the process that ended it: as its attempts then stand in the ledger

ENDED = Instrument(
    "orchestrator.interactions.ended",
    _COUNTER,
    "{interaction}",
    "interactions that have ended; `degraded`: with the persona's fallback line",
    (PERSONA, STATUS, DEGRADED),
)
INTERACTION_DURATION = Instrument(
    "orchestrator.interaction.duration",
    _HISTOGRAM,
    "s",
    "interactions by how long they took, from acceptance to the end",
    (STATUS,),
    _WAIT_SECONDS,
)
ATTEMPTS = Instrument(
    "orchestrator.attempts",
    _COUNTER,
    "{call}",
    "calls to models as the ledger has them, lost ones included",
    (PROVIDER, REQUEST_MODEL, STATUS, ERROR_TYPE),
)
TOKENS = Instrument(
    "orchestrator.tokens",
    _COUNTER,
    "{token}",
    "tokens as the ledger has them; `cached` ones are part of `prompt`, `reasoning` ones of `completion`",
    (PROVIDER, REQUEST_MODEL, KIND),
)
COST = Instrument(
    "orchestrator.cost.usd", _COUNTER, "{USD}", "US dollars as providers billed them", (PROVIDER, REQUEST_MODEL)
)
COST_UNKNOWN = Instrument(
    "orchestrator.cost.unknown",
    _COUNTER,
    "{call}",
    "calls that may cost something nobody told when their interaction ended",
    (PROVIDER, REQUEST_MODEL),
)
COST_SETTLED = Instrument(
    "orchestrator.cost.settled",
    _COUNTER,
    "{call}",
    "those of them whose cost was found out later; it is part of the cost from then on",
    (PROVIDER, REQUEST_MODEL),
)

# --- of the Temporal SDK, under its own names -----------------------------------------------------------------

_WORKER_TYPE, _ACTIVITY, _OF_WORKFLOW = "worker_type", "activity_type", "workflow_type"
_OF_REQUEST = ("operation", "status_code")
TEMPORAL = (
    Instrument("temporal_worker_task_slots_available", _GAUGE, "", "free places for tasks", (_WORKER_TYPE,)),
    Instrument("temporal_worker_task_slots_used", _GAUGE, "", "tasks under way", (_WORKER_TYPE,)),
    Instrument("temporal_num_pollers", _GAUGE, "", "requests for tasks that are open", ("poller_type",)),
    Instrument("temporal_sticky_cache_size", _GAUGE, "", "workflows held in memory"),
    Instrument(
        "temporal_workflow_task_schedule_to_start_latency",
        _HISTOGRAM,
        "s",
        "how long workflow tasks waited for a worker",
        (),
        _TASK_SECONDS,
    ),
    Instrument(
        "temporal_workflow_task_execution_latency",
        _HISTOGRAM,
        "s",
        "how long workflow tasks took",
        (_OF_WORKFLOW,),
        _TASK_SECONDS,
    ),
    Instrument(
        "temporal_workflow_task_execution_failed",
        _COUNTER,
        "",
        "workflow tasks that failed; code that does not fit a history shows here",
        (_OF_WORKFLOW, "failure_reason"),
    ),
    Instrument(
        "temporal_activity_schedule_to_start_latency",
        _HISTOGRAM,
        "s",
        "how long model calls waited for a worker",
        (),
        _TASK_SECONDS,
    ),
    Instrument("temporal_activity_execution_failed", _COUNTER, "", "activities that failed", (_ACTIVITY,)),
    Instrument(
        "temporal_local_activity_execution_latency",
        _HISTOGRAM,
        "s",
        "how long the steps around a model call took",
        (_ACTIVITY,),
        _TASK_SECONDS,
    ),
    Instrument("temporal_local_activity_execution_failed", _COUNTER, "", "steps that failed", (_ACTIVITY,)),
    Instrument("temporal_request_failure", _COUNTER, "", "requests to Temporal that failed", _OF_REQUEST),
    Instrument("temporal_long_request_failure", _COUNTER, "", "polls of Temporal that failed", _OF_REQUEST),
)

OURS = (
    HTTP_DURATION,
    HTTP_ACTIVE,
    STREAMS,
    WAITS,
    BEGUN,
    QUEUE_WAIT,
    CALLS_RUNNING,
    CALL_DURATION,
    FIRST_CHUNK,
    TOKEN_USAGE,
    ENDED,
    INTERACTION_DURATION,
    ATTEMPTS,
    TOKENS,
    COST,
    COST_UNKNOWN,
    COST_SETTLED,
    DATABASE_CONNECTIONS,
)
EVERY_INSTRUMENT = (*OURS, *TEMPORAL)
