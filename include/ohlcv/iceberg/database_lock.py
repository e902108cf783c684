"""Advisory lock in the database of a PostgreSQL catalog.

The lock belongs to a transaction that stays open, not to a session: a pooler in transaction mode (PgBouncer) gives the
statements of one session to any connection, but keeps the connection of an open transaction for its client.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import psycopg.conninfo

from ohlcv.config.catalogs.adapters import PostgresqlCatalog
from ohlcv.config.catalogs.sql_address import CONNECTION_OPTIONS
from ohlcv.model.errors import OhlcvError

Connection = psycopg.Connection[tuple[Any, ...]]

# The name of the sessions that only look at locks, in pg_stat_activity.
CHECK_APPLICATION = "ohlcv lock check"
# Without an answer for this time, a connection is given up: the other side may be gone without having closed it.
REPLY_SECONDS = 30
# The server must notice in about a minute that the machine of a holder is gone, and must not end an idle transaction.
# SET LOCAL applies to one transaction, because a pooler gives the connection to another client afterwards.
SESSION_SETTINGS = {
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",  # since PostgreSQL 17
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
_SETTINGS_QUERY = """
    SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS given (name, value)
    JOIN pg_settings USING (name)
"""
# The time at which the server started tells it from a copy that replaced it.
_LOCK_QUERY = """
    SELECT pg_try_advisory_xact_lock(%s), pg_backend_pid(), pg_postmaster_start_time(), pg_is_in_recovery()
"""
# pg_locks shows the 63-bit key as two 32-bit halves.
_HELD_QUERY = """
    SELECT pid, pg_postmaster_start_time()
    FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND classid::bigint << 32 | objid::bigint = %s
"""
_HOLDER_QUERY = f"SELECT application_name FROM ({_HELD_QUERY}) AS held JOIN pg_stat_activity USING (pid)"


class DatabaseLock:
    """An advisory lock of an open transaction."""

    def __init__(self, catalog: PostgresqlCatalog, name: str, application: str) -> None:
        self._catalog = catalog
        # Shown to waiting writers and in pg_stat_activity. PostgreSQL keeps 63 bytes.
        self._application = f"ohlcv {application}, process {os.getpid()} on {socket.gethostname()}"[:63]
        # The key of an advisory lock is a number. 63 bits of a digest make a collision of two names improbable.
        self._key = int.from_bytes(hashlib.sha256(f"{catalog.name}.{name}".encode()).digest()[:8], "big") >> 1
        self._connection = self._connect()
        # The process of the database that holds the lock, and the start of its server.
        self._session: tuple[Any, ...] | None = None

    def close(self) -> None:
        """Release the lock."""
        with suppress(psycopg.Error), _time_limit(self._connection):
            self._connection.rollback()
        self._connection.close()

    def try_lock(self) -> bool:
        """Take the lock, and return False if another session holds it."""
        try:
            with _time_limit(self._connection):
                self._connection.execute(_SETTINGS_QUERY, (list(SESSION_SETTINGS), list(SESSION_SETTINGS.values())))
                row = self._connection.execute(_LOCK_QUERY, (self._key,)).fetchone()
                assert row is not None
                is_locked, *session, is_replica = row
                if not is_locked:
                    self._connection.rollback()
        except psycopg.Error as error:
            raise self._unreachable(error) from None
        if is_replica:
            raise OhlcvError(
                f"the catalog {self._catalog} is a read-only replica, whose locks exclude no writer: "
                f"set the address of the primary in {self._catalog.setting('uri')}"
            )
        self._session = tuple(session) if is_locked else None
        if is_locked and (problem := self.find_loss()):
            raise OhlcvError(
                f"the catalog {self._catalog} does not keep locks ({problem}): connect to PostgreSQL directly, "
                "or through a pooler in session or transaction mode"
            )
        return bool(is_locked)

    def holder(self) -> str:
        """Return which process holds the lock."""
        try:
            row = self._fetch_on_new_connection(_HOLDER_QUERY)
        except psycopg.Error as error:
            raise self._unreachable(error) from None
        return str(row[0]).partition(", ")[2] if row else "another session of the catalog's database"

    def find_loss(self) -> str | None:
        """Return how the lock was lost, None if this process holds it.

        A new connection reaches the server to which the next commit goes. The connection of the lock may still reach
        another one, after a fail-over.
        """
        try:
            found = self._fetch_on_new_connection(_HELD_QUERY)
        except psycopg.Error as error:
            return _reason(error)
        if found == self._session:
            return None
        return "the database has restarted or closed its session" if found is None else "another session holds it"

    def _fetch_on_new_connection(self, query: LiteralString) -> tuple[Any, ...] | None:
        connection = self._open_connection(CHECK_APPLICATION, autocommit=True)
        try:
            with _time_limit(connection):
                return connection.execute(query, (self._key,)).fetchone()
        finally:
            connection.close()

    def _connect(self) -> Connection:
        try:
            return self._open_connection(self._application)
        except psycopg.Error as error:
            raise self._unreachable(error) from None

    def _open_connection(self, application: str, *, autocommit: bool = False) -> Connection:
        address = self._catalog.address
        return psycopg.connect(
            psycopg.conninfo.make_conninfo("", **{**CONNECTION_OPTIONS, **dict(address.options)}),
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            dbname=address.database,
            application_name=application,
            autocommit=autocommit,
            # A pooler may not know the prepared statements of its clients.
            prepare_threshold=None,
        )

    def _unreachable(self, error: psycopg.Error) -> OhlcvError:
        reason = self._catalog.without_secrets(_reason(error))
        return OhlcvError(
            f"the catalog {self._catalog} does not answer ({reason}): check {self._catalog.setting('uri')}"
        )


@contextmanager
def open_database_lock(catalog: PostgresqlCatalog, name: str, application: str) -> Iterator[DatabaseLock]:
    """Yield the lock of a name, and release it at the end. Others see the application that holds it."""
    lock = DatabaseLock(catalog, name, application)
    try:
        yield lock
    finally:
        lock.close()


def check_locks(catalog: PostgresqlCatalog) -> None:
    """Raise OhlcvError if the locks of the catalog's database exclude no other process."""
    name = f"check {uuid4()}"
    with (
        open_database_lock(catalog, name, "check") as lock,
        open_database_lock(catalog, name, "check") as other,
    ):
        # Taking a lock also verifies that the database keeps it.
        if not lock.try_lock() or other.try_lock():
            raise OhlcvError(f"the catalog {catalog} does not keep locks: connect to PostgreSQL directly")


def _reason(error: psycopg.Error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _time_limit(connection: Connection) -> Iterator[None]:
    """Raise an error if the connection does not answer inside the block. The driver has no such limit."""
    ended = threading.Event()

    def end() -> None:
        ended.set()
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as own:
            own.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(REPLY_SECONDS, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except psycopg.Error as error:
        if ended.is_set():
            raise psycopg.OperationalError(f"no answer within {REPLY_SECONDS} s") from error
        raise
    finally:
        timer.cancel()
