"""Two writers on one table at once: nothing twice, nothing lost; and the lease that keeps them apart."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.config.settings import Settings, load_settings
from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range
from ohlcv.spark.spark_submit import build_job
from spark_jobs.iceberg.candle_writer import Comparison
from support.databases import catalog_environment, new_database
from support.harness import Harness, at, trade
from support.processes import QUICK_JAVA, has_open_file, running, wait_for
from support.reference_model import Trade

# pyiceberg leaves its catalogs' connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

TABLE = "gold_ohlcv_1m"
# Two jobs share this machine's two cores.
MASTER = "local[1]"
DAY = at("2026-03-01 00:00")
NEXT = at("2026-03-02 00:00")


@dataclass(frozen=True)
class House:
    """A catalog of one engine, the environment that leads there, and a look at who is at a lease."""

    environment: dict[str, str]
    settings: Settings
    # Tells how many processes hold the lease on TABLE or wait for it, of the given ones.
    at_the_lease: Callable[[list[int]], int]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), volatile=True) as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    environment = {"OHLCV_HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    if request.param == "sqlite":
        lock = tmp_path / "home" / f"catalog.db.{TABLE}.lock"

        def at_the_lease(pids: list[int]) -> int:
            return sum(has_open_file(pid, lock) for pid in pids)
    else:
        server: PostgresServer = request.getfixturevalue("server")
        database = new_database(server)
        environment |= catalog_environment(server, database)

        def at_the_lease(pids: list[int]) -> int:
            return len(lease_sessions(server, database))

    monkeypatch.setenv(*QUICK_JAVA)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    yield House(environment, load_settings(environment), at_the_lease)
    gc.collect()


def lease_sessions(server: PostgresServer, database: str) -> list[int]:
    rows = server.execute(
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}' AND application_name LIKE 'ohlcv%{TABLE}%'"
    )
    return [pid for (pid,) in rows]


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
    [[(0, 24), (0, 24)], [(0, 14), (10, 24)]],
    ids=["same range", "overlapping ranges"],
)
def test_two_writers_at_once(spark: SparkSession, house: House, spans: list[tuple[int, int]]) -> None:
    """The table is empty: what is first inserted is where doubles come from, and what shares a file is lost."""
    harness = Harness(spark, Path(house.environment["OHLCV_HOME"]), house.environment)
    harness.load(some_trades())
    jobs = [build_job(harness.settings, "1m", Range(hour(first), hour(last))) for first, last in spans]
    with ExitStack() as stack:
        # Both come to a taken lease, so that both are warm and at the same point when it is let go.
        with write_lock(harness.settings, TABLE):
            runs = [stack.enter_context(running(job, MASTER)) for job in jobs]

            def all_wait() -> bool:
                drivers = [driver for run in runs if (driver := run.driver())]
                # This process, which holds the lease, is seen there too.
                return house.at_the_lease([*drivers, os.getpid()]) == len(runs) + 1

            wait_for(lambda: all_wait() or any(run.ended for run in runs), "both jobs at the lease", 0.3)
        codes = [run.wait() for run in runs]
    assert codes == [0, 0], [run.log + run.output for run in runs]
    assert harness.candles("1m") == harness.expected("1m", (DAY, NEXT)).candles  # a key stored twice is an error there
    reports = [json.loads(run.output.splitlines()[-1]) for run in runs]
    snapshots = [report["snapshot"] for report in reports if report["snapshot"]]
    assert sorted(snapshots) == sorted(harness.snapshots("1m"))
    # The second over the same range finds everything as it should be.
    assert len(snapshots) == len(set(spans))


HOLDER = f"""
import sys
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.config.settings import load_settings
with write_lock(load_settings(), "{TABLE}", 120):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holder() -> Iterator[subprocess.Popen[str]]:
    """Start a process that waits for the lease, says so when it has it, and keeps it until its stdin ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_lease_of_a_killed_process_goes_to_the_next(house: House) -> None:
    with holder() as first:
        assert said(first) == "held"
        with holder() as second:
            wait_for(lambda: house.at_the_lease([first.pid, second.pid]) == 2, "the second at the lease")
            with pytest.raises(OhlcvError), write_lock(house.settings, TABLE, wait_seconds=0.5):
                pass
            first.send_signal(signal.SIGKILL)
            assert said(second) == "held"
            assert first.wait() == -signal.SIGKILL
            with (
                pytest.raises(OhlcvError, match=rf"{TABLE} has been written by .*{second.pid}.* for 0 s"),
                write_lock(house.settings, TABLE, wait_seconds=0),
            ):
                pass
            # Another table's lease is free.
            with write_lock(house.settings, "gold_ohlcv_5m", wait_seconds=0) as assert_lock_held:
                assert_lock_held()
            second.communicate("let go\n")
            assert second.returncode == 0
        with write_lock(house.settings, TABLE, wait_seconds=0) as assert_lock_held:
            assert_lock_held()


@pytest.mark.parametrize("house", ["postgresql"], indirect=True)
def test_a_lease_whose_session_ended_is_known_to_be_lost(house: House, server: PostgresServer) -> None:
    database = house.settings.catalog.database
    with write_lock(house.settings, TABLE) as assert_lock_held:
        assert_lock_held()
        [session] = lease_sessions(server, database)
        assert server.execute(f"SELECT pg_terminate_backend({session}, 10000)") == [(True,)]
        with pytest.raises(OhlcvError, match=rf"the writer's lease on {TABLE} was lost .*: nothing was written"):
            assert_lock_held()
        # The lock went with the session.
        with write_lock(house.settings, TABLE, wait_seconds=0) as anew:
            anew()


@pytest.mark.parametrize("house", ["postgresql"], indirect=True)
def test_a_job_that_lost_its_lease_writes_nothing(
    spark: SparkSession, house: House, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import spark_jobs.jobs.build_candles as job

    harness = Harness(spark, Path(house.environment["OHLCV_HOME"]), house.environment)
    harness.load(some_trades()[:100])
    sound = job.refuse_broken

    def lose_the_lease(comparison: Comparison) -> None:
        """Stand in for a network that dropped the session while the candles were computed."""
        [session] = lease_sessions(server, house.settings.catalog.database)
        server.execute(f"SELECT pg_terminate_backend({session}, 10000)")
        sound(comparison)

    monkeypatch.setattr(job, "refuse_broken", lose_the_lease)
    with pytest.raises(OhlcvError, match="lease on gold_ohlcv_1m was lost"):
        harness.build("1m", DAY, NEXT)
    assert harness.snapshots("1m") == []
