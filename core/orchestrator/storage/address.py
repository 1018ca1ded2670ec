"""Where a database is, as the setting `DATABASE_URL` says it: `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`.

An address of PostgreSQL may hold a password, so what is wrong with one is told without quoting it.
"""

import re
from pathlib import Path
from urllib.parse import unquote, unquote_plus, urlsplit

_SQLITE = "sqlite:///"
_POSTGRESQL = ("postgresql://", "postgres://")
_LAST_PORT = 65_535


def what_is_wrong_with_database(url: str) -> str | None:
    """Return what keeps a text from being the address of a database; None: nothing."""
    if not url.startswith(_POSTGRESQL):
        is_file = url.startswith(_SQLITE) and url not in (_SQLITE, f"{_SQLITE}:memory:")
        return None if is_file else "must be sqlite:///PATH, a file that processes share, or postgresql://…"
    authority, slash, path = re.sub("[?#].*", "", url.partition("://")[2]).partition("/")
    if "#" in url or "@" in slash + path or authority.count("@") > 1 or not url.isprintable() or " " in url:
        return "must have each of @ : / ? # % and blanks in a name or password written as %40 and so on"
    hosts = authority.rpartition("@")[2]
    if not re.fullmatch(rf"{_HOST}(,{_HOST})*", hosts) or any(
        not 1 <= int(port) <= _LAST_PORT for port in re.findall(r":(\d+)(?=,|$)", hosts)
    ):
        return "must name hosts, and ports from 1 to 65535"
    return None if hosts or path or "?" in url else "must name a host or a database"


_HOST = r"(\[[0-9a-fA-F:.]+\]|[^:,\[\]]*)(:[0-9]{1,5})?"


def place_of(url: str) -> Path | str:
    """Return the file of a SQLite database, or the address of a PostgreSQL one."""
    return url if url.startswith(_POSTGRESQL) else Path(url.removeprefix(_SQLITE))


def name_of(place: Path | str) -> str:
    """Return where a database is in a form that may be shown: the password, and all that follows `?`, are left out."""
    if isinstance(place, Path):
        return str(place)
    parts = urlsplit(place)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def passwords_in(place: Path | str) -> list[str]:
    """Return the passwords of an address, as they are written there and as they are."""
    if isinstance(place, Path):
        return []
    parts = urlsplit(place)
    written = [parts.netloc.rpartition("@")[0].partition(":")[2]]
    pairs = (part.partition("=") for part in parts.query.split("&"))
    written += [value for name, _, value in pairs if "password" in name]
    return sorted({form for one in written for form in (one, unquote(one), unquote_plus(one)) if form})
