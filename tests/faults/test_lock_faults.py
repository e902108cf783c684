"""Faults of the write lock on PostgreSQL: poolers, fail-over, replicas, connections whose other side is gone."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ohlcv.config.catalogs.adapters import PostgresqlCatalog
from ohlcv.config.catalogs.sql_address import CONNECTION_OPTIONS
from ohlcv.config.settings import Settings, load_settings
from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from ohlcv.iceberg import database_lock
from ohlcv.iceberg.tables import open_catalog
from ohlcv.iceberg.write_lock import LockedTableError, write_lock
from ohlcv.model.errors import OhlcvError
from ohlcv.model.timeframes import get_timeframe
from ohlcv.monitoring.doctor import check_catalog
from support.databases import catalog_environment, new_database
from support.default_tables import candles_contract
from support.lock_users import lock_holder, lock_sessions, read_line
from support.poolers import pooler
from support.processes import wait_for
from support.replicas import await_replay, promote, replica
from support.switching_proxy import SwitchingProxy

# pyiceberg does not close the connections of its catalogs. The garbage collector does.
pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")]

MINUTES = candles_contract(get_timeframe("1m"))


@pytest.fixture(autouse=True)
def _close_catalogs() -> Iterator[None]:
    yield
    gc.collect()


def settings_of(server: PostgresServer, home: Path, port: int | None = None, database: str | None = None) -> Settings:
    return load_settings({"OHLCV_HOME": str(home), **environment_of(server, port, database)})


def environment_of(server: PostgresServer, port: int | None, database: str | None = None) -> dict[str, str]:
    return catalog_environment(server, database or new_database(server), port)


def database_of(settings: Settings) -> str:
    assert isinstance(settings.catalog, PostgresqlCatalog)
    return settings.catalog.address.database


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_the_lock_holds_through_a_pooler_and_passes_on_when_its_holder_is_killed(
    server: PostgresServer, tmp_path: Path, mode: str
) -> None:
    database = new_database(server)
    with pooler(server, tmp_path / "pooler", mode) as running, ExitStack() as stack:
        environment = {"OHLCV_HOME": str(tmp_path), **catalog_environment(server, database, running.port)}
        settings = load_settings(environment)
        first = stack.enter_context(lock_holder(environment))
        assert read_line(first) == "held"
        # Each of them would get the connection of the holder if the pooler regarded it as unused.
        for _ in range(5):
            with (
                pytest.raises(LockedTableError, match=rf"locked by process {first.pid} on"),
                write_lock(settings, MINUTES, 0),
            ):
                pass
        second = stack.enter_context(lock_holder(environment))
        first.send_signal(signal.SIGKILL)
        assert read_line(second) == "held"
        second.communicate("release\n")
        assert second.returncode == 0
        with write_lock(settings, MINUTES, 0) as assert_lock_held:
            assert_lock_held()


def test_a_pooler_in_statement_mode_is_refused_in_one_line(server: PostgresServer, tmp_path: Path) -> None:
    with pooler(server, tmp_path / "pooler", "statement") as running:
        settings = settings_of(server, tmp_path, running.port)
        with (
            pytest.raises(OhlcvError, match=r"does not answer .*statement pooling mode") as caught,
            write_lock(settings, MINUTES, 0),
        ):
            pass
    assert "\n" not in str(caught.value)


def test_a_pooler_without_a_second_connection_is_refused_in_one_line(server: PostgresServer, tmp_path: Path) -> None:
    """The job could not reach the catalog while it holds the lock."""
    with pooler(server, tmp_path / "pooler", "transaction", connections=1, wait_seconds=1) as running:
        settings = settings_of(server, tmp_path, running.port)
        with (
            pytest.raises(OhlcvError, match=r"does not keep locks \(.*\): connect to PostgreSQL directly") as caught,
            write_lock(settings, MINUTES, 0),
        ):
            pass
    assert "\n" not in str(caught.value)


def test_clients_of_the_catalog_share_the_connections_of_a_pooler(server: PostgresServer, tmp_path: Path) -> None:
    """Statements that one of them prepares would be unknown on the next connection, or known under another text."""
    with pooler(server, tmp_path / "pooler", "transaction", connections=2) as running:
        settings = settings_of(server, tmp_path, running.port)
        catalogs = [open_catalog(settings) for _ in range(3)]
        for _ in range(10):
            for catalog in catalogs:
                assert catalog.list_namespaces() == []
        assert check_catalog(settings).endswith("answers and keeps locks")


def test_a_lock_is_lost_when_the_pooler_restarts(server: PostgresServer, tmp_path: Path) -> None:
    database = new_database(server)
    with ExitStack() as stack:
        running = stack.enter_context(pooler(server, tmp_path / "pooler", "transaction"))
        settings = settings_of(server, tmp_path, running.port, database)
        with write_lock(settings, MINUTES) as assert_lock_held:
            assert_lock_held()
            running.process.kill()
            with pytest.raises(OhlcvError, match=r"was lost .*connection.*: nothing was written, run the job again"):
                assert_lock_held()
        with write_lock(settings_of(server, tmp_path, None, database), MINUTES, 30):
            pass


def test_a_lock_is_lost_when_the_server_restarts_behind_the_same_address(tmp_path: Path) -> None:
    with ExitStack() as stack, ExitStack() as first:
        server = first.enter_context(postgres_server(tmp_path / "postgres", volatile=True))
        proxy = stack.enter_context(SwitchingProxy(server.port))
        settings = settings_of(server, tmp_path, proxy.port)
        with write_lock(settings, MINUTES) as assert_lock_held:
            assert_lock_held()
            first.close()
            with pytest.raises(OhlcvError, match=r"was lost .*: nothing was written"):
                assert_lock_held()
            restarted = stack.enter_context(postgres_server(tmp_path / "postgres", volatile=True))
            proxy.server_port = restarted.port
            with pytest.raises(OhlcvError, match=r"was lost .*restarted.*: nothing was written"):
                assert_lock_held()
            with write_lock(settings, MINUTES, 0) as assert_new_lock_held:
                assert_new_lock_held()


def test_a_lock_is_lost_when_a_replica_takes_over_while_the_old_server_still_answers(tmp_path: Path) -> None:
    """The session of the lock is open, but commits go to another server, where the lock is free."""
    with ExitStack() as stack:
        primary = stack.enter_context(postgres_server(tmp_path / "primary", volatile=True))
        follower = stack.enter_context(replica(primary, tmp_path / "replica"))
        proxy = stack.enter_context(SwitchingProxy(primary.port))
        settings = settings_of(primary, tmp_path, proxy.port)
        with write_lock(settings, MINUTES) as assert_lock_held:
            assert_lock_held()
            await_replay(primary, follower)
            promote(follower)
            proxy.server_port = follower.port
            with pytest.raises(OhlcvError, match=r"was lost .*: nothing was written"):
                assert_lock_held()
            with write_lock(settings, MINUTES, 0) as assert_new_lock_held:
                assert_new_lock_held()
                with pytest.raises(OhlcvError, match=r"was lost \(another session holds it\)"):
                    assert_lock_held()


def test_a_replica_is_refused_in_one_line(tmp_path: Path) -> None:
    """The locks of two replicas, or of a replica and the primary, do not exclude each other."""
    with ExitStack() as stack:
        primary = stack.enter_context(postgres_server(tmp_path / "primary", volatile=True))
        follower = stack.enter_context(replica(primary, tmp_path / "replica"))
        settings = settings_of(primary, tmp_path)
        await_replay(primary, follower)
        at_replica = settings_of(primary, tmp_path, follower.port, database_of(settings))
        with (
            pytest.raises(OhlcvError, match=r"read-only replica.*: set the address of the primary") as caught,
            write_lock(at_replica, MINUTES, 0),
        ):
            pass
    assert "\n" not in str(caught.value)


def test_the_check_of_a_lock_ends_when_the_server_does_not_answer(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SwitchingProxy(server.port) as proxy:
        settings = settings_of(server, tmp_path, proxy.port)
        with write_lock(settings, MINUTES) as assert_lock_held:
            monkeypatch.setattr(database_lock, "REPLY_SECONDS", 1)
            monkeypatch.setitem(CONNECTION_OPTIONS, "connect_timeout", "2")
            proxy.stall_all()
            with pytest.raises(OhlcvError, match=r"was lost .*: nothing was written"):
                assert_lock_held()


def test_a_wait_for_the_lock_ends_when_the_server_does_not_answer(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_lock, "REPLY_SECONDS", 1)
    with SwitchingProxy(server.port) as proxy:
        settings = settings_of(server, tmp_path, proxy.port)
        direct = settings_of(server, tmp_path, None, database_of(settings))
        lock = database_lock.DatabaseLock(settings.catalog, "name", "waiting")  # type: ignore[arg-type]
        with write_lock(direct, MINUTES):
            proxy.stall()
            with pytest.raises(OhlcvError, match=r"does not answer \(no answer within 1 s\): check OHLCV_CATALOG_URI"):
                lock.try_lock()
            lock.close()


def test_a_lock_whose_idle_connection_was_dropped_is_still_held(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall has forgotten the connection, but the session and its lock exist. The release does not hang."""
    monkeypatch.setattr(database_lock, "REPLY_SECONDS", 1)
    with SwitchingProxy(server.port) as proxy:
        settings = settings_of(server, tmp_path, proxy.port)
        with write_lock(settings, MINUTES) as assert_lock_held:
            proxy.stall()
            assert_lock_held()
            with pytest.raises(LockedTableError), write_lock(settings, MINUTES, 0):
                pass


