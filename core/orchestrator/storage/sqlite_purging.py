"""What was overwritten in a SQLite file is overwritten at once, rather than left lying in the log beside it.

In WAL mode a page that is written goes to a log; the file has the old one until somebody carries it over, and the log
keeps every earlier state of a page until it happens to be written anew.
"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

_TRY_SECONDS = 0.05
"""Writers wait while it is tried: not long at a time."""
_PAUSE_SECONDS = 0.01


def empty_log(path: Path, seconds: float) -> bool:
    """Carry the log of a SQLite file over into it, and cut the log to nothing.

    Args:
        path: the file.
        seconds: how long to try while others read or write.

    Returns:
        Whether it was done.

    Raises:
        sqlite3.Error: the database did not answer.
    """
    end = time.monotonic() + seconds
    address = f"{path.absolute().as_uri()}?mode=rw"  # one that is gone is not made anew
    with closing(sqlite3.connect(address, uri=True, timeout=_TRY_SECONDS, isolation_level=None)) as database:
        while database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() >= end:
                return False
            time.sleep(_PAUSE_SECONDS)
    return True
