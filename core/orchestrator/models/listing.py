"""A provider's list of models: made sound, and kept in the store for every process.

What a provider, a plugin or an older version wrote is taken for what it is: anything at all.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import islice

from sqlalchemy import select

from core.orchestrator.contracts import ModelInfo
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.providers.model_list import sound_model
from core.orchestrator.providers.untrusted import as_mapping, one_line
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import catalogues
from core.orchestrator.storage.upserts import put

_MOST_MODELS = 20_000


@dataclass(frozen=True, slots=True)
class Listing:
    """What a provider listed, and when (UTC)."""

    fetched_at: datetime
    models: dict[str, ModelInfo]
    """By name."""
    source: str
    """Stands for where the provider looked: see `source_of`."""


class StoredListings:
    """The lists every process shares."""

    def __init__(self, database: Database) -> None:
        """Keep them in `database`."""
        self._database = database

    async def load(self, providers: Collection[str]) -> dict[str, Listing]:
        """Return those of some providers, unless nothing in them makes sense.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        if not providers:
            return {}
        async with self._database.read() as connection:
            rows = (await connection.execute(select(catalogues).where(catalogues.c.provider.in_(providers)))).all()
        listings = {row.provider: _listing(row.fetched_at, row.models) for row in rows}
        return {provider: listing for provider, listing in listings.items() if listing.models}

    async def fetched_at(self) -> dict[str, datetime]:
        """Return when each was fetched.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        async with self._database.read() as connection:
            rows = (await connection.execute(select(catalogues.c.provider, catalogues.c.fetched_at))).all()
        return {row.provider: row.fetched_at for row in rows}

    async def save(self, provider: str, listing: Listing) -> None:
        """Replace a provider's list.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        models = [model.model_dump(exclude_none=True) for model in listing.models.values()]
        async with self._database.write() as connection:
            kept = {"source": listing.source, "models": models}
            await put(connection, catalogues, {"provider": provider, "fetched_at": listing.fetched_at, "models": kept})


def source_of(provider: LLMProvider) -> str:
    """Return a stand-in for where a provider looks; an address may hold what nobody is to read."""
    return sha256(str(provider.models_source).encode(errors="replace")).hexdigest()[:16]


def _listing(fetched_at: datetime, stored: object) -> Listing:
    fields = as_mapping(stored)
    return Listing(fetched_at, sound_models(fields.get("models")), one_line(fields.get("source")))


def sound_models(listed: object) -> dict[str, ModelInfo]:
    """Return the models of a list by name, leaving out what is none; iterating may raise whatever the list does."""
    if not isinstance(listed, Iterable) or isinstance(listed, str | bytes):
        return {}
    found: dict[str, ModelInfo] = {}
    for item in islice(listed, _MOST_MODELS):
        fields = item.__dict__ if isinstance(item, ModelInfo) else item
        model = sound_model(fields) if isinstance(fields, Mapping) else None
        if model is not None:
            found.setdefault(model.id, model)
    return found
