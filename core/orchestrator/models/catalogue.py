"""What providers say about their models: context lengths, limits and list prices.

Everything here is a help and nothing is needed: a provider without a list, or one that cannot be reached, leaves what
was known of it before, or nothing, and no interaction ever waits for a catalogue. Each process keeps the lists in
memory; the store hands them from one to the other, so that most of them need not fetch.
"""

import asyncio
import difflib
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core.orchestrator.clock import Clock, utc_now
from core.orchestrator.contracts import DEFAULT_PROVIDER, ModelInfo, Usage
from core.orchestrator.errors import StorageUnavailableError
from core.orchestrator.foreign import must_go_on
from core.orchestrator.models.fetching import described, listed_by
from core.orchestrator.models.listing import Listing, StoredListings, source_of
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry
from core.orchestrator.storage.database import Database

logger = logging.getLogger(__name__)

_FIRST_RETRY = timedelta(seconds=15)
_LAST_RETRY = timedelta(minutes=15)
_JITTER = 0.05
"""So much of a wait is left to chance: then one process fetches, and the others find its copy."""
_ROUTING_SUFFIXES = (":nitro", ":floor", ":online", ":exacto")
"""OpenRouter takes them after any model's name and lists none of them."""
_LOOK_AROUND = timedelta(hours=1)
"""When to look again while there is nothing to fetch."""
_MOST_COMPARED = 100_000
"""Characters: what compares faster than anybody notices. OpenRouter's whole list has a third of it."""
_SHORTEST_PAUSE = timedelta(seconds=0.1)


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One model of one provider's list."""

    provider: str
    model: ModelInfo


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old a provider's list is."""

    provider: str
    fetched_at: datetime
    """UTC."""
    stale: bool
    """It is older than it should be: the provider did not give a newer one."""


@dataclass(frozen=True, slots=True)
class _Trouble:
    failures: int
    """In a row."""
    retry_at: datetime


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_NO_TROUBLE = _Trouble(0, _LONG_AGO)


