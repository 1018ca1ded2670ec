"""Which version a database's schema has, and how it is brought to that of the code."""

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from core.orchestrator.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Migration:
    """What became of a schema."""

    before: str | None
    """Its version; None: the database was empty."""
    after: str

    def __str__(self) -> str:
        """Say it in one line."""
        if self.before == self.after:
            return f"the schema is up to date, at {self.after}"
        before = f"at {self.before}" if self.before else "not there"
        return f"the schema is up to date now, at {self.after}: it was {before}"


def upgrade(connection: Connection) -> Migration:
    """Bring the schema up to date, in the transaction of the connection.

    Raises:
        ConfigurationError: the database belongs to a later version.
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    before = _current(connection)
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigurationError(f"the database was made by a later version: {error}") from error
    return Migration(before, _head())


def check(connection: Connection) -> None:
    """Return if the schema is that of the code.

    Raises:
        ConfigurationError: it is not.
    """
    current, head = _current(connection), _head()
    if current == head:
        return
    if current is not None and not _is_known(current):
        raise ConfigurationError(f"the database was made by a later version: its schema is at {current}")
    has = "the database has no schema" if current is None else f"the database's schema is at {current}"
    raise ConfigurationError(f"{has}, this version needs {head}: run `orchestrator migrate`")


_MIGRATIONS = Path(__file__).with_name("migrations")
_SCRIPTS = ScriptDirectory(str(_MIGRATIONS))


def _head() -> str:
    head = _SCRIPTS.get_current_head()
    assert head is not None  # noqa: S101 - there are migrations
    return head


def _is_known(revision: str) -> bool:
    return revision in {script.revision for script in _SCRIPTS.walk_revisions()}


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
