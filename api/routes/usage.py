"""What was used and what it cost: `/api/usage`."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import App
from api.fields import Identifier
from core.orchestrator.usage import GroupBy, UsageReport

router = APIRouter(prefix="/api", tags=["usage"])


@router.get("/usage", summary="Tokens and cost")
async def usage(
    application: App,
    group_by: GroupBy = GroupBy.MODEL,
    since: Annotated[date | None, Query(alias="from", description="First day, UTC.")] = None,
    until: Annotated[date | None, Query(alias="to", description="Last day, UTC.")] = None,
    user_id: Annotated[Identifier | None, Query(description="Only this user's.")] = None,
) -> UsageReport:
    """Sum tokens and cost; a cost nobody told is counted as unknown, never as 0."""
    return await application.usage.report(group_by, since, until, user_id)
