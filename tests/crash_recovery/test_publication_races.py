"""Other writers between the read of a run and its publication: nothing is dropped, and the candles are correct.

The other writers do not take the write lock. Maintenance never does.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from ohlcv.model.intervals import day_range
from spark_jobs.jobs import publication, reprocess_day
from spark_jobs.jobs.reprocess_day import DayRequest, reprocess
from spark_jobs.runtime import job_runner
from support.audits import before_publication, candidate_branches
from support.candle_rows import MINUTE, candle, write_candles
from support.databases import catalog_environment, new_database
from support.harness import Harness, Key, at, trade
from support.maintenance import run_maintenance
from support.reference_model import Candle, Trade

# pyiceberg does not close the connections of its catalogs. The garbage collector does.
pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

FIRST, SECOND, THIRD, END = (at(f"2026-03-0{day} 00:00") for day in (1, 2, 3, 4))
NOON, HOUR = timedelta(hours=12), timedelta(hours=1)
FOREIGN = "FOREIGN"
Candles = dict[Key, Candle]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), volatile=True) as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.crash_recovery)])
def harness(request: pytest.FixtureRequest, spark: SparkSession, tmp_path: Path) -> Iterator[Harness]:
    """Return a table with candles of two days; those of the third day, and of late trades, are not built yet."""
    environment = {}
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("server")
        environment = catalog_environment(server, new_database(server))
    harness = Harness(spark, tmp_path / "home", environment)
    for begin, end in ((FIRST, FIRST + HOUR), (SECOND, SECOND + HOUR), (SECOND + HOUR, SECOND + 2 * HOUR)):
        harness.load(some_trades(begin))
        harness.build("1m", begin, end)
    harness.load(some_trades(SECOND + HOUR, price=777), some_trades(THIRD))
    yield harness
    gc.collect()


def some_trades(begin: Any, price: int = 100) -> list[Trade]:
    return [
        trade(begin + timedelta(minutes=7 * n, seconds=price % 50), f"{price + n}", symbol=symbol)
        for symbol in ("BTC-USD", "ETH-USD")
        for n in range(8)
    ]


def correct(harness: Harness) -> Candles:
    return harness.expected("1m", (FIRST, END)).candles


@contextmanager
def without_lock() -> Iterator[Callable[[], None]]:
    yield lambda: None


def delete_expired(harness: Harness) -> Candles:
    run_maintenance(harness, "1m", "delete", as_of=END.date(), days=(FIRST.date(),))
    return harness.expected("1m", (SECOND, END)).candles


def reprocess_another_day(harness: Harness) -> Candles:
    harness.load(some_trades(FIRST, price=888))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reprocess_day, "write_lock", lambda *_: without_lock())
        request = DayRequest(FIRST.date(), {MINUTE: day_range(FIRST.date())})
        [report] = reprocess(harness.spark, harness.settings, request)["timeframes"]
    assert report["candles"]["updated"] or report["candles"]["inserted"]
    return correct(harness)


def append_foreign_candles(harness: Harness) -> Candles:
    """Add rows to a partition that has candles, and to one that has none."""
    before = harness.candles("1m")
    # Outside the ranges of the run, which covers the two hours around midnight.
    rows = [candle(MINUTE, day + NOON, symbol=FOREIGN) for day in (SECOND, THIRD)]
    write_candles(harness.settings, MINUTE, *rows)
    foreign = {key: value for key, value in harness.candles("1m").items() if key not in before}
    assert len(foreign) == len(rows)
    return correct(harness) | foreign


def compact(harness: Harness) -> Candles:
    """Merge the files of the second day."""
    expected = append_foreign_candles(harness)
    report: Any = run_maintenance(harness, "1m", "compact", as_of=END.date())["compact"]
    assert (report["files_before"], report["files_after"]) == (2, 1)
    return expected


def delete_foreign(harness: Harness) -> Candles:
    harness.table("1m").delete(f"window_date = '{FIRST.date()}'")
    return harness.expected("1m", (SECOND, END)).candles


def roll_back(harness: Harness) -> Candles:
    """Return to the first hour of the second day. The second hour is in the range of the run."""
    harness.table("1m").manage_snapshots().rollback_to_snapshot(harness.snapshots("1m")[-2]).commit()
    return correct(harness)


Race = Callable[[Harness], Candles]
RACES: dict[str, Race] = {
    "compaction": compact,
    "retention": delete_expired,
    "reprocessing": reprocess_another_day,
    "foreign append": append_foreign_candles,
    "foreign delete": delete_foreign,
    "rollback": roll_back,
}
# Races in the tests of every commit.
QUICK = ("rollback",)


@pytest.fixture(
    params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.crash_recovery) for name in RACES]
)
def race(request: pytest.FixtureRequest) -> Race:
    return RACES[request.param]


@pytest.fixture
def attempts(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each attempt of a run adds its candidate, and leave out the pause between attempts."""
    found: list[str] = []
    stage = publication._stage

    def counted(*arguments: Any) -> Any:
        found.append("staged")
        return stage(*arguments)

    monkeypatch.setattr(publication, "_stage", counted)
    monkeypatch.setattr(job_runner, "PAUSE_SECONDS", 0.0)
    return found


def build(harness: Harness) -> None:
    harness.build("1m", SECOND + HOUR, THIRD + HOUR)


def test_a_commit_between_audit_and_publication_is_kept(
    harness: Harness, race: Race, attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[Candles] = []
    before_publication(monkeypatch, lambda: expected.append(race(harness)))
    build(harness)
    assert harness.candles("1m") == expected[0]
    assert candidate_branches(harness.table("1m")) == []
    assert "staged" in attempts
    assert len(attempts) <= 3


def test_a_commit_before_the_candidate_is_written_is_kept(
    harness: Harness, attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The candidate would begin at a snapshot that the run has not read."""
    expected: list[Candles] = []
    stage = publication._stage

    def late(*arguments: Any) -> Any:
        if not expected:
            expected.append(append_foreign_candles(harness))
        return stage(*arguments)

    monkeypatch.setattr(publication, "_stage", late)
    build(harness)
    assert harness.candles("1m") == expected[0]
    assert candidate_branches(harness.table("1m")) == []
    assert len(attempts) == 2
