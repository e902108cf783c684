"""Processes and database sessions that hold the write lock of a table, or wait for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ohlcv.demo.local_postgres import PostgresServer
from support.processes import has_open_file

_LOCK_HOLDER = """
import sys
from ohlcv.config.settings import load_settings
from ohlcv.iceberg.write_lock import write_lock
settings = load_settings()
with write_lock(settings, settings.candles_contract(settings.timeframe("1m")), 120) as assert_lock_held:
    assert_lock_held()
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def lock_holder(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a process that waits for the lock of 1m, prints "held" when it has it, and holds it until it reads a line."""
    with subprocess.Popen(
        [sys.executable, "-c", _LOCK_HOLDER],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


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
