"""Conversations: `/api/sessions`."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import App
from api.fields import Identifier, PageSize
from api.pages import Page
from core.orchestrator.memory.conversations import StoredMessage

router = APIRouter(prefix="/api/sessions", tags=["sessions"])


@router.get("/{session_id}/messages", summary="What was said, oldest first")
async def messages(
    session_id: str,
    application: App,
    user_id: Annotated[Identifier | None, Query(description="Whose session it must be.")] = None,
    cursor: Annotated[int, Query(ge=0, le=2**53, description="`next_cursor` of the page before.")] = 0,
    limit: PageSize = 50,
) -> Page[StoredMessage]:
    """Return one page of a session's transcript."""
    found = await application.conversations.transcript(session_id, user_id=user_id, after=cursor, limit=limit + 1)
    return Page.of(found, limit, lambda message: str(message.sequence))
