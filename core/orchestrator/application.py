"""What every process of ours starts with: logs, plugins, providers, personas and the database, in that order.

The composition roots (`worker.py`, `api/app.py`, `cli.py`) build their parts on top of it.
"""

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial

from core.orchestrator.access.keys import KeyRing
from core.orchestrator.agents.base import Agent
from core.orchestrator.agents.formatter import check_formatters
from core.orchestrator.agents.selection import agents
from core.orchestrator.calls.cancelling import Cancellations
from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.calls.reconciliation import Reconciliation
from core.orchestrator.config import Settings
from core.orchestrator.contracts import DEFAULT_PROVIDER
from core.orchestrator.errors import ConfigurationError
from core.orchestrator.events import EventBus, events
from core.orchestrator.interactions.erasing import Erasure
from core.orchestrator.interactions.limits import Allowance, Limits
from core.orchestrator.interactions.listing import InteractionLists
from core.orchestrator.interactions.results import Results
from core.orchestrator.interactions.room import Room
from core.orchestrator.interactions.settlement import Settlement
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.logs import configure_logging, log_events
from core.orchestrator.memory.budget import MemoryBudget
from core.orchestrator.memory.conversations import Conversations
from core.orchestrator.models.catalogue import ModelCatalogue
from core.orchestrator.models.cooldowns import Cooldowns
from core.orchestrator.models.planning import ModelPlanner
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.plugins import load_plugins
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.providers.openai_compatible import OpenAICompatibleProvider
from core.orchestrator.providers.openrouter import OpenRouterProvider
from core.orchestrator.providers.registry import llm_providers, register_llm_provider
from core.orchestrator.registry import Registry
from core.orchestrator.replies.trimming import ReplyLogTrimmer
from core.orchestrator.runs import Runs
from core.orchestrator.storage.database import Database, open_database
from core.orchestrator.telemetry import names
from core.orchestrator.telemetry.calls import CallTelemetry
from core.orchestrator.telemetry.counting import InteractionCounter
from core.orchestrator.telemetry.labels import ModelLabel, PersonaLabel
from core.orchestrator.telemetry.metrics import Metrics
from core.orchestrator.telemetry.tracing import name_trace, tracer, tracing_is_wanted
from core.orchestrator.usage import UsageReports

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Application:
    """The domain, assembled."""

    settings: Settings
    database: Database
    personas: PersonaLibrary
    providers: Registry[LLMProvider] = field(default_factory=lambda: llm_providers)
    agents: Registry[Agent] = field(default_factory=lambda: agents)
    events: EventBus = field(default_factory=lambda: events)
    metrics: Metrics = field(default_factory=Metrics)
    is_traced: bool = False
    """Spans are made: whoever started the process has seen to it that they are sent."""

    @cached_property
    def keys(self) -> KeyRing:
        """Who may use the API."""
        return KeyRing.parse(self.settings.API_KEYS)

    @property
    def store(self) -> InteractionStore:
        """The interactions."""
        return InteractionStore(self.database)

    @cached_property
    def limits(self) -> Limits:
        """How many interactions are let in."""
        settings = self.settings
        return Limits(
            Allowance(
                open_in_all=settings.OPEN_INTERACTIONS_LIMIT,
                open_per_user=settings.OPEN_INTERACTIONS_LIMIT_PER_USER,
                open_per_key=settings.OPEN_INTERACTIONS_LIMIT_PER_KEY,
                per_minute_and_user=settings.INTERACTIONS_PER_MINUTE_PER_USER,
                per_minute_and_key=settings.INTERACTIONS_PER_MINUTE_PER_KEY,
            )
        )

    @property
    def interaction_lists(self) -> InteractionLists:
        """The interactions of a user or a session."""
        return InteractionLists(self.database)

    @property
    def cancellations(self) -> Cancellations:
        """The interactions that somebody wants ended."""
        return Cancellations(self.database)

    @property
    def ledger(self) -> AttemptLedger:
        """The calls to models."""
        return AttemptLedger(self.database)

    @property
    def conversations(self) -> Conversations:
        """The messages of sessions."""
        return Conversations(self.database)

    @property
    def trimmer(self) -> ReplyLogTrimmer:
        """Removes what nobody needs any more."""
        settings = self.settings
        return ReplyLogTrimmer(
            self.database,
            timedelta(seconds=settings.REPLY_LOG_LIFETIME_SECONDS),
            timedelta(days=settings.HISTORY_RETENTION_DAYS),
        )

    @property
    def cooldowns(self) -> Cooldowns:
        """The models that keep failing."""
        settings = self.settings
        length = timedelta(seconds=settings.LLM_COOLDOWN_SECONDS)
        return Cooldowns(self.database, settings.LLM_COOLDOWN_AFTER_FAILURES, length)

    @cached_property
    def catalogue(self) -> ModelCatalogue:
        """The models on offer, remembered."""
        lifetime = timedelta(seconds=self.settings.MODEL_CATALOGUE_LIFETIME_SECONDS)
        return ModelCatalogue(self.database, self.providers, lifetime)

    @cached_property
    def planner(self) -> ModelPlanner:
        """Which models are asked."""
        return ModelPlanner(
            self.settings.DEFAULT_LLM_MODEL,
            self.settings.LLM_FALLBACK_MODELS,
            providers=self.providers,
            catalogue=self.catalogue,
            cooldowns=self.cooldowns,
        )

    @property
    def memory_budget(self) -> MemoryBudget:
        """How much of a conversation is remembered."""
        return MemoryBudget(self.settings.MEMORY_TOKEN_BUDGET, self.planner, self.personas)

    @cached_property
    def model_label(self) -> ModelLabel:
        """Under which names models are counted."""
        names = [self.settings.DEFAULT_LLM_MODEL, *self.settings.LLM_FALLBACK_MODELS]
        for persona in self.personas:
            names += [*([persona.model] if persona.model else []), *(persona.fallback_models or [])]
        names += [name.partition(":")[2] for name in names]  # such as `ollama:llama3`, whose provider stands beside it
        return ModelLabel(self.catalogue.find, [name for name in names if name])

    @cached_property
    def counter(self) -> InteractionCounter:
        """Counts interactions."""
        personas = PersonaLabel([persona.id for persona in self.personas])
        return InteractionCounter(self.metrics, self.model_label, personas)

    @cached_property
    def call_telemetry(self) -> CallTelemetry:
        """Measures calls to models."""
        return CallTelemetry(self.metrics, self.model_label, self.counter, tracer() if self.is_traced else None)

    @property
    def usage(self) -> UsageReports:
        """What was used and what it cost."""
        return UsageReports(self.database)

    def results(self, runs: Runs) -> Results:
        """How interactions end; turns in line are told through `runs`."""
        return Results(
            store=self.store,
            ledger=self.ledger,
            personas=self.personas,
            agents=self.agents,
            events=self.events,
            runs=runs,
            reconciliation=self.reconciliation(runs),
        )

    def reconciliation(self, runs: Runs) -> Reconciliation:
        """What broken calls cost in the end; the looking up is repeated through `runs`."""
        return Reconciliation(self.database, self.providers, runs, settled=self.counter.settled)

    def settlement(self, runs: Runs) -> Settlement:
        """What becomes of interactions whose workflow is gone."""
        return Settlement(self.store, self.ledger, self.results(runs), runs)

    def room(self, runs: Runs) -> Room:
        """Makes room behind the limits."""
        return Room(self.database, self.settlement(runs))

    def erasure(self, runs: Runs) -> Erasure:
        """Erases sessions and users, and their histories through `runs`."""
        return Erasure(self.database, self.store, runs, self.events)

    async def close(self) -> None:
        """Release connections; a provider that fails to is logged and keeps nobody else from it."""
        for provider in self.providers.made():
            try:
                await provider.aclose()
            except Exception:
                logger.exception("provider '%s' could not be closed", provider.provider_name)
        await self.database.close()


