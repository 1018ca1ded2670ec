"""What statements are executed on, whichever database it is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import CursorResult, Dialect, Executable, ScalarResult

T = TypeVar("T")

Parameters = Sequence[Mapping[str, Any]] | Mapping[str, Any]


class Connection(Protocol):
    """An open transaction. SQLAlchemy's `AsyncConnection` is one, and whatever is here means what it means there."""

    @property
    def dialect(self) -> Dialect:
        """Which database it is."""

    @property
    def info(self) -> dict[Any, Any]:
        """What is noted of the connection; it is used again for other transactions."""

    async def execute(
        self, statement: Executable, parameters: Parameters | None = None, /
    ) -> CursorResult[*tuple[Any, ...]]:
        """Execute a statement; with a sequence of parameters, once for each of them."""

    async def scalar(self, statement: Executable, parameters: Mapping[str, Any] | None = None, /) -> Any:
        """Return the first column of the first row, or None."""

    async def scalars(self, statement: Executable, parameters: Mapping[str, Any] | None = None, /) -> ScalarResult[Any]:
        """Return the first column of every row."""

    async def exec_driver_sql(self, statement: str, parameters: Any = None, /) -> CursorResult[*tuple[Any, ...]]:
        """Execute SQL in the database's own words."""

    async def run_sync(self, function: Callable[..., T], /) -> T:
        """Call a function with SQLAlchemy's own `Connection`."""