def test_a_server_that_ends_idle_transactions_does_not_end_the_lock(server: PostgresServer, tmp_path: Path) -> None:
    settings = settings_of(server, tmp_path)
    database = database_of(settings)
    server.execute(f"ALTER DATABASE {database} SET idle_in_transaction_session_timeout = '1s'")
    with write_lock(settings, MINUTES) as assert_lock_held:
        [session] = lock_sessions(server, database, MINUTES.name)
        idle = f"SELECT state, now() - state_change > '1.5s' FROM pg_stat_activity WHERE pid = {session}"
        wait_for(lambda: server.execute(idle) == [("idle in transaction", True)], "the session is idle for long")
        assert_lock_held()
    wait_for(lambda: not lock_sessions(server, database, MINUTES.name), "the session has ended")


VANISHED_MACHINE = """
import subprocess
import sys
from pathlib import Path

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.demo.local_postgres import postgres_server
from ohlcv.iceberg import database_lock
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.errors import OhlcvError
from ohlcv.model.timeframes import get_timeframe
from support.databases import catalog_environment, new_database
from support.default_tables import candles_contract
from support.processes import wait_for

folder = Path(sys.argv[1])
network = lambda state: subprocess.run(["ip", "link", "set", "lo", state], check=True)
network("up")
table = candles_contract(get_timeframe("1m"))
database_lock.SESSION_SETTINGS.update(tcp_keepalives_idle="1", tcp_keepalives_interval="1", tcp_user_timeout="2000")
with postgres_server(folder / "postgres", volatile=True) as server:
    settings = load_settings({"OHLCV_HOME": str(folder), **catalog_environment(server, new_database(server))})
    with write_lock(settings, table) as assert_lock_held:
        assert_lock_held()
        network("down")
        log = folder / "postgres/postgres.log"
        wait_for(lambda: "Connection timed out" in log.read_text(), "the server ends the session")
        network("up")
        with write_lock(settings, table, 0) as assert_new_lock_held:
            assert_new_lock_held()
            with pytest.raises(OhlcvError, match="another session holds it"):
                assert_lock_held()
print("released")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a network of its own is switched off")
def test_the_lock_of_a_machine_that_vanished_without_a_word_is_released(tmp_path: Path) -> None:
    """By default the server of a database notices it after two hours."""
    command = ["unshare", "--net", sys.executable, "-c", VANISHED_MACHINE, str(tmp_path)]
    paths = os.pathsep.join(str(Path(__file__).parents[number]) for number in (1, 2))
    result = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False, timeout=600
    )
    assert result.stdout == "released\n", result.stderr
