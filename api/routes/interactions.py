"""The interaction as a resource: `/api/llm/interactions`."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.dependencies import App, Service
from core.orchestrator.contracts import InteractionView

router = APIRouter(prefix="/api/llm/interactions", tags=["interactions"])


@router.get("/{interaction_id}", summary="An interaction and where it stands")
async def read(
    interaction_id: str,
    service: Service,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for its end.")] = 0,
) -> InteractionView:
    """Return the interaction as it is now, or as soon as it ends within `wait` seconds."""
    return await service.current(interaction_id, wait)


@router.get("/{interaction_id}/explain", summary="Why an interaction came out as it did")
async def explain(interaction_id: str, application: App) -> dict[str, Any]:
    """Return persona version, memory used and dropped, token budget, model plan, and the exact messages sent."""
    return await application.store.explanation(interaction_id)
