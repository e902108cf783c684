"""Lock lost between its check and the commit: another writer commits in between, and nothing that it wrote is lost."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from ohlcv.demo.local_postgres import PostgresServer
from ohlcv.iceberg import database_lock
from spark_jobs.iceberg import staging
from spark_jobs.runtime import job_runner
from support.audits import candidate_branches
from support.candle_rows import MINUTE, candle, write_candles
from support.databases import catalog_environment, new_database
from support.harness import Harness, at, trade
from support.lock_checks import after_lock_check
from support.lock_users import lock_sessions
from support.reference_model import Trade
from support.switching_proxy import SwitchingProxy

# pyiceberg does not close the connections of its catalogs. The garbage collector does.
pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")]

TABLE = "gold_ohlcv_1m"
DAY = at("2026-03-01 00:00")
HOUR = timedelta(hours=1)
END = DAY + 4 * HOUR
LoseLock = Callable[[], None]


@pytest.fixture(params=["before", "after"])
def audit(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest, spark: SparkSession, tmp_path: Path, audit: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Harness, LoseLock]]:
    """Return a warehouse, and a function that takes the lock of the candle table away from its holder."""
    monkeypatch.setattr(job_runner, "PAUSE_SECONDS", 0.0)
    environment = {"OHLCV_AUDIT": audit}
    if request.param == "sqlite":

        def lose_lock() -> None:
            (tmp_path / f"home/catalog.db.{TABLE}.lock").unlink()
    else:
        server: PostgresServer = request.getfixturevalue("server")
        database = new_database(server)
        environment |= catalog_environment(server, database)

        def lose_lock() -> None:
            [session] = lock_sessions(server, database, TABLE)
            assert server.execute(f"SELECT pg_terminate_backend({session}, 10000)") == [(True,)]

    yield Harness(spark, tmp_path / "home", environment), lose_lock
    gc.collect()


def trades_of_hour(number: int, price: int = 100) -> list[Trade]:
    begin = DAY + number * HOUR
    return [trade(begin + timedelta(seconds=97 * n + price % 50), f"{price + n}") for n in range(30)]


def test_a_job_whose_connections_to_the_database_are_half_open_completes(
    spark: SparkSession, server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it sends is swallowed, and nothing is answered or closed. New connections work."""
    monkeypatch.setattr(database_lock, "REPLY_SECONDS", 2)
    with SwitchingProxy(server.port) as proxy:
        database = new_database(server)
        harness = Harness(spark, tmp_path / "home", catalog_environment(server, database, proxy.port))
        timeout = f"spark.sql.catalog.{harness.settings.catalog.name}.jdbc.socketTimeout"
        assert harness.spark.conf.get(timeout) == "60"
        harness.spark.conf.set(timeout, "2")
        harness.load(trades_of_hour(0))
        checks = after_lock_check(monkeypatch, 1, proxy.stall)
        harness.build("1m", DAY, DAY + HOUR)
        assert len(checks) == 1
        assert harness.candles("1m") == harness.expected("1m", (DAY, END)).candles


@pytest.mark.parametrize("is_empty", [False, True], ids=["table with candles", "empty table"])
@pytest.mark.parametrize("check", [1, 2])
def test_a_commit_of_another_writer_after_the_lock_check_is_kept(
    site: tuple[Harness, LoseLock], monkeypatch: pytest.MonkeyPatch, check: int, is_empty: bool
) -> None:
    """The first check is before Spark writes its files, the second one before they become visible."""
    harness, lose_lock = site
    harness.load(trades_of_hour(0), trades_of_hour(1))
    if not is_empty:
        harness.build("1m", DAY, DAY + HOUR)
    harness.load(trades_of_hour(2), trades_of_hour(0, price=500))

    def other_writer() -> None:
        lose_lock()
        # In the same partition, and over a part of the same range.
        harness.load(trades_of_hour(1, price=700))
        assert harness.build("1m", DAY, DAY + 2 * HOUR)["snapshot"]

    checks = after_lock_check(monkeypatch, check, other_writer)
    harness.build("1m", DAY + HOUR, DAY + 3 * HOUR)
    assert len(checks) == check
    assert harness.candles("1m") == harness.expected("1m", (DAY, END)).candles
    assert candidate_branches(harness.table("1m")) == []


class LateBranch:
    """A Java object whose method createBranch() returns a change that another commit precedes."""

    def __init__(self, wrapped: Any, action: Callable[[], object]) -> None:
        self._wrapped, self._action = wrapped, action

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def manageSnapshots(self) -> LateBranch:  # noqa: N802  # the name in Java
        return LateBranch(self._wrapped.manageSnapshots(), self._action)

    def createBranch(self, *arguments: Any) -> LateBranch:  # noqa: N802  # the name in Java
        return LateBranch(self._wrapped.createBranch(*arguments), self._action)

    def commit(self) -> None:
        self._action()
        self._wrapped.commit()


def test_a_commit_while_the_branch_of_a_candidate_is_created_is_kept(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maintenance and other programs commit without the lock. Iceberg does not repeat the creation of a branch."""
    monkeypatch.setattr(job_runner, "PAUSE_SECONDS", 0.0)
    harness.load(trades_of_hour(0), trades_of_hour(1))
    harness.build("1m", DAY, DAY + HOUR)
    foreign = candle(MINUTE, DAY + 12 * HOUR, symbol="FOREIGN")
    actions = [lambda: write_candles(harness.settings, MINUTE, foreign)]
    create_branch = staging.create_branch

    def create_late(table: Any, branch: str, snapshot: int) -> None:
        create_branch(LateBranch(table, actions.pop()) if actions else table, branch, snapshot)

    monkeypatch.setattr(staging, "create_branch", create_late)
    harness.build("1m", DAY + HOUR, DAY + 2 * HOUR)
    own = {key: value for key, value in harness.candles("1m").items() if key[0] != "FOREIGN"}
    assert own == harness.expected("1m", (DAY, END)).candles
    assert len(harness.candles("1m")) == len(own) + 1
