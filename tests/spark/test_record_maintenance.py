"""Maintenance of record tables: which snapshots of candles the ledger keeps, and what is deleted and merged in them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.table import Table
from pyspark.sql import SparkSession

from ohlcv.config.maintained_tables import maintained_table
from ohlcv.iceberg.retention_plan import plan_record_retention
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.ledger.expiry import keep_since
from ohlcv.ledger.recording import record
from ohlcv.model.summary_keys import COVERAGE_TRADES, COVERAGE_UNTIL
from spark_jobs.jobs import table_maintenance
from spark_jobs.jobs.table_maintenance import UNRECORDED_AGE, Request, maintain, read_request
from support.candle_rows import MINUTE
from support.commit_times import commits_at
from support.harness import Harness
from support.ledger_rows import add_coverage_rows, add_ledger_rows
from support.maintenance import TODAY, data_files, run_maintenance

NOW = datetime.now(UTC)


@pytest.fixture
def old_harness(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Harness, list[datetime]]]:
    """Yield a harness whose old snapshots all expire, and the clock of its pyiceberg commits."""
    monkeypatch.setattr(table_maintenance, "MIN_SNAPSHOTS_TO_KEEP", 1)
    clock = [NOW - timedelta(days=40)]
    with commits_at(lambda: clock[0]):
        yield Harness(spark, tmp_path / "home"), clock


def commit(harness: Harness, clock: list[datetime], *ages: timedelta) -> list[int]:
    """Make a commit without rows at each age, and return the snapshots."""
    snapshots = []
    for age in ages:
        clock[0] = NOW - age
        table = harness.table("1m")
        table.append(table.schema().as_arrow().empty_table())
        snapshots.append(harness.snapshots("1m")[-1])
    return snapshots


def expire(harness: Harness, since: datetime | None) -> list[int]:
    """Expire snapshots and return those that remain."""
    run_maintenance(harness, "1m", "expire", as_of=NOW.date(), keep_since=since)
    return harness.snapshots("1m")


def test_snapshots_that_are_not_recorded_are_kept_for_fourteen_days(
    old_harness: tuple[Harness, list[datetime]],
) -> None:
    harness, clock = old_harness
    ages = [timedelta(days=days) for days in (20, 13, 10, 8, 1)]
    snapshots = commit(harness, clock, *ages)
    assert expire(harness, NOW - timedelta(days=20)) == snapshots[1:]
    assert timedelta(days=13) < UNRECORDED_AGE < timedelta(days=20)
    # From exactly its time on.
    assert expire(harness, NOW - timedelta(days=10)) == snapshots[2:]
    # A ledger that is up to date keeps no more than without one.
    assert expire(harness, NOW - timedelta(hours=1)) == snapshots[4:]


@pytest.mark.parametrize("keeps", [True, False])
def test_only_expiry_that_ignores_the_ledger_causes_a_gap(
    old_harness: tuple[Harness, list[datetime]], keeps: bool
) -> None:
    harness, clock = old_harness
    commit(harness, clock, timedelta(days=12))
    clock[0] = NOW
    assert record(harness.settings, MINUTE).publications == 1
    waiting = commit(harness, clock, timedelta(days=9), timedelta(days=8), timedelta(hours=1))
    remaining = expire(harness, keep_since(harness.settings, MINUTE) if keeps else None)
    assert remaining[-3:] == (waiting if keeps else waiting[-1:])
    clock[0] = NOW
    report = record(harness.settings, MINUTE)
    assert (report.publications, report.gap is None) == ((3, True) if keeps else (1, False))


def record_table(harness: Harness, name: str) -> Table:
    return load_table(open_catalog(harness.settings), maintained_table(harness.settings, name).contract)


def summary_of(table: Table) -> dict[str, Any]:
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    return snapshot.summary.additional_properties


@pytest.mark.parametrize(("name", "column"), [("publications", "visible_at"), ("revisions", "window_start")])
def test_expired_months_of_a_timeframe_are_deleted_in_a_metadata_only_commit(
    harness: Harness, name: str, column: str
) -> None:
    times = ["2026-06-30T23:59:59.999999", "2026-07-01", "2026-07-31T23:59:59.999999", "2026-08-01", "2026-11-20"]
    for timeframe in ("1m", "1h"):
        add_ledger_rows(harness.settings, name, timeframe, *times)
    before = data_files(record_table(harness, name))
    plans = plan_record_retention(harness.settings, [name], ["1m", "1h"], TODAY, TODAY)
    days = ",".join(day for plan in plans if plan.table.name == name for day in plan.days)
    arguments = ["--table", name, "--steps", "delete", "--as-of", str(TODAY), "--days", days]
    request = read_request(harness.settings, arguments)
    assert maintain(harness.spark, harness.settings, request)["delete"] == {"partitions": 2, "files": 2, "rows": 3}
    table = record_table(harness, name)
    assert data_files(table).items() <= before.items()
    assert summary_of(table)["deleted-data-files"] == "2"
    assert "added-data-files" not in summary_of(table)
    # The source checkpoint belongs to candle tables only.
    assert {key for key in summary_of(table) if key.startswith("ohlcv.")} == {
        *("ohlcv.maintenance", "ohlcv.dag-id", "ohlcv.run-id")
    }
    rows = table.scan(selected_fields=("timeframe", column)).to_arrow().to_pylist()
    left = {each: sorted(str(row[column].date()) for row in rows if row["timeframe"] == each) for each in ("1m", "1h")}
    assert left == {
        "1m": ["2026-08-01", "2026-11-20"],
        "1h": ["2026-06-30", "2026-07-01", "2026-07-31", "2026-08-01", "2026-11-20"],
    }


def test_the_files_of_every_month_of_the_ledger_are_merged_and_old_snapshots_expire(
    old_harness: tuple[Harness, list[datetime]],
) -> None:
    harness, clock = old_harness
    for symbol in "cab":
        add_ledger_rows(harness.settings, "revisions", "1m", "2026-11-20", "2026-11-21", symbol=symbol)
    clock[0] = NOW
    table = maintained_table(harness.settings, "revisions")
    report = maintain(harness.spark, harness.settings, Request(table, ("compact", "expire"), TODAY))
    assert report["table"] == "revisions"
    assert (report["compact"]["files_before"], report["compact"]["files_after"]) == (3, 1)
    assert report["expire"]["snapshots_after"] == 1
    found = record_table(harness, "revisions")
    assert list(data_files(found).values()) == [6]
    rows = found.scan(selected_fields=("symbol", "window_start", "publication")).to_arrow().to_pylist()
    assert [row["symbol"] for row in rows] == list("aabbcc")
    assert [row["publication"] for row in rows] == [1, 2] * 3


def test_maintenance_keeps_the_rows_and_the_checkpoint_of_the_coverage(
    old_harness: tuple[Harness, list[datetime]],
) -> None:
    harness, clock = old_harness
    hours = ["2021-10-31T23", "2021-11-01T00", "2026-11-20T22", "2026-11-20T23"]
    for symbol in "cab":
        properties = {COVERAGE_TRADES: symbol, COVERAGE_UNTIL: "2026-11-21T00:00:00Z"}
        add_coverage_rows(harness.settings, *hours, symbol=symbol, properties=properties)
    clock[0] = NOW
    before = record_table(harness, "coverage")
    rows = sorted_rows(before)
    [plan] = plan_record_retention(harness.settings, ["coverage"], ["1d"], TODAY, TODAY)
    arguments = ["--table", "coverage", "--steps", "delete,compact,expire", "--as-of", str(TODAY)]
    request = read_request(harness.settings, [*arguments, "--days", ",".join(plan.days)])
    report = maintain(harness.spark, harness.settings, request)
    assert report["delete"] == {"partitions": 1, "files": 3, "rows": 3}
    assert (report["compact"]["files_before"], report["compact"]["files_after"]) == (6, 2)
    # Those of the deletion and of the compaction of two days.
    assert report["expire"]["snapshots_after"] == 3
    found = record_table(harness, "coverage")
    # The newest day is merged too.
    assert sorted(data_files(found).values()) == [3, 6]
    assert sorted_rows(found) == [row for row in rows if row["hour"] != datetime(2021, 10, 31, 23, tzinfo=UTC)]
    assert found.properties.items() >= before.properties.items()
    assert found.properties[COVERAGE_TRADES] == "b"


def sorted_rows(table: Table) -> list[dict[str, Any]]:
    rows = table.scan().to_arrow().to_pylist()
    return sorted(rows, key=lambda row: (row["symbol"], row["hour"]))
