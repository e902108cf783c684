"""PgBouncer in front of a PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from ohlcv.demo.local_postgres import PostgresServer
from ohlcv.spark.processes import HOST, free_port
from support.processes import wait_for

CONFIGURATION = """
[databases]
* = host={server.host} port={server.port}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = {mode}
default_pool_size = {connections}
query_wait_timeout = {wait_seconds}
# The driver of Java sends this option. PgBouncer refuses options that it does not know.
ignore_startup_parameters = extra_float_digits
"""


@dataclass(frozen=True)
class Pooler:
    """A running PgBouncer."""

    port: int
    process: subprocess.Popen[bytes]


def require_pgbouncer() -> Path:
    """Return the program, or skip the test."""
    # Debian installs it in a folder that is not on every search path.
    found = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip("PgBouncer is not installed: run 'apt-get install pgbouncer'")
    return Path(found)


@contextmanager
def pooler(
    server: PostgresServer, folder: Path, mode: str, *, connections: int = 20, wait_seconds: int = 120
) -> Iterator[Pooler]:
    """Run PgBouncer with its files in a folder. Each database has at most that many connections to the server."""
    folder.mkdir()
    port = free_port()
    users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{server.user}" "{server.password}"\n')
    configuration.write_text(
        CONFIGURATION.format(
            server=server,
            host=HOST,
            port=port,
            users=users,
            mode=mode,
            connections=connections,
            wait_seconds=wait_seconds,
        )
    )
    command = [str(require_pgbouncer()), str(configuration)]
    if os.geteuid() == 0:
        # PgBouncer does not run as root. The capability lets it read files below root's folders.
        account = ("--reuid=nobody", "--regid=nogroup", "--clear-groups")
        capability = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
        command = ["setpriv", *account, *capability, "--", *command]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_for(lambda: process.poll() is not None or _answers(server, port), "PgBouncer answers")
            assert process.poll() is None, (folder / "log").read_text()
            yield Pooler(port, process)
        finally:
            process.kill()


def _answers(server: PostgresServer, port: int) -> bool:
    try:
        server.connect(port=port).close()
    except psycopg.OperationalError:
        return False
    return True
