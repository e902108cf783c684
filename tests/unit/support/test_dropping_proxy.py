"""DroppingProxy: it loses exactly the acknowledgements that it is armed for and relays everything else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from ohlcv.spark.processes import free_port
from support.dropping_proxy import DroppingProxy

pytestmark = pytest.mark.servers

UPDATE = "UPDATE pointers SET location = 'new' WHERE name = 'a'"
# A pattern can be a part of the statement.
PATTERN = b"UPDATE pointers"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), volatile=True) as server:
        yield server


@pytest.fixture
def server(running: PostgresServer) -> PostgresServer:
    running.execute("DROP TABLE IF EXISTS pointers")
    running.execute("CREATE TABLE pointers (name text PRIMARY KEY, location text)")
    running.execute("INSERT INTO pointers VALUES ('a', 'old')")
    return running


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[DroppingProxy]:
    with DroppingProxy(server.port) as proxy:
        yield proxy


def location(server: PostgresServer) -> Any:
    return server.execute("SELECT location FROM pointers WHERE name = 'a'")[0][0]


def test_relays_in_both_directions(server: PostgresServer, proxy: DroppingProxy) -> None:
    with server.connect(port=proxy.port) as connection:
        assert connection.execute("SELECT location FROM pointers").fetchall() == [("old",)]
        long_text = "x" * 3_000_000
        assert connection.execute("SELECT %s::text", [long_text]).fetchall() == [(long_text,)]
        assert connection.execute(UPDATE.encode()).rowcount == 1
    assert location(server) == "new"
    assert proxy.dropped == 0


def test_relays_an_error(server: PostgresServer, proxy: DroppingProxy) -> None:
    proxy.arm(b"nonsense")
    with server.connect(port=proxy.port) as connection:
        with pytest.raises(psycopg.errors.SyntaxError):
            connection.execute(b"nonsense")
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="password"):
        server.connect(port=proxy.port, password="wrong")


# Without parameters psycopg sends one Query message, with them Parse, Bind, Execute.
@pytest.mark.parametrize("parameters", [None, ["new"]], ids=["query", "parse"])
def test_loses_only_the_acknowledgement(
    server: PostgresServer, proxy: DroppingProxy, parameters: list[str] | None
) -> None:
    sql = UPDATE if parameters is None else UPDATE.replace("'new'", "%s")
    with server.connect(port=proxy.port) as other, server.connect(port=proxy.port) as connection:
        assert connection.execute("SELECT location FROM pointers").fetchall() == [("old",)]
        proxy.arm(PATTERN)
        with pytest.raises(psycopg.OperationalError):
            connection.execute(sql.encode(), parameters)
        assert proxy.wait_dropped(10)
        assert proxy.dropped == 1
        assert connection.closed
        assert location(server) == "new"
        # Other connections stay open, and the proxy is disarmed.
        assert other.execute(UPDATE.encode()).rowcount == 1
    assert proxy.dropped == 1


def test_matches_a_prepared_statement_by_its_name(server: PostgresServer, proxy: DroppingProxy) -> None:
    sql = UPDATE.replace("'new'", "%s").encode()
    connection = server.connect(port=proxy.port, prepare_threshold=0)
    for turn in range(3):
        assert connection.execute(sql, [f"turn {turn}"]).rowcount == 1
    # The SQL was sent before the proxy was armed. The next execution sends only the name.
    assert connection.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'UPDATE%'").fetchall()
    proxy.arm(PATTERN)
    with pytest.raises(psycopg.OperationalError):
        connection.execute(sql, ["by name"])
    assert proxy.wait_dropped(10)
    assert location(server) == "by name"


def test_preparing_a_statement_loses_nothing(server: PostgresServer, proxy: DroppingProxy) -> None:
    with server.connect(port=proxy.port) as connection:
        proxy.arm(PATTERN)
        connection.pgconn.prepare(b"prepared", UPDATE.encode())
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
        assert proxy.dropped == 0
        connection.pgconn.exec_prepared(b"prepared", None)
    assert proxy.wait_dropped(10)
    assert location(server) == "new"


def test_delivers_replies_that_confirm_no_commit(server: PostgresServer, proxy: DroppingProxy) -> None:
    proxy.arm(PATTERN)
    with server.connect(port=proxy.port) as connection:
        assert connection.execute("UPDATE pointers SET location = 'new' WHERE name = 'b'").rowcount == 0
        with connection.transaction():
            assert connection.execute(UPDATE.encode()).rowcount == 1
        assert proxy.dropped == 0
        with pytest.raises(psycopg.OperationalError):
            connection.execute(UPDATE.encode())
    assert proxy.dropped == 1


def test_loses_the_acknowledgement_of_a_transaction(server: PostgresServer, proxy: DroppingProxy) -> None:
    proxy.arm(b"COMMIT", tag=b"COMMIT")
    connection = server.connect(port=proxy.port, autocommit=False)
    connection.execute(UPDATE.encode())
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    assert proxy.wait_dropped(10)
    assert location(server) == "new"


def test_loses_the_given_number_of_acknowledgements(server: PostgresServer, proxy: DroppingProxy) -> None:
    proxy.arm(PATTERN, times=2)
    for _ in range(2):
        connection = server.connect(port=proxy.port)
        with pytest.raises(psycopg.OperationalError):
            connection.execute(UPDATE.encode())
    with server.connect(port=proxy.port) as connection:
        assert connection.execute(UPDATE.encode()).rowcount == 1
    assert proxy.dropped == 2


def test_a_disarmed_proxy_loses_nothing(server: PostgresServer, proxy: DroppingProxy) -> None:
    proxy.arm(PATTERN)
    proxy.disarm()
    with server.connect(port=proxy.port) as connection:
        assert connection.execute(UPDATE.encode()).rowcount == 1
    assert not proxy.wait_dropped(0)


def test_loses_the_acknowledgement_in_a_pipeline(server: PostgresServer, proxy: DroppingProxy) -> None:
    connection = server.connect(port=proxy.port)
    proxy.arm(PATTERN)
    rows: list[Any] = []

    def in_a_pipeline() -> None:
        with connection.pipeline() as pipeline:
            rows.extend(connection.execute("SELECT 1").fetchall())
            connection.execute(UPDATE.encode())
            pipeline.sync()
            # Sent before the reply to the update is read.
            rows.extend(connection.execute("SELECT 2").fetchall())

    with pytest.raises(psycopg.OperationalError):
        in_a_pipeline()
    assert rows == [(1,)]
    assert proxy.dropped == 1
    assert location(server) == "new"


def test_closing_disconnects_clients_and_stops_threads(server: PostgresServer) -> None:
    threads = threading.active_count()
    proxy = DroppingProxy(server.port)
    connection = server.connect(port=proxy.port)
    proxy.close()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        server.connect(port=proxy.port)
    assert threading.active_count() == threads


def test_closes_the_connection_when_the_server_is_down() -> None:
    with DroppingProxy(free_port()) as proxy, pytest.raises(psycopg.OperationalError):
        psycopg.connect(host=proxy.host, port=proxy.port, user="ohlcv", connect_timeout=10)
