"""The writer's lease: one writer at a time on a candle table.

A plain Iceberg overwrite does not notice a second writer (the last one wins the partition). The pool keeps
scheduled jobs apart; the lease keeps a zombie, a CLI user and a backfill apart too. It dies with its holder:
a file lock beside a SQLite catalog, an advisory lock of a database session on PostgreSQL.

A REST catalog has no lock to take. It answers whether a commit landed, so Iceberg's own check of what came in between
keeps writers apart there (spark_jobs.iceberg.candle_writer.write), and nothing is held here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

from ohlcv.config.catalog_properties import CATALOG_NAME
from ohlcv.config.settings import Settings
from ohlcv.config.storage import CatalogAddress
from ohlcv.model.errors import OhlcvError
from ohlcv.model.table_contracts import NAMESPACE

# Shorter than a task's timeout of 300 s, longer than any regular job.
WAIT_SECONDS = 150.0
_POLL_SECONDS = 0.2

# Who holds an advisory lock: PostgreSQL shows a 63-bit key as its upper and lower half.
_HOLDER_QUERY = """
    SELECT application_name
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND classid::bigint << 32 | objid::bigint = %s
"""

# Raises when the lease is no longer held; asked for right before the commit.
AssertLockHeld = Callable[[], None]


@contextmanager
def write_lock(settings: Settings, table: str, wait_seconds: float = WAIT_SECONDS) -> Iterator[AssertLockHeld]:
    """Hold the lease on a table, waiting for its present holder up to a limit."""
    if not uses_write_lock(settings):
        yield lambda: None
        return
    lock = _file_lock if settings.catalog.engine == "sqlite" else _database_lock
    with lock(settings, table, wait_seconds) as assert_lock_held:
        yield assert_lock_held


def uses_write_lock(settings: Settings) -> bool:
    """Tell whether this catalog's writers are kept apart by a lease, or by Iceberg's check at the commit."""
    return settings.catalog.engine != "rest"


@contextmanager
def _file_lock(settings: Settings, table: str, wait_seconds: float) -> Iterator[AssertLockHeld]:
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
def _database_lock(settings: Settings, table: str, wait_seconds: float) -> Iterator[AssertLockHeld]:
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
            # For who waits, and for who looks at pg_stat_activity; PostgreSQL keeps 63 bytes.
            application_name=f"ohlcv {table}, process {os.getpid()} on {socket.gethostname()}"[:63],
            autocommit=True,
            # A lock whose holder's machine vanished must not outlive it by hours.
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise OhlcvError(f"the catalog {address} does not answer ({reason}): check OHLCV_CATALOG_URI") from None

    def ask(query: LiteralString) -> tuple[Any, ...] | None:
        try:
            return connection.execute(query, (key,) if "%s" in query else None).fetchone()
        except psycopg.OperationalError as error:
            raise OhlcvError(f"the writer's lease on {table} was lost ({error}): nothing was written") from None

    def try_lock() -> bool:
        row = ask("SELECT pg_try_advisory_lock(%s)")
        return bool(row and row[0])

    def holder() -> str:
        row = ask(_HOLDER_QUERY)
        return str(row[0]).partition(", ")[2] if row else "another session of the catalog's database"

    def assert_lock_held() -> None:
        ask("SELECT 1")

    with connection:
        _await(try_lock, table, wait_seconds, holder)
        yield assert_lock_held


def _await(try_lock: Callable[[], bool], table: str, wait_seconds: float, holder: Callable[[], str]) -> None:
    deadline = time.monotonic() + wait_seconds
    while not try_lock():
        if time.monotonic() > deadline:
            raise OhlcvError(
                f"{table} has been written by {holder()} for {wait_seconds:.0f} s: "
                "wait for that run to end, or end it, and start again"
            )
        time.sleep(_POLL_SECONDS)
