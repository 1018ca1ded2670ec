"""Lists, page by page."""

from collections.abc import Callable, Sequence
from typing import Generic, Self, TypeVar

from pydantic import BaseModel

Item = TypeVar("Item", bound=BaseModel)


class Page(BaseModel, Generic[Item]):
    """A part of a list; `next_cursor` is null on the last one."""

    items: list[Item]
    next_cursor: str | None = None

    @classmethod
    def of(cls, found: Sequence[Item], limit: int, cursor_of: Callable[[Item], str]) -> Self:
        """Make a page of at most `limit` items out of up to `limit + 1` found."""
        items = list(found[:limit])
        return cls(items=items, next_cursor=cursor_of(items[-1]) if len(found) > limit else None)
