"""What was used and what it cost: `/api/usage`."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError

from api.dependencies import App, Asker, UserInQuery
from api.fields import Day
from api.strict_route import StrictRoute
from core.orchestrator.usage import GroupBy, UsageReport

router = APIRouter(prefix="/api", tags=["usage"], route_class=StrictRoute)


@router.get("/usage", summary="Tokens and cost")
async def usage(
    application: App,
    asker: Asker,
    user_id: UserInQuery,
    *,
    group_by: Annotated[GroupBy, Query(description="What to sum by.")] = GroupBy.MODEL,
    since: Annotated[Day | None, Query(alias="from", description="First day, UTC.")] = None,
    until: Annotated[Day | None, Query(alias="to", description="Last day, UTC.")] = None,
) -> UsageReport:
    """Sum tokens and cost; a cost nobody told is counted as unknown, never as 0. Everybody's take the scope `admin`."""
    if since is not None and until is not None and until < since:
        raise RequestValidationError([{"type": "value_error", "loc": ("query", "to"), "msg": "lies before `from`"}])
    return await application.usage.report(group_by, since, until, asker.reporting_on(user_id))