class ModelCatalogue:
    """The models on offer, as far as their providers tell."""

    def __init__(
        self, database: Database, providers: Registry[LLMProvider], lifetime: timedelta, clock: Clock = utc_now
    ) -> None:
        """Fetch a list again when it is older than `lifetime`."""
        self._stored = StoredListings(database)
        self._providers = providers
        self._lifetime = lifetime
        self._clock = clock
        self._listings: dict[str, Listing] = {}
        self._trouble: dict[str, _Trouble] = {}
        self._listless: set[str] = set()
        """Providers that have no list."""

    # --- asking: from memory, at once ---

    def find(self, provider: str, model: str) -> ModelInfo | None:
        """Return what is known of a model, or None."""
        listing = self._listings.get(provider)
        if listing is None:
            return None
        info = listing.models.get(model)
        if info is None and provider == DEFAULT_PROVIDER and model.endswith(_ROUTING_SUFFIXES):
            base = listing.models.get(model.rpartition(":")[0])
            # The same model, served by whoever suits the suffix: at a price of its own.
            return base and base.model_copy(update={"id": model, "prompt_usd": None, "completion_usd": None})
        return info

    def is_loaded(self, provider: str) -> bool:
        """Say whether the provider's list is known: only then a model missing in it says something."""
        return provider in self._listings

    def entries(self) -> list[CatalogueEntry]:
        """Return every known model, by provider, then by name."""
        return [
            CatalogueEntry(provider, model)
            for provider, listing in sorted(self._listings.items())
            for _, model in sorted(listing.models.items())
        ]

    def freshness(self) -> list[Freshness]:
        """Return how old the known lists are, by provider."""
        now = self._clock()
        # Shortly after its lifetime a list is being fetched, or the store has a newer one.
        age = self._lifetime * (1 + 2 * _JITTER)
        return [
            Freshness(provider, listing.fetched_at, listing.fetched_at + age < now)
            for provider, listing in sorted(self._listings.items())
        ]

    def suggest(self, provider: str, model: str) -> str | None:
        """Return the listed name that is nearest to one that is not listed; None where nothing is near."""
        listing = self._listings.get(provider)
        if listing is None:
            return None
        # People leave out the vendor: `gpt-4` stands for `openai/gpt-4`.
        names = {name.rpartition("/")[2].lower(): name for name in reversed(listing.models)}
        names |= {name.lower(): name for name in listing.models}
        if sum(map(len, names)) > _MOST_COMPARED:
            return None
        near = difflib.get_close_matches(model.lower(), names, n=1)
        return names[near[0]] if near else None

    def estimate(self, provider: str, model: str, usage: Usage) -> float | None:
        """Return what tokens cost by list price, in US dollars; None where a count or a price is not known."""
        info = self.find(provider, model)
        if info is None or info.prompt_usd is None or info.completion_usd is None:
            return None
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        return usage.prompt_tokens * info.prompt_usd + usage.completion_tokens * info.completion_usd

    # --- keeping it fresh: in the background ---

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Keep the catalogue fresh during the block, whose beginning and end wait for no provider."""
        task = asyncio.create_task(self.keep_fresh())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def keep_fresh(self) -> None:
        """Take over the stored lists, then fetch what is missing or old, until cancelled."""
        while True:
            pause = await self.refresh()
            await asyncio.sleep(pause.total_seconds() * random.uniform(1, 1 + _JITTER))  # noqa: S311 - no secret

    async def refresh(self) -> timedelta:
        """Take over newer stored lists, then fetch those that are missing or old; never raises.

        Returns:
            When to do so again.
        """
        await self._take_over_stored()
        now = self._clock()
        due = [name for name in self._providers.names() if (moment := self._due_at(name)) and moment <= now]
        async with asyncio.TaskGroup() as fetching:  # which, unlike `gather`, ends after every one of them
            for name in due:
                fetching.create_task(self._fetch(name))
        now = self._clock()
        moments = [moment for name in self._providers.names() if (moment := self._due_at(name))]
        return max(_SHORTEST_PAUSE, min(moments) - now) if moments else _LOOK_AROUND

    def _due_at(self, provider: str) -> datetime | None:
        """Return when a list is to be fetched; None where there is none."""
        if provider in self._listless:
            return None
        listing = self._listings.get(provider)
        due = listing.fetched_at + self._lifetime if listing else _LONG_AGO
        return max(due, self._trouble.get(provider, _NO_TROUBLE).retry_at)

    async def _take_over_stored(self) -> None:
        try:
            dates = await self._stored.fetched_at()
            newer = [name for name, fetched_at in dates.items() if self._is_news(name, fetched_at)]
            stored = await self._stored.load(newer)
        except StorageUnavailableError as error:
            logger.warning("the stored lists of models cannot be read: %s", error)
            return
        self._listings |= {name: listing for name, listing in stored.items() if listing.source == self._source(name)}

    def _source(self, name: str) -> str | None:
        try:
            return source_of(self._providers.get(name))
        except BaseException as error:  # a plugin's provider may raise anything
            if must_go_on(error):
                raise
            return None

    def _is_news(self, provider: str, fetched_at: datetime) -> bool:
        known = self._listings.get(provider)
        return provider in self._providers and (known is None or known.fetched_at < fetched_at)

    async def _fetch(self, name: str) -> None:
        try:
            provider = self._providers.get(name)
            if type(provider).list_models is LLMProvider.list_models:
                self._listless.add(name)
                return
            source = source_of(provider)
            models = await listed_by(provider)
        except BaseException as error:  # a plugin's provider may raise anything
            if must_go_on(error):
                raise
            self._note_failure(name, error)
            return
        if self._trouble.pop(name, _NO_TROUBLE).failures:
            logger.info("the models of provider '%s' can be listed again", name)
        if not models:  # it has no list, or none for now
            self._trouble[name] = _Trouble(0, self._clock() + self._lifetime)
            return
        listing = Listing(self._clock(), models, source)
        self._listings[name] = listing
        try:
            await self._stored.save(name, listing)
        except StorageUnavailableError as error:
            logger.warning("the models of provider '%s' cannot be stored: %s", name, error)

    def _note_failure(self, name: str, error: BaseException) -> None:
        earlier = self._trouble.get(name, _NO_TROUBLE)
        failures = earlier.failures + 1
        wait = min(_FIRST_RETRY * 2 ** min(failures - 1, 10), _LAST_RETRY, self._lifetime)
        self._trouble[name] = _Trouble(failures, self._clock() + wait)
        if failures == 1:
            known = "what it listed last is used" if name in self._listings else "nothing is known of them"
            logger.warning("the models of provider '%s' cannot be listed; %s: %s", name, known, described(error))
