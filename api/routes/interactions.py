"""The interaction as a resource: `/api/llm/interactions`."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import App, Service
from api.explanation import Explanation
from api.fields import InteractionId
from api.strict_route import StrictRoute
from core.orchestrator.contracts import InteractionView

router = APIRouter(prefix="/api/llm/interactions", tags=["interactions"], route_class=StrictRoute)


@router.get("/{interaction_id}", summary="An interaction and where it stands")
async def read(
    interaction_id: InteractionId,
    service: Service,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for its end.")] = 0,
) -> InteractionView:
    """Return the interaction as it is now, or as soon as it ends within `wait` seconds."""
    return await service.current(interaction_id, wait)


@router.get("/{interaction_id}/explain", summary="Why an interaction came out as it did")
async def explain(interaction_id: InteractionId, application: App) -> Explanation:
    """Return persona version, memory used and dropped, token budget, model plan, and the exact messages sent."""
    return Explanation.model_validate(await application.store.explanation(interaction_id))
