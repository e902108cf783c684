"""Write lock of a candle table: one writer at a time.

A plain Iceberg overwrite does not detect a concurrent writer: the last one replaces the partition. The Airflow pool
serializes scheduled jobs. The write lock also excludes zombie jobs, users of the command line and backfills. It ends
with the process that holds it: it is a file lock next to a SQLite catalog, or an advisory lock in the database of a
PostgreSQL catalog.

The other catalogs need no lock. They report reliably whether a commit succeeded, so the jobs use Iceberg's check for
conflicting commits (spark_jobs.iceberg.candle_writer.write).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from ohlcv.config.catalogs.adapters import PostgresqlCatalog
from ohlcv.config.settings import Settings
from ohlcv.iceberg.file_lock import FileLock
from ohlcv.model.errors import OhlcvError
from ohlcv.model.table_contracts import TableContract
from ohlcv.model.table_names import DEFAULT_NAMESPACE

# Shorter than the task timeout of 300 s and longer than any regular job.
WAIT_SECONDS = 150.0
_POLL_SECONDS = 0.2


class LockedTableError(OhlcvError):
    """Another writer holds the lock of a table."""


# Raises OhlcvError if the lock is no longer held. Jobs call it right before the commit.
AssertLockHeld = Callable[[], None]


class _Lock(Protocol):
    def try_lock(self) -> bool:
        """Take the lock, and return False if another process holds it."""
        ...

    def holder(self) -> str:
        """Return which process holds the lock."""
        ...

    def find_loss(self) -> str | None:
        """Return how the lock was lost, None if this process holds it."""
        ...


@contextmanager
def write_lock(
    settings: Settings, table: TableContract, wait_seconds: float = WAIT_SECONDS
) -> Iterator[AssertLockHeld]:
    """Hold the write lock of a table. Wait up to `wait_seconds` for another holder."""
    if not settings.catalog.has_lock:
        yield lambda: None
        return
    with _open_lock(settings, table) as lock:
        _wait_for_lock(lock, table, wait_seconds)

        def assert_lock_held() -> None:
            if loss := lock.find_loss():
                raise OhlcvError(f"the write lock on {table} was lost ({loss}): nothing was written, run the job again")

        yield assert_lock_held


def _open_lock(settings: Settings, table: TableContract) -> AbstractContextManager[_Lock]:
    catalog = settings.catalog
    if isinstance(catalog, PostgresqlCatalog):
        # Only this catalog needs the client of the database.
        from ohlcv.iceberg.database_lock import open_database_lock

        return open_database_lock(catalog, str(table), table.name)
    # In the default namespace the name of the file is that of earlier versions, whose processes may still run.
    name = table.name if table.namespace == DEFAULT_NAMESPACE else str(table)
    return FileLock(Path(f"{catalog.embedded_database}.{name}.lock"))


def _wait_for_lock(lock: _Lock, table: TableContract, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while not lock.try_lock():
        if time.monotonic() > deadline:
            raise LockedTableError(
                f"{table} is locked by {lock.holder()}, waited {wait_seconds:.0f} s: "
                "wait until that run ends, or end it, and start again"
            )
        time.sleep(_POLL_SECONDS)
