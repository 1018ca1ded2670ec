"""Which models can be asked, as far as their providers tell: `/api/models`."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from api.dependencies import App
from api.fields import Identifier, ModelCursor, PageSize
from api.pages import Page
from api.strict_route import StrictRoute
from core.orchestrator.application import Application
from core.orchestrator.contracts import ModelInfo
from core.orchestrator.errors import ErrorType, UnknownResourceError
from core.orchestrator.models.catalogue import CatalogueEntry
from core.orchestrator.models.cooldowns import Cooling, ModelKey
from core.orchestrator.providers.registry import split_model_name

router = APIRouter(prefix="/api", tags=["catalogue"], route_class=StrictRoute)


class _Described(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, from_attributes=True)


class CoolingModel(_Described):
    """A model kept failing: for a while it is asked only when no other is left."""

    until: datetime
    """When one interaction tries it again; UTC."""
    error_type: ErrorType
    """What it failed with."""
    detail: str
    """Its last error."""


class ModelSummary(_Described):
    """A model, in a list. Null means that the provider does not say."""

    id: str
    """What a client sends as `model`."""
    provider: str
    name: str | None
    """For people."""
    context_length: int | None
    """Tokens that prompt and answer may take together."""
    max_completion_tokens: int | None
    prompt_usd_per_token: float | None
    completion_usd_per_token: float | None
    cooling: CoolingModel | None
    """Why it is asked last; null: it is well."""


class ListedProvider(_Described):
    """A provider whose list of models is known."""

    provider: str
    fetched_at: datetime
    """When the list was fetched; UTC."""
    stale: bool
    """It is older than it should be: the provider did not give a newer one."""


class ModelPage(Page[ModelSummary]):
    """A part of the list of models, and how old what is known is."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    providers: list[ListedProvider]
    """A provider that is missing here has no list, or has not told it yet; its models can be asked all the same."""


@router.get("/models", summary="The models that providers list")
async def models(
    application: App,
    provider: Annotated[Identifier | None, Query(description="Only this provider's.")] = None,
    cursor: Annotated[ModelCursor | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: PageSize = 50,
) -> ModelPage:
    """Return one page of the known models, by provider and name.

    A model that is not listed can be asked as well; it is shown while it cools.
    """
    if provider is not None and provider not in application.providers:
        raise UnknownResourceError("provider", provider)
    cooling = await application.cooldowns.current()
    entries = [entry for entry in _entries(application, cooling) if provider in (None, entry.provider)]
    found = entries[_place_after(cursor, entries, application) :][: limit + 1]
    page = Page.of([_summary(entry, cooling, application) for entry in found], limit, lambda model: model.id)
    return ModelPage(
        items=page.items,
        next_cursor=page.next_cursor,
        providers=[
            ListedProvider.model_validate(listed)
            for listed in application.catalogue.freshness()
            if provider in (None, listed.provider)
        ],
    )


def _entries(application: Application, cooling: Mapping[ModelKey, Cooling]) -> list[CatalogueEntry]:
    """Return the listed models, and those that cool without being listed."""
    listed = {(entry.provider, entry.model.id): entry for entry in application.catalogue.entries()}
    unlisted = {key: CatalogueEntry(key[0], ModelInfo(id=key[1])) for key in cooling if key not in listed}
    return [entry for _, entry in sorted((listed | unlisted).items())]


def _place_after(cursor: str | None, entries: Sequence[CatalogueEntry], application: Application) -> int:
    """Return where the next page begins, also where the model that ended the last one has left the list since."""
    if cursor is None:
        return 0
    ids = [_id(entry, application) for entry in entries]
    if cursor in ids:
        return ids.index(cursor) + 1
    keys = [(entry.provider, entry.model.id) for entry in entries]
    return bisect_right(keys, split_model_name(cursor, application.providers))


def _summary(entry: CatalogueEntry, cooling: Mapping[ModelKey, Cooling], application: Application) -> ModelSummary:
    model = entry.model
    cools = cooling.get((entry.provider, model.id))
    return ModelSummary(
        id=_id(entry, application),
        provider=entry.provider,
        name=model.name,
        context_length=model.context_length,
        max_completion_tokens=model.max_completion_tokens,
        prompt_usd_per_token=model.prompt_usd,
        completion_usd_per_token=model.completion_usd,
        cooling=cools and CoolingModel.model_validate(cools),
    )


def _id(entry: CatalogueEntry, application: Application) -> str:
    """Return the shortest name that selects this model of this provider."""
    if split_model_name(entry.model.id, application.providers) == (entry.provider, entry.model.id):
        return entry.model.id
    return f"{entry.provider}:{entry.model.id}"
