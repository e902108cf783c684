"""Catalog databases on a PostgreSQL server, one empty database for each test."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from ohlcv.spark.processes import descendants
from support.processes import wait_for


def new_database(server: PostgresServer) -> str:
    """Create an empty database and return its name."""
    name = f"catalog_{secrets.token_hex(4)}"
    server.execute(f"CREATE DATABASE {name}")
    return name


def catalog_environment(server: PostgresServer, database: str, port: int | None = None) -> dict[str, str]:
    """Return the settings of a catalog in a database. The port can be that of a proxy."""
    return {
        "OHLCV_CATALOG_URI": f"postgresql://{server.user}@{server.host}:{port or server.port}/{database}",
        "OHLCV_CATALOG_PASSWORD": server.password,
    }


@dataclass
class MortalPostgres:
    """A server that a test can kill and start again on its port, with its data."""

    folder: Path
    server: PostgresServer = field(init=False)
    _stack: ExitStack = field(default_factory=ExitStack)

    def start(self, port: int = 0) -> None:
        """Start the server."""
        self.server = self._stack.enter_context(postgres_server(self.folder, preferred_port=port))

    def kill(self) -> None:
        """Kill the server and all its sessions with SIGKILL."""
        sessions = descendants(self.server.pid)
        for pid in (self.server.pid, *sessions):
            # A session can end by itself.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._stack.close()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in sessions), "the sessions have ended")

    def restart(self) -> None:
        """Start the killed server again: it recovers what was committed."""
        self.start(self.server.port)

    def close(self) -> None:
        """Stop the server."""
        self._stack.close()


@contextmanager
def mortal_postgres(folder: Path) -> Iterator[MortalPostgres]:
    """Run a server that can be killed."""
    postgres = MortalPostgres(folder)
    postgres.start()
    try:
        yield postgres
    finally:
        postgres.close()
