"""The interaction as a resource: `/api/llm/interactions`."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.delivery import location_of
from api.dependencies import App, Asker, Service, UserInQuery, VisibleInteraction, required
from api.explanation import Explanation
from api.fields import Identifier, InteractionCursor, LastEventId, PageSize, StartingAfter
from api.pages import Page
from api.streaming import STREAM_CONTENT, ReplyStreamResponse
from api.strict_route import StrictRoute
from core.orchestrator.contracts import InteractionStatus, InteractionView

router = APIRouter(prefix="/api/llm/interactions", tags=["interactions"], route_class=StrictRoute)


@router.get("", summary="The interactions of a user or a session, newest first")
async def newest(
    application: App,
    asker: Asker,
    user_id: UserInQuery,
    *,
    session_id: Annotated[Identifier | None, Query(description="Only this session's.")] = None,
    status: Annotated[InteractionStatus | None, Query(description="Only those that stand so.")] = None,
    cursor: InteractionCursor = None,
    limit: PageSize = 50,
) -> Page[InteractionView]:
    """Return one page of interactions; it stays what it is while others come."""
    if session_id is None:
        required(user_id, "is required without a session_id")
    with asker.seeing_own(session_id or ""):
        found = await application.interaction_lists.newest(
            user_id=user_id, session_id=session_id, status=status, before=cursor, limit=limit + 1
        )
    return Page.of(found, limit, lambda view: view.interaction_id)


@router.get("/{interaction_id}", summary="An interaction and where it stands")
async def read(
    interaction_id: VisibleInteraction,
    service: Service,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for its end.")] = 0,
) -> InteractionView:
    """Return the interaction as it is now, or as soon as it ends within `wait` seconds."""
    return await service.current(interaction_id, wait)


@router.get(
    "/{interaction_id}/stream",
    summary="What happens to an interaction, as it happens",
    response_class=Response,
    responses={
        200: {"description": "Server-sent events.", "content": STREAM_CONTENT},
        204: {
            "description": "It has ended, and the client has seen its last event: there is nothing to come back for."
        },
    },
)
async def stream(
    interaction_id: VisibleInteraction,
    service: Service,
    last_event_id: LastEventId = 0,
    starting_after: StartingAfter = 0,
) -> Response:
    """Stream the interaction's events, from the first one or after the last one seen, until it ends."""
    reply = await service.stream(interaction_id, max(last_event_id, starting_after))
    if reply.over:
        return Response(status_code=204, headers=location_of(interaction_id))
    return ReplyStreamResponse(reply, location_of(interaction_id))


@router.post("/{interaction_id}/cancel", summary="End an interaction")
async def cancel(interaction_id: VisibleInteraction, response: Response, service: Service) -> InteractionView:
    """Cancel the interaction and return it as it is then: what was said is kept, and one that has ended stays so."""
    view = await service.cancel(interaction_id)
    response.headers.update(location_of(interaction_id))
    return view


@router.get("/{interaction_id}/explain", summary="Why an interaction came out as it did")
async def explain(interaction_id: VisibleInteraction, application: App) -> Explanation:
    """Return persona version, memory used and dropped, token budget, model plan, and the exact messages sent."""
    return Explanation.model_validate(await application.store.explanation(interaction_id))
