"""Lists, page by page."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Generic, Self, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, BaseModel, TypeAdapter

from api.fields import Identifier
from core.orchestrator.memory.conversations import SessionPlace

Item = TypeVar("Item", bound=BaseModel)
_PLACE = TypeAdapter(tuple[AwareDatetime, Identifier])


class Page(BaseModel, Generic[Item]):
    """A part of a list; `next_cursor` is null on the last one."""

    items: list[Item]
    next_cursor: str | None = None

    @classmethod
    def of(cls, found: Sequence[Item], limit: int, cursor_of: Callable[[Item], str]) -> Self:
        """Make a page of at most `limit` items out of up to `limit + 1` found."""
        items = list(found[:limit])
        return cls(items=items, next_cursor=cursor_of(items[-1]) if len(found) > limit else None)


def cursor_of(place: SessionPlace) -> str:
    """Write a place in the list of sessions in characters that need no escape in an address."""
    return urlsafe_b64encode(json.dumps([place.created_at.isoformat(), place.session_id]).encode()).decode()


def place_of(cursor: str) -> SessionPlace:
    """Read what `cursor_of` wrote.

    Raises:
        RequestValidationError: it wrote nothing of the kind.
    """
    try:
        place = SessionPlace(*_PLACE.validate_json(urlsafe_b64decode(cursor)))
    except ValueError:
        place = None
    if place is None or place.created_at.utcoffset() or cursor_of(place) != cursor:
        raise RequestValidationError(
            [{"type": "value_error", "loc": ("query", "cursor"), "msg": "must be `next_cursor` of the page before"}]
        )
    return place
