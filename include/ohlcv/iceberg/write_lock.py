"""Write lock of a candle table: one writer at a time.

A plain Iceberg overwrite does not detect a concurrent writer: the last one replaces the partition. The Airflow pool
serializes scheduled jobs. The write lock also excludes zombie jobs, users of the command line and backfills. It ends
with the process that holds it: it is a file lock next to a SQLite catalog, or an advisory lock of a database session
on PostgreSQL.

The other catalogs need no lock. They report reliably whether a commit succeeded, so the jobs use Iceberg's check for
conflicting commits (spark_jobs.iceberg.candle_writer.write).
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

from ohlcv.config.catalogs.adapters import PostgresqlCatalog
from ohlcv.config.catalogs.description import Locking
from ohlcv.config.settings import Settings
from ohlcv.model.errors import OhlcvError
from ohlcv.model.table_contracts import TableContract
from ohlcv.model.table_names import DEFAULT_NAMESPACE

# Shorter than the task timeout of 300 s and longer than any regular job.
WAIT_SECONDS = 150.0
_POLL_SECONDS = 0.2

# Session that holds an advisory lock. pg_locks shows the 63-bit key as two 32-bit halves.
_HOLDER_QUERY = """
    SELECT application_name
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND classid::bigint << 32 | objid::bigint = %s
"""


class LockedTableError(OhlcvError):
    """Another writer holds the lock of a table."""


# Raises OhlcvError if the lock is no longer held. Jobs call it right before the commit.
AssertLockHeld = Callable[[], None]


@contextmanager
def write_lock(
    settings: Settings, table: TableContract, wait_seconds: float = WAIT_SECONDS
) -> Iterator[AssertLockHeld]:
    """Hold the write lock of a table. Wait up to `wait_seconds` for another holder."""
    if not settings.catalog.has_lock:
        yield lambda: None
        return
    locks = {Locking.FILE_LOCK: _file_lock, Locking.ADVISORY_LOCK: _database_lock}
    with locks[settings.catalog.locking](settings, table, wait_seconds) as assert_lock_held:
        yield assert_lock_held


@contextmanager
def _file_lock(settings: Settings, table: TableContract, wait_seconds: float) -> Iterator[AssertLockHeld]:
    # In the default namespace the name of the file is that of earlier versions, whose processes may still run.
    name = table.name if table.namespace == DEFAULT_NAMESPACE else str(table)
    path = Path(f"{settings.catalog.embedded_database}.{name}.lock")
    try:
        # Python opens files close-on-exec, so no child process keeps the lock after its holder has died.
        file = path.open("a+")
    except OSError as error:
        raise OhlcvError(f"the lock {path} is not writable ({error.strerror}): grant access to the folder") from None
    with file:

        def try_lock() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        _wait_for_lock(try_lock, table, wait_seconds, lambda: f"process {path.read_text().strip() or 'unknown'}")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        # A file lock cannot be lost while this process lives.
        yield lambda: None


@contextmanager
def _database_lock(settings: Settings, table: TableContract, wait_seconds: float) -> Iterator[AssertLockHeld]:
    import psycopg.conninfo

    assert isinstance(settings.catalog, PostgresqlCatalog)
    address = settings.catalog.address
    name = f"{settings.catalog.name}.{table}"
    # The key of an advisory lock is a number. 63 bits of a digest make a collision of two tables improbable.
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
    try:
        connection = psycopg.connect(
            psycopg.conninfo.make_conninfo("", **dict(address.options)),
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            dbname=address.database,
            # Shown to waiting writers and in pg_stat_activity. PostgreSQL keeps 63 bytes.
            application_name=f"ohlcv {table.name}, process {os.getpid()} on {socket.gethostname()}"[:63],
            autocommit=True,
            # Without keepalives the lock of a crashed machine would stay for hours.
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise OhlcvError(
            f"the catalog {address} does not answer ({settings.catalog.without_secrets(reason)}): "
            f"check {settings.catalog.setting('uri')}"
        ) from None

    def fetch_one(query: LiteralString) -> tuple[Any, ...] | None:
        try:
            return connection.execute(query, (key,) if "%s" in query else None).fetchone()
        except psycopg.OperationalError as error:
            raise OhlcvError(
                f"the write lock on {table} was lost ({error}): nothing was written, run the job again"
            ) from None

    def try_lock() -> bool:
        row = fetch_one("SELECT pg_try_advisory_lock(%s)")
        return bool(row and row[0])

    def holder() -> str:
        row = fetch_one(_HOLDER_QUERY)
        return str(row[0]).partition(", ")[2] if row else "another session of the catalog's database"

    def assert_lock_held() -> None:
        fetch_one("SELECT 1")

    with connection:
        _wait_for_lock(try_lock, table, wait_seconds, holder)
        yield assert_lock_held


def _wait_for_lock(
    try_lock: Callable[[], bool], table: TableContract, wait_seconds: float, holder: Callable[[], str]
) -> None:
    deadline = time.monotonic() + wait_seconds
    while not try_lock():
        if time.monotonic() > deadline:
            raise LockedTableError(
                f"{table} is locked by {holder()}, waited {wait_seconds:.0f} s: "
                "wait until that run ends, or end it, and start again"
            )
        time.sleep(_POLL_SECONDS)
