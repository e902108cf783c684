"""Two concurrent writers on one table, and the write lock that serializes them."""

from __future__ import annotations

import gc
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.config.catalogs.adapters import PostgresqlCatalog
from ohlcv.config.settings import Settings, load_settings
from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range
from ohlcv.model.timeframes import get_timeframe
from ohlcv.spark.spark_submit import build_job
from spark_jobs.iceberg.candle_writer import Comparison
from support.databases import catalog_environment, new_database
from support.default_tables import candles_contract
from support.harness import Harness, at, trade
from support.lock_users import count_file_users, lock_holder, lock_sessions, read_line
from support.processes import QUICK_JAVA, running_job, wait_for
from support.reference_model import Trade

# pyiceberg does not close the connections of its catalogs. The garbage collector does.
pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

TABLE = "gold_ohlcv_1m"
MINUTES = candles_contract(get_timeframe("1m"))
# Two jobs share this machine's two cores.
MASTER = "local[1]"
DAY = at("2026-03-01 00:00")
NEXT = at("2026-03-02 00:00")


@dataclass(frozen=True)
class CatalogUnderTest:
    """A catalog on SQLite or PostgreSQL, and its settings."""

    environment: dict[str, str]
    settings: Settings
    # Returns how many of the given processes hold the lock of TABLE or wait for it.
    count_lock_users: Callable[[list[int]], int]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), volatile=True) as found:
        yield found


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.crash_recovery)])
def catalog(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CatalogUnderTest]:
    environment = {"OHLCV_HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    if request.param == "sqlite":

        def count_lock_users(pids: list[int]) -> int:
            return count_file_users(pids, tmp_path / "home", TABLE)
    else:
        server: PostgresServer = request.getfixturevalue("server")
        database = new_database(server)
        environment |= catalog_environment(server, database)

        def count_lock_users(pids: list[int]) -> int:
            return len(lock_sessions(server, database, TABLE))

    monkeypatch.setenv(*QUICK_JAVA)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    yield CatalogUnderTest(environment, load_settings(environment), count_lock_users)
    gc.collect()


def some_trades() -> list[Trade]:
    return [
        trade(DAY + timedelta(seconds=second), f"{100 + second % 13}.{second % 7}", f"0.{second % 97 + 1}", symbol=s)
        for s in ("BTC-USD", "ETH-USD")
        for second in range(0, 86_400, 53)
    ]


def hour(number: int) -> datetime:
    return DAY + timedelta(hours=number)


@pytest.mark.parametrize(
    "spans",
    [
        pytest.param([(0, 24), (0, 24)], marks=pytest.mark.crash_recovery, id="same range"),
        pytest.param([(0, 14), (10, 24)], id="overlapping ranges"),
    ],
)
def test_concurrent_writers_store_each_candle_once(
    spark: SparkSession, catalog: CatalogUnderTest, spans: list[tuple[int, int]]
) -> None:
    """The table is empty: concurrent first inserts can duplicate rows, and rows of a shared file can be lost."""
    harness = Harness(spark, Path(catalog.environment["OHLCV_HOME"]), catalog.environment)
    harness.load(some_trades())
    jobs = [build_job(harness.settings, "1m", Range(hour(first), hour(last))) for first, last in spans]
    with ExitStack() as stack:
        # Both jobs wait for a held lock, so that both are at the same point when it is released.
        with write_lock(harness.settings, MINUTES):
            runs = [stack.enter_context(running_job(job, MASTER)) for job in jobs]

            def all_wait() -> bool:
                drivers = [driver for run in runs if (driver := run.driver())]
                # The count includes this process, which holds the lock.
                return catalog.count_lock_users([*drivers, os.getpid()]) == len(runs) + 1

            wait_for(lambda: all_wait() or any(run.ended for run in runs), "both jobs wait for the lock", 0.3)
        codes = [run.wait() for run in runs]
    assert codes == [0, 0], [run.log + run.output for run in runs]
    assert harness.candles("1m") == harness.expected("1m", (DAY, NEXT)).candles  # a key stored twice is an error there
    reports = [json.loads(run.output.splitlines()[-1]) for run in runs]
    snapshots = [report["snapshot"] for report in reports if report["snapshot"]]
    assert sorted(snapshots) == sorted(harness.snapshots("1m"))
    # With the same range the second job finds nothing to change.
    assert len(snapshots) == len(set(spans))


def test_the_lock_of_a_killed_process_passes_to_the_next(catalog: CatalogUnderTest) -> None:
    with lock_holder(catalog.environment) as first:
        assert read_line(first) == "held"
        with lock_holder(catalog.environment) as second:
            wait_for(
                lambda: catalog.count_lock_users([first.pid, second.pid]) == 2, "the second process waits for the lock"
            )
            with pytest.raises(OhlcvError), write_lock(catalog.settings, MINUTES, wait_seconds=0.5):
                pass
            first.send_signal(signal.SIGKILL)
            assert read_line(second) == "held"
            assert first.wait() == -signal.SIGKILL
            with (
                pytest.raises(OhlcvError, match=rf"{TABLE} is locked by .*{second.pid}.*, waited 0 s"),
                write_lock(catalog.settings, MINUTES, wait_seconds=0),
            ):
                pass
            # The lock of another table is free.
            with write_lock(
                catalog.settings, candles_contract(get_timeframe("5m")), wait_seconds=0
            ) as assert_lock_held:
                assert_lock_held()
            second.communicate("release\n")
            assert second.returncode == 0
        with write_lock(catalog.settings, MINUTES, wait_seconds=0) as assert_lock_held:
            assert_lock_held()


def database_name(catalog: CatalogUnderTest) -> str:
    """Return the name of the database of a PostgreSQL catalog."""
    assert isinstance(catalog.settings.catalog, PostgresqlCatalog)
    return catalog.settings.catalog.address.database


@pytest.mark.crash_recovery
@pytest.mark.parametrize("catalog", ["postgresql"], indirect=True)
def test_a_lock_whose_session_ended_is_reported_as_lost(catalog: CatalogUnderTest, server: PostgresServer) -> None:
    database = database_name(catalog)
    with write_lock(catalog.settings, MINUTES) as assert_lock_held:
        assert_lock_held()
        [session] = lock_sessions(server, database, TABLE)
        assert server.execute(f"SELECT pg_terminate_backend({session}, 10000)") == [(True,)]
        with pytest.raises(OhlcvError, match=rf"{TABLE} was lost .*: nothing was written"):
            assert_lock_held()
        # The lock was released with its session.
        with write_lock(catalog.settings, MINUTES, wait_seconds=0) as assert_new_lock_held:
            assert_new_lock_held()


@pytest.mark.crash_recovery
@pytest.mark.parametrize("catalog", ["postgresql"], indirect=True)
def test_a_job_that_lost_its_lock_writes_nothing(
    spark: SparkSession, catalog: CatalogUnderTest, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import spark_jobs.jobs.rebuild as job

    harness = Harness(spark, Path(catalog.environment["OHLCV_HOME"]), catalog.environment)
    harness.load(some_trades()[:100])
    raise_on_violation = job.raise_on_violation

    def drop_session(comparison: Comparison) -> None:
        """End the session of the lock after the candles are computed, as a network fault would."""
        [session] = lock_sessions(server, database_name(catalog), TABLE)
        server.execute(f"SELECT pg_terminate_backend({session}, 10000)")
        raise_on_violation(comparison)

    monkeypatch.setattr(job, "raise_on_violation", drop_session)
    with pytest.raises(OhlcvError, match="gold_ohlcv_1m was lost"):
        harness.build("1m", DAY, NEXT)
    assert harness.snapshots("1m") == []
