"""Conversations: `/api/sessions`."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import App
from api.fields import Cursor, Identifier, PageSize, SessionId
from api.pages import Page
from api.strict_route import StrictRoute
from core.orchestrator.memory.conversations import StoredMessage

router = APIRouter(prefix="/api/sessions", tags=["sessions"], route_class=StrictRoute)


@router.get("/{session_id}/messages", summary="What was said, oldest first")
async def messages(
    session_id: SessionId,
    application: App,
    user_id: Annotated[Identifier | None, Query(description="Whose session it must be.")] = None,
    cursor: Cursor = 0,
    limit: PageSize = 50,
) -> Page[StoredMessage]:
    """Return one page of a session's transcript."""
    found = await application.conversations.transcript(session_id, user_id=user_id, after=cursor, limit=limit + 1)
    return Page.of(found, limit, lambda message: str(message.sequence))
