"""Users: `/api/users`. All that is known of them is what they said and were told."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from api.dependencies import Asker, Eraser
from api.fields import UserId
from api.strict_route import StrictRoute

router = APIRouter(prefix="/api/users", tags=["users"], route_class=StrictRoute)


@router.delete("/{user_id:path}", status_code=HTTPStatus.NO_CONTENT, response_class=Response, summary="Erase a user")
async def erase(user_id: UserId, asker: Asker, erasure: Eraser) -> None:
    """End what still runs for a user, and remove their sessions, completions, logs and workflow histories.

    What was used stays in the usage report, as numbers that are nobody's. After a 503 the same request goes on where
    this one stopped. A key that is bound to a user may erase that one; any other user takes the scope `admin`.
    """
    asker.check_may_erase(user_id)
    await erasure.erase_user(user_id)
