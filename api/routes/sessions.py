"""Conversations: `/api/sessions`. A client may call one what it likes, also something with a slash."""

from http import HTTPStatus

from fastapi import APIRouter, Response
from starlette.convertors import StringConvertor, register_url_convertor

from api.dependencies import App, Asker, Eraser, UserInQuery, required
from api.fields import Cursor, PageSize, SessionCursor, SessionId
from api.pages import Page, cursor_of, place_of
from api.strict_route import StrictRoute
from core.orchestrator.memory.conversations import StoredMessage, StoredSession


class _SessionConvertor(StringConvertor):
    """Any name, save that a path to a session's messages is none."""

    regex = ".+(?<!/messages)"


register_url_convertor("session", _SessionConvertor())

router = APIRouter(prefix="/api/sessions", tags=["sessions"], route_class=StrictRoute)


@router.get("", summary="A user's conversations, newest first")
async def sessions(
    application: App,
    user_id: UserInQuery,
    cursor: SessionCursor = None,
    limit: PageSize = 50,
) -> Page[StoredSession]:
    """Return one page of the sessions of a user; it stays what it is while others are begun."""
    owner = required(user_id, "is required")
    after = None if cursor is None else place_of(cursor)
    found = await application.conversations.sessions(owner, after=after, limit=limit + 1)
    return Page.of(found, limit, lambda session: cursor_of(session.place))


@router.get("/{session_id:session}/messages", summary="What was said, oldest first")
async def messages(
    session_id: SessionId,
    application: App,
    asker: Asker,
    user_id: UserInQuery,
    *,
    cursor: Cursor = 0,
    limit: PageSize = 50,
) -> Page[StoredMessage]:
    """Return one page of a session's transcript."""
    with asker.seeing_own(session_id):
        found = await application.conversations.transcript(session_id, user_id=user_id, after=cursor, limit=limit + 1)
    return Page.of(found, limit, lambda message: str(message.sequence))


@router.delete(
    "/{session_id:session}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    summary="Erase a conversation",
)
async def erase(session_id: SessionId, asker: Asker, user_id: UserInQuery, erasure: Eraser) -> None:
    """End what still runs in a session, and remove its messages, replies, logs and workflow histories.

    What was used stays in the usage report, as numbers. After a 503 the same request goes on where this one stopped.
    """
    with asker.seeing_own(session_id):
        await erasure.erase_session(session_id, user_id)
