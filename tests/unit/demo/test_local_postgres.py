"""PostgreSQL server of the demo and the tests: password login, shutdown, and a second start on the same folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ohlcv.demo.local_postgres import PostgresServer, postgres_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), volatile=True) as running:
        yield running


def test_accepts_a_login_by_password(server: PostgresServer) -> None:
    assert server.execute("SELECT current_user::text, current_database()::text") == [("ohlcv", "ohlcv")]
    assert server.execute("SELECT pg_postmaster_start_time() IS NOT NULL, inet_server_port()") == [(True, server.port)]
    assert server.password not in repr(server)


@pytest.mark.parametrize("password", ["wrong", ""])
def test_rejects_a_wrong_password(server: PostgresServer, password: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        server.connect(password=password)


def test_the_server_stops_when_its_block_ends(tmp_path: Path) -> None:
    with postgres_server(tmp_path, volatile=True) as server:
        open_connection = server.connect()
        assert server.execute("SELECT 1") == [(1,)]
    with pytest.raises(psycopg.OperationalError):
        open_connection.execute("SELECT 1")
    open_connection.close()
    with pytest.raises(psycopg.OperationalError):
        server.connect()
    assert "database system is shut down" in (tmp_path / "postgres.log").read_text()


def test_a_second_start_keeps_the_data(tmp_path: Path) -> None:
    with postgres_server(tmp_path) as server:
        server.execute("CREATE TABLE numbers AS SELECT 1 AS number")
    with postgres_server(tmp_path) as server:
        assert server.execute("SELECT number FROM numbers") == [(1,)]
