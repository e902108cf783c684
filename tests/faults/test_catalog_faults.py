"""Catalogs that fail during a job: one line says why, nothing is published, and a rerun is exact."""

from __future__ import annotations

import gc
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from ohlcv.config.catalogs import adapters
from spark_jobs.iceberg import staging
from spark_jobs.jobs import publication
from support.command_line import WarmCommandLine
from support.databases import MortalPostgres, catalog_environment, mortal_postgres, new_database
from support.harness import Harness
from support.late_candles import DAY, NEXT, assert_rerun_is_exact, build_then_load_late_trades, line_of

# pyiceberg does not close the connections of its catalogs. The garbage collector does.
pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")]

# Moment of a job -> function that is called then.
MOMENTS = {
    "before the candidate": (staging, "permit_staging"),
    "before the write": (publication, "_write"),
    "before the publication": (staging, "publish"),
}


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalPostgres]:
    with mortal_postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


def call_before(patch: pytest.MonkeyPatch, owner: Any, name: str, action: Callable[[], None]) -> None:
    """Call an action once, before the first call of a function."""
    original = getattr(owner, name)
    done = threading.Event()

    def replacement(*arguments: Any, **options: Any) -> Any:
        if not done.is_set():
            done.set()
            action()
        return original(*arguments, **options)

    patch.setattr(owner, name, replacement)


def fail(harness: Harness) -> str:
    """Run a build that must fail, and return its line."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - any error; its text is compared
        harness.build("1m", DAY, NEXT)
    line = line_of(raised.value, harness.settings)
    print(line)
    return line


@pytest.mark.parametrize("restarts", [False, True], ids=["for minutes", "and restarted at once"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_job_whose_catalog_is_killed_publishes_nothing_and_its_rerun_is_exact(
    spark: SparkSession,
    postgres: MortalPostgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    restarts: bool,
) -> None:
    environment = catalog_environment(postgres.server, new_database(postgres.server))
    harness = Harness(spark, tmp_path / "home", environment)
    build_then_load_late_trades(harness)
    before = harness.stored("1m")

    def crash() -> None:
        postgres.kill()
        if restarts:
            postgres.restart()

    with monkeypatch.context() as patch:
        call_before(patch, *MOMENTS[moment], crash)
        line = fail(harness)
    if not restarts:
        # While the database is down, every further run says so.
        assert "does not answer" in fail(harness)
        postgres.restart()
    assert any(text in line for text in ("does not answer", "stopped answering", "write lock")), line
    assert postgres.server.password not in line
    assert harness.stored("1m") == before
    assert_rerun_is_exact(harness)
    gc.collect()


def test_commands_name_a_catalog_that_is_down(
    postgres: MortalPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = catalog_environment(postgres.server, new_database(postgres.server))
    command_line = WarmCommandLine(tmp_path, monkeypatch, capsys)
    command_line.succeed("tables", "create", "--no-views", **environment)
    postgres.kill()
    try:
        for command in (
            ["candles", "--timeframe", "1m", "--limit", "5"],
            ["validate", "--timeframe", "1m", "--start", "2026-03-01T00:00Z", "--end", "2026-03-01T01:00Z"],
            ["build", "--timeframe", "1m", "--start", "2026-03-01T00:00Z", "--end", "2026-03-01T01:00Z"],
            ["trades", "sample", "--trades", "10", "--hours", "1"],
            ["ledger", "record"],
            ["coverage", "record"],
        ):
            line = command_line.fail(1, *command, **environment)
            print(" ".join(command[:2]), line)
            assert "does not answer" in line
    finally:
        postgres.restart()
    gc.collect()


@contextmanager
def locked(harness: Harness) -> Iterator[sqlite3.Connection]:
    """Hold the lock that SQLite gives to one writer at a time."""
    database = harness.settings.catalog.embedded_database
    assert database is not None
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def test_a_job_waits_for_another_writer_of_the_sqlite_catalog(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_then_load_late_trades(harness)
    with locked(harness) as connection:
        # The job needs the lock first for its candidate. The other writer ends a second later.
        timer = threading.Timer(1.0, connection.rollback)
        call_before(monkeypatch, staging, "create_branch", timer.start)
        assert_rerun_is_exact(harness)
        assert timer.finished.is_set()


def test_a_job_names_a_sqlite_catalog_that_stays_locked_and_its_rerun_is_exact(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # Instead of a minute.
        patch.setattr(adapters, "SQLITE_WAIT_SECONDS", 1)
        harness = Harness(spark, tmp_path / "home")
        build_then_load_late_trades(harness)
    before = harness.stored("1m")
    with locked(harness):
        line = fail(harness)
    assert "is locked by another process" in line
    assert "wait until that process ends" in line
    assert harness.stored("1m") == before
    assert_rerun_is_exact(harness)