async def start_application(settings: Settings, *, embedded: bool = False) -> Application:
    """Assemble the domain, and make sure that the database's schema is up to date.

    Args:
        settings: as they are.
        embedded: everything runs in this one process, which may bring any database's schema up to date by itself.

    Raises:
        ConfigurationError: a setting, a plugin or a persona is wrong, or the schema is not up to date.
        StorageUnavailableError: the database did not answer.
    """
    is_traced = tracing_is_wanted()
    configure_logging(settings.LOG_LEVEL, settings.secrets, [name_trace] if is_traced else [])
    register_openrouter(settings)
    register_further_providers(settings)
    load_plugins(settings.PLUGINS)
    log_events(events)
    personas = PersonaLibrary.load(settings.PERSONAS_DIR)
    if settings.DEFAULT_PERSONA_ID not in personas:
        raise ConfigurationError(
            f"DEFAULT_PERSONA_ID: there is no persona '{settings.DEFAULT_PERSONA_ID}' in {settings.PERSONAS_DIR}"
        )
    check_formatters(personas)
    database = open_database(settings.database, connections=settings.DATABASE_CONNECTIONS)
    try:
        await database.prepare(alone=embedded)
    except BaseException:
        await database.close()
        raise
    application = Application(settings=settings, database=database, personas=personas, is_traced=is_traced)
    application.counter.listen(events)
    application.metrics.observe(names.DATABASE_CONNECTIONS, lambda: [(database.connections_in_use, {})])
    return application


def register_openrouter(settings: Settings) -> None:
    """Make OpenRouter, or what stands in for it, the default provider."""
    register_llm_provider(
        DEFAULT_PROVIDER,
        lambda: OpenRouterProvider(
            api_key=settings.OPENROUTER_API_KEY,
            base_url=settings.OPENROUTER_BASE_URL,
            default_model=settings.DEFAULT_LLM_MODEL,
            first_token_timeout=settings.first_token_timeout,
            stall_timeout=settings.stall_timeout,
        ),
    )


def register_further_providers(settings: Settings) -> None:
    """Make the servers known that the settings name."""
    for name, base_url in settings.LLM_PROVIDERS.items():
        register_llm_provider(
            name,
            partial(
                OpenAICompatibleProvider,
                name,
                base_url,
                api_key=settings.LLM_PROVIDER_KEYS.get(name),
                first_token_timeout=settings.first_token_timeout,
                stall_timeout=settings.stall_timeout,
            ),
        )
