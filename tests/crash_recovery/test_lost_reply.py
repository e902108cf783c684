"""The catalog's database commits, and its reply is lost: the candles must be right, and no live file deleted.

Iceberg's JDBC pool repeats the UPDATE by itself, sees no row changed, and may take its own commit for a conflict.
An unlucky kind of commit then deletes the files of the commit that landed (docs: why a plain overwrite).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow.parquet as pq
import pytest
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from ohlcv.model import summary_keys
from ohlcv.model.errors import OhlcvError
from support.databases import catalog_environment, new_database
from support.dropping_proxy import DroppingProxy
from support.harness import Harness, at, trade
from support.reference_model import Trade

# How Iceberg's JDBC catalog commits to a table that exists.
COMMIT = b"UPDATE iceberg_tables"

# pyiceberg leaves its catalogs' connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

DAY = at("2026-03-01 00:00")
NEXT = at("2026-03-02 00:00")
AFTER = at("2026-03-03 00:00")


@dataclass(frozen=True)
class Fault:
    """A harness whose catalog lies behind the proxy."""

    harness: Harness
    proxy: DroppingProxy


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), volatile=True) as running:
        yield running


@pytest.fixture
def fault(spark: SparkSession, server: PostgresServer, tmp_path: Path) -> Iterator[Fault]:
    with DroppingProxy(server.port) as proxy:
        environment = catalog_environment(server, new_database(server), proxy.port)
        yield Fault(Harness(spark, tmp_path / "home", environment), proxy)
        gc.collect()


@dataclass(frozen=True)
class Case:
    """A run whose commit loses its reply, on a table prepared for it."""

    timeframe: str
    prepare: Callable[[Harness], None]
    end: datetime
    repair: bool = False

    def run(self, harness: Harness) -> dict[str, Any]:
        start = self.end - timedelta(days=1)
        return harness.build(self.timeframe, start, self.end, repair=self.repair)


def some_trades(start: datetime = DAY, hours: int = 6, step: int = 47, price: int = 100) -> list[Trade]:
    return [
        trade(
            start + timedelta(seconds=second), f"{price + second % 13}.{second % 7}", f"0.{second % 97 + 1}", symbol=s
        )
        for s in ("BTC-USD", "ETH-USD")
        for second in range(0, hours * 3600, step)
    ]


def first_insert(harness: Harness) -> None:
    harness.load(some_trades())


def update(harness: Harness) -> None:
    """Have a day stored, then late trades in some of its windows."""
    harness.load(some_trades())
    harness.build("1m", DAY, NEXT)
    harness.load([trade(DAY + timedelta(minutes=7 * n, seconds=3), "777", trade_id=f"late-{n}") for n in range(40)])


def month(harness: Harness) -> None:
    """Have the first day of a month stored, then trades of its second."""
    harness.load(some_trades())
    harness.build("1d", DAY, NEXT)
    harness.load(some_trades(NEXT))


def nothing_to_change(harness: Harness) -> None:
    """Have a day stored and looked at, then the same trades delivered again: there is only progress to record."""
    harness.load(some_trades())
    harness.build("1m", DAY, NEXT, repair=True)
    harness.load(harness.trades[::5])


CASES = {
    "first insert": Case("1m", first_insert, NEXT),
    "update": Case("1m", update, NEXT),
    "month": Case("1d", month, AFTER),
    "progress only": Case("1m", nothing_to_change, NEXT, repair=True),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_lost_reply_harms_nothing(fault: Fault, case: Case) -> None:
    harness, proxy = fault.harness, fault.proxy
    case.prepare(harness)
    before = attempts(harness, case.timeframe)
    proxy.arm(COMMIT)
    report = case.run(harness)
    assert proxy.dropped == 1
    assert_sound(harness, case)
    if case.repair:
        assert report["snapshot"] is None
        assert attempts(harness, case.timeframe) == before
        assert harness.progress(case.timeframe).trades_snapshot == harness.snapshots()[-1]
    else:
        assert report["snapshot"] == harness.snapshots(case.timeframe)[-1]
        assert len(attempts(harness, case.timeframe)) == len(before) + 1
    assert_rerun_commits_nothing(harness, case)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_outcome_that_stays_open_is_an_error_and_the_rerun_is_right(fault: Fault, case: Case) -> None:
    """The reply is lost and the database cannot be asked: the commit landed, but the job cannot know."""
    harness, proxy = fault.harness, fault.proxy
    case.prepare(harness)
    before = attempts(harness, case.timeframe)
    proxy.arm(COMMIT, then_refuse=True)
    # Only progress is recorded without Spark's writer: nobody looks after it, and nothing depends on it.
    error, words = (Py4JJavaError, None) if case.repair else (OhlcvError, "may have landed or not: run again")
    with pytest.raises(error, match=words):
        case.run(harness)
    assert proxy.dropped == 1
    proxy.accept()
    # It did land, before anything was run again.
    assert_sound(harness, case)
    assert len(attempts(harness, case.timeframe)) == len(before) + (0 if case.repair else 1)
    assert_rerun_commits_nothing(harness, case)


def assert_sound(harness: Harness, case: Case) -> None:
    """Hold every row of every live file against the oracle."""
    expected = harness.expected(case.timeframe, (DAY, case.end)).candles
    assert expected
    assert harness.candles(case.timeframe) == expected  # a key stored twice is an error there
    assert read_live_files(harness, case.timeframe) == len(expected)


def assert_rerun_commits_nothing(harness: Harness, case: Case) -> None:
    metadata = harness.table(case.timeframe).metadata_location
    report = case.run(harness)
    assert report["snapshot"] is None
    assert harness.table(case.timeframe).metadata_location == metadata
    assert_sound(harness, case)


def read_live_files(harness: Harness, timeframe: str) -> int:
    """Read each file of the current snapshot to its end; give the number of their rows."""
    rows = 0
    for task in harness.table(timeframe).scan().plan_files():
        path = Path(unquote(urlsplit(task.file.file_path).path))
        assert path.is_file(), f"{path} is live, and gone"
        rows += len(pq.read_table(path, page_checksum_verification=True))
    return rows


def attempts(harness: Harness, timeframe: str) -> list[str]:
    """Give the attempt that made each snapshot, oldest first."""
    return [
        snapshot.summary.additional_properties[summary_keys.ATTEMPT]
        for snapshot in harness.table(timeframe).snapshots()
        if snapshot.summary is not None
    ]
