"""Replicas of a PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ohlcv.demo.local_postgres import PostgresServer, find_binaries, postgres_server
from support.processes import wait_for


@contextmanager
def replica(primary: PostgresServer, folder: Path) -> Iterator[PostgresServer]:
    """Run a replica of a server that follows it, with its data in a folder."""
    folder.mkdir()
    data = folder / "data"
    subprocess.run(
        [
            *(str(find_binaries() / "pg_basebackup"), f"--pgdata={data}", "--write-recovery-conf"),
            *(f"--host={primary.host}", f"--port={primary.port}", f"--username={primary.user}"),
            *("--wal-method=stream", "--checkpoint=fast", "--no-sync"),
        ],
        check=True,
        capture_output=True,
        env={**os.environ, "PGPASSWORD": primary.password},
    )
    if os.geteuid() == 0:
        # The server runs under the account that owns the data of a new server.
        for path in (data, *data.rglob("*")):
            shutil.chown(path, "nobody", "nogroup")
    (folder / "password").write_text(primary.password)
    with postgres_server(folder, volatile=True) as server:
        yield server


def await_replay(primary: PostgresServer, follower: PostgresServer) -> None:
    """Wait until the replica has all that the primary has written."""
    [(position,)] = primary.execute("SELECT pg_current_wal_lsn()::text")
    wait_for(
        lambda: follower.execute(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == [(True,)],
        "the replica has replayed the log",
    )


def promote(follower: PostgresServer) -> None:
    """Make a replica the primary."""
    assert follower.execute("SELECT pg_promote()") == [(True,)]
