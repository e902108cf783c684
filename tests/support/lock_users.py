"""Processes and database sessions that hold the write lock of a table, or wait for it."""

from __future__ import annotations

from pathlib import Path

from ohlcv.demo.local_postgres import PostgresServer
from support.processes import has_open_file


def count_file_users(pids: list[int], home: Path, table: str) -> int:
    """Return how many of the processes have the lock file of a table open."""
    lock = home / f"catalog.db.{table}.lock"
    return sum(has_open_file(pid, lock) for pid in pids)


def lock_sessions(server: PostgresServer, database: str, table: str) -> list[int]:
    """Return the process ids of the database sessions for the lock of a table."""
    rows = server.execute(
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}' AND application_name LIKE 'ohlcv {table}%'"
    )
    return [pid for (pid,) in rows]
