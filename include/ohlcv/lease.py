"""The writer's lease: one writer at a time on a candle table.

A plain Iceberg overwrite does not notice a second writer (the last one wins the partition). The pool keeps
scheduled jobs apart; the lease keeps a zombie, a CLI user and a backfill apart too. It dies with its holder:
a file lock beside a SQLite catalog, an advisory lock of a database session on PostgreSQL.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ohlcv.catalog import CATALOG_NAME
from ohlcv.errors import OhlcvError
from ohlcv.schema import NAMESPACE
from ohlcv.settings import CatalogAddress, Settings

# Shorter than a task's timeout of 300 s, longer than any regular job.
WAIT_SECONDS = 150.0
_POLL_SECONDS = 0.2

# Raises when the lease is no longer held; asked for right before the commit.
StillHeld = Callable[[], None]


@contextmanager
def writers_lease(settings: Settings, table: str, wait_seconds: float = WAIT_SECONDS) -> Iterator[StillHeld]:
    """Hold the lease on a table, waiting for its present holder up to a limit."""
    lock = _file_lock if settings.catalog.engine == "sqlite" else _database_lock
    with lock(settings, table, wait_seconds) as still_held:
        yield still_held


@contextmanager
def _file_lock(settings: Settings, table: str, wait_seconds: float) -> Iterator[StillHeld]:
    path = Path(f"{settings.catalog.database}.{table}.lock")
    # Python opens files close-on-exec: no child process keeps the lock when its holder dies.
    with path.open("a+") as file:

        def try_lock() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        _await(try_lock, table, wait_seconds, lambda: f"process {path.read_text().strip() or 'unknown'}")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        # The kernel holds a file lock as long as this process lives: there is nothing to lose.
        yield lambda: None


@contextmanager
def _database_lock(settings: Settings, table: str, wait_seconds: float) -> Iterator[StillHeld]:
    import psycopg.conninfo

    address: CatalogAddress = settings.catalog
    name = f"{CATALOG_NAME}.{NAMESPACE}.{table}"
    # Advisory locks are numbers; 63 bits of a digest keep two tables from sharing one.
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
    try:
        connection = psycopg.connect(
            psycopg.conninfo.make_conninfo("", **dict(address.options)),
            host=address.host,
            port=address.port,
            user=address.user,
            password=settings.catalog_password,
            dbname=address.database,
            application_name=f"ohlcv lease on {table}",
            autocommit=True,
            # A lock whose holder's machine vanished must not outlive it by hours.
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1]
        raise OhlcvError(f"the catalog {address} does not answer ({reason}): check OHLCV_CATALOG_URI") from None

    with connection:

        def try_lock() -> bool:
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()
            return bool(row and row[0])

        def still_held() -> None:
            try:
                connection.execute("SELECT 1")
            except psycopg.OperationalError as error:
                raise OhlcvError(f"the writer's lease on {table} was lost ({error}): nothing was written") from None

        _await(try_lock, table, wait_seconds, lambda: "another session of the catalog's database")
        yield still_held


def _await(try_lock: Callable[[], bool], table: str, wait_seconds: float, holder: Callable[[], str]) -> None:
    deadline = time.monotonic() + wait_seconds
    while not try_lock():
        if time.monotonic() > deadline:
            raise OhlcvError(
                f"{table} has been written by {holder()} for {wait_seconds:.0f} s: "
                "wait for that run to end, or end it, and start again"
            )
        time.sleep(_POLL_SECONDS)
