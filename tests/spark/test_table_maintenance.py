"""Compaction and expiry on real tables: what is removed, what remains, and that the checkpoint survives."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from ohlcv.config.maintained_tables import maintained_table
from ohlcv.config.settings import load_settings
from ohlcv.iceberg.relocation import relocate_tables
from ohlcv.iceberg.retention_plan import TableSize, measure_table
from ohlcv.model.errors import OhlcvError
from spark_jobs.jobs import table_maintenance
from spark_jobs.jobs.table_maintenance import (
    MIN_SNAPSHOTS_TO_KEEP,
    SNAPSHOT_AGE,
    TableMaintenance,
)
from support.candidates import stage as stage_without_rows
from support.commit_times import commits_at
from support.default_tables import NAMESPACE
from support.harness import Harness, at, trade
from support.maintenance import OTHER_SYMBOL, append_small_files, data_files, files_of, fill, run_maintenance

NOON = at("2026-11-21 12:00")
# Snapshots that expiry keeps in tests of old tables.
KEPT_SNAPSHOTS = 10


def size_of(harness: Harness, name: str) -> TableSize:
    return measure_table(harness.settings, maintained_table(harness.settings, name).contract)


def test_maintenance_of_an_empty_table_does_nothing(harness: Harness) -> None:
    assert run_maintenance(harness, "1m", "compact", "expire") == {
        "compact": {"files_before": 0, "files_after": 0, "manifests_before": 0, "manifests_after": 0},
        "expire": {
            "snapshots_before": 0,
            "snapshots_after": 0,
            "candidates_expired": 0,
            "data_files_deleted": 0,
            "manifests_deleted": 0,
            "orphans_deleted": 0,
        },
    }


def test_small_files_of_closed_partitions_are_merged_into_one_sorted_file(harness: Harness) -> None:
    yesterday, today = at("2026-11-20 00:00"), at("2026-11-21 00:00")
    # Each candle in a commit of its own, with symbols in descending order.
    rows: list[dict[str, object]] = []
    harness.load(
        [trade(day + timedelta(minutes=n), symbol=s) for day in (yesterday, today) for n in range(3) for s in "cab"]
    )
    harness.build("1m", yesterday, today + timedelta(minutes=3))
    rows = harness.table("1m").scan().to_arrow().to_pylist()
    harness.sql("DELETE FROM iceberg.market_data.gold_ohlcv_1m")
    schema = harness.spark.table("iceberg.market_data.gold_ohlcv_1m").schema
    for row in rows:
        values = [[row[field.name] for field in schema]]
        harness.spark.createDataFrame(values, schema).coalesce(1).writeTo("iceberg.market_data.gold_ohlcv_1m").append()
    before, checkpoint = harness.stored("1m"), harness.checkpoint("1m")
    assert len(data_files(harness.table("1m"))) == 18
    report = run_maintenance(harness, "1m", "compact")["compact"]
    assert isinstance(report, dict)
    assert (report["files_before"], report["files_after"]) == (9, 1)
    assert report["manifests_after"] < report["manifests_before"]
    assert (harness.stored("1m"), harness.checkpoint("1m")) == (before, checkpoint)
    found = data_files(harness.table("1m"))
    # Today is not closed: the next run may rewrite it.
    assert sorted(found.values()) == [1] * 9 + [9]
    (merged,) = (path for path, count in found.items() if count == 9)
    written = pq.read_table(urlsplit(merged).path, columns=["symbol", "exchange", "window_start"]).to_pylist()
    assert [row["symbol"] for row in written] == list("aaabbbccc")
    assert [row["window_start"] for row in written] == sorted({row["window_start"] for row in written}) * 3
    snapshots = harness.snapshots("1m")
    assert run_maintenance(harness, "1m", "compact")["compact"] == {
        "files_before": 0,
        "files_after": 0,
        "manifests_before": report["manifests_after"],
        "manifests_after": report["manifests_after"],
    }
    assert harness.snapshots("1m") == snapshots, "a compacted table must not change"


@pytest.fixture
def old_harness(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Harness, list[datetime]]]:
    """Yield a harness with tables created 40 days ago, and the clock of its pyiceberg commits.

    Expiry keeps ten snapshots: a hundred commits take many seconds.
    """
    monkeypatch.setattr(table_maintenance, "MIN_SNAPSHOTS_TO_KEEP", KEPT_SNAPSHOTS)
    clock = [datetime.now(UTC) - timedelta(days=40)]
    with commits_at(lambda: clock[0]):
        yield Harness(spark, tmp_path / "home"), clock


def append_empty_commits(harness: Harness, clock: list[datetime], commits: int, step: timedelta) -> None:
    """Make commits without rows, each one step later."""
    row = harness.table("1m").scan(limit=1).to_arrow()
    for _ in range(commits):
        clock[0] += step
        table = harness.table("1m")
        table.append(row.slice(0, 0))


def test_old_snapshots_expire_except_the_newest(old_harness: tuple[Harness, list[datetime]]) -> None:
    assert MIN_SNAPSHOTS_TO_KEEP == 100
    harness, clock = old_harness
    append_empty_commits(harness, clock, 15, timedelta(hours=1))
    # Candidates are not among the newest.
    old = [stage_without_rows(harness.table("1m"), {}) for _ in range(3)]
    clock[0] = datetime.now(UTC) - SNAPSHOT_AGE + timedelta(minutes=30)
    young = stage_without_rows(harness.table("1m"), {})
    now = datetime.now(UTC).date()
    newest = harness.snapshots("1m")[-KEPT_SNAPSHOTS:]
    report = run_maintenance(harness, "1m", "expire", as_of=now)["expire"]
    assert isinstance(report, dict)
    assert (report["snapshots_before"], report["snapshots_after"]) == (15, KEPT_SNAPSHOTS)
    assert report["candidates_expired"] == len(old)
    assert harness.snapshots("1m") == newest, "all are old, so the newest ten remain"
    assert {each.snapshot_id for each in harness.table("1m").snapshots()} == {*newest, young}


def test_young_snapshots_remain_even_if_they_are_many(old_harness: tuple[Harness, list[datetime]]) -> None:
    harness, clock = old_harness
    clock[0] = datetime.now(UTC) - SNAPSHOT_AGE + timedelta(hours=1)
    append_empty_commits(harness, clock, 12, timedelta(minutes=1))
    report = run_maintenance(harness, "1m", "expire", as_of=datetime.now(UTC).date())["expire"]
    assert isinstance(report, dict)
    assert report["snapshots_after"] == 12


def test_the_checkpoint_survives_the_expiry_of_its_snapshot(old_harness: tuple[Harness, list[datetime]]) -> None:
    harness, clock = old_harness
    noon = at("2026-03-01 12:00")
    clock[0] = datetime.now(UTC) - timedelta(days=30)
    harness.load([trade(noon)])
    # Spark uses the system clock, so its commit is young. Copy its summary into an old commit.
    harness.build("1m", noon, noon + timedelta(minutes=5), rebuild_pending=True)
    recorded = harness.checkpoint("1m")
    assert recorded.trades_snapshot is not None
    summary = harness.summary("1m")
    row = harness.table("1m").scan().to_arrow()
    harness.sql("DROP TABLE iceberg.market_data.gold_ohlcv_1m PURGE")
    shutil.rmtree(harness.settings.home / "warehouse" / NAMESPACE / "gold_ohlcv_1m")
    recreated = Harness(harness.spark, harness.settings.home)
    recreated.table("1m").append(row.slice(0, 0), snapshot_properties=summary)
    assert recreated.checkpoint("1m") == recorded
    # More commits of other writers follow than expiry keeps, without a checkpoint.
    append_empty_commits(recreated, clock, KEPT_SNAPSHOTS + 5, timedelta(hours=1))
    report = run_maintenance(recreated, "1m", "expire", as_of=datetime.now(UTC).date())["expire"]
    assert isinstance(report, dict)
    assert report["snapshots_after"] == KEPT_SNAPSHOTS
    assert recreated.checkpoint("1m") == recorded
    # Late trades are still detected.
    recreated.load([trade(noon + timedelta(minutes=1), "7")])
    later = noon + timedelta(hours=5)
    built = recreated.build("1m", later, later + timedelta(minutes=5), rebuild_pending=True)
    assert built["candles"]["inserted"] == 2


def test_a_checkpoint_recorded_during_a_compaction_remains(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    append_small_files(harness, at("2026-11-20 12:00"))
    summary = TableMaintenance.summary

    def during_compaction(maintenance: TableMaintenance) -> dict[str, str]:
        values = summary(maintenance)
        harness.load([trade(NOON)])
        harness.build("1m", NOON, NOON + timedelta(minutes=5), rebuild_pending=True)
        return values

    monkeypatch.setattr(TableMaintenance, "summary", during_compaction)
    report = run_maintenance(harness, "1m", "compact")["compact"]
    assert isinstance(report, dict)
    assert report["files_before"] == 3
    assert harness.checkpoint("1m").trades_snapshot == harness.snapshots()[-1]


def test_maintenance_carries_the_checkpoint_over(harness: Harness) -> None:
    noon = at("2026-03-01 12:00")
    fill(harness, "1m", date(2025, 1, 1), date(2025, 1, 2), "1 HOUR")
    harness.load([trade(noon)])
    harness.build("1m", noon, noon + timedelta(minutes=5), rebuild_pending=True)
    recorded = harness.checkpoint("1m")
    run_maintenance(harness, "1m", "delete", "compact", "expire", days=(date(2025, 1, 1), date(2025, 1, 2)))
    assert harness.checkpoint("1m") == recorded
    assert len(harness.stored("1m")) == 1
    harness.load([trade(noon + timedelta(minutes=1), "7")])
    later = noon + timedelta(hours=5)
    built = harness.build("1m", later, later + timedelta(minutes=5), rebuild_pending=True)
    assert (built["candles"]["inserted"], built["notes"]) == (1, [])


def test_jobs_refuse_the_tables_of_a_copied_home_until_they_are_relocated(harness: Harness) -> None:
    harness.load([trade(NOON)])
    harness.build("1m", NOON, NOON + timedelta(minutes=5))
    home = harness.settings.home.with_name("copy")
    shutil.copytree(harness.settings.home, home)
    before = files_of(harness.settings.home)
    settings = load_settings({"OHLCV_HOME": str(home)})
    with pytest.raises(OhlcvError, match="outside the warehouse"):
        Harness(harness.spark, home)
    relocate_tables(settings)
    copy = Harness(harness.spark, home)
    copy.trades = list(harness.trades)
    copy.load([trade(NOON + timedelta(minutes=1), "7")])
    copy.build("1m", NOON, NOON + timedelta(minutes=5), rebuild_pending=True)
    run_maintenance(copy, "1m", "compact", "expire")
    assert copy.candles("1m") == copy.expected("1m", (NOON, NOON + timedelta(minutes=5))).candles
    assert files_of(harness.settings.home) == before


def test_a_job_refuses_to_write_a_table_outside_the_warehouse(harness: Harness, tmp_path: Path) -> None:
    moved = dataclasses.replace(harness.settings.catalog, warehouse=f"file://{tmp_path}/elsewhere")
    harness.settings = dataclasses.replace(harness.settings, catalog=moved)
    message = r"gold_ohlcv_1m is stored in .* outside the warehouse"
    with pytest.raises(OhlcvError, match=message):
        run_maintenance(harness, "1m", "compact")
    with pytest.raises(OhlcvError, match=message):
        harness.build("1m", NOON, NOON + timedelta(minutes=5))


def test_a_table_with_gc_disabled_is_reported_without_failing(harness: Harness) -> None:
    harness.sql("ALTER TABLE iceberg.market_data.gold_ohlcv_1m SET TBLPROPERTIES ('gc.enabled' = 'false')")
    report = run_maintenance(harness, "1m", "expire")["expire"]
    assert report == {"note": "the catalog expires old snapshots and files itself (gc.enabled=false): nothing is done"}


@pytest.mark.spark_cases
def test_old_tables_get_a_limit_of_metadata_files(harness: Harness) -> None:
    name = "iceberg.market_data.gold_ohlcv_1m"
    harness.sql(f"ALTER TABLE {name} UNSET TBLPROPERTIES ('write.metadata.delete-after-commit.enabled')")
    harness.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('write.metadata.previous-versions-max' = '2')")
    run_maintenance(harness, "1m", "expire")
    properties = harness.table("1m").properties
    assert properties["write.metadata.delete-after-commit.enabled"] == "true"
    assert properties["write.metadata.previous-versions-max"] == "2", "an explicit setting remains"
    for price in range(3):
        harness.load([trade(NOON + timedelta(seconds=price), str(price + 1))])
        harness.build("1m", NOON, NOON + timedelta(minutes=1))
    folder = harness.settings.home / "warehouse" / NAMESPACE / "gold_ohlcv_1m" / "metadata"
    assert len(list(folder.glob("*.metadata.json"))) == 3


@pytest.mark.spark_cases
def test_maintenance_and_the_pipeline_can_run_concurrently(harness: Harness) -> None:
    """Commit with the 1m job repeatedly while every maintenance step processes the same partition."""
    fill(harness, "1m", date(2025, 1, 1), date(2025, 1, 20), "1 HOUR")
    day = at("2026-11-20 00:00")
    stop = threading.Event()
    failures: list[BaseException] = []
    rounds: list[datetime] = []

    def pipeline() -> None:
        try:
            while not stop.is_set() or len(rounds) < 4:
                minute = day + timedelta(minutes=len(rounds))
                harness.load(
                    [trade(minute + timedelta(seconds=n), str(100 + n), symbol=s) for n in range(3) for s in "ab"]
                )
                harness.build("1m", minute, minute + timedelta(minutes=1), rebuild_pending=True)
                rounds.append(minute)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=pipeline)
    thread.start()
    expired = [each.date() for each in (at("2025-01-01 00:00") + timedelta(days=n) for n in range(20))]
    try:
        for share in range(4):
            append_small_files(harness, day + timedelta(hours=12 + share))
            # Other days each time, so that each round has something to delete.
            run_maintenance(harness, "1m", "delete", days=tuple(expired[share * 5 : share * 5 + 5]))
            run_maintenance(harness, "1m", "compact", "expire")
    finally:
        stop.set()
        thread.join()
    assert failures == []
    assert len(rounds) >= 4
    span = (day, day + timedelta(minutes=len(rounds)))
    found = harness.candles("1m")
    assert {key: candle for key, candle in found.items() if key[0] != OTHER_SYMBOL} == harness.expected(
        "1m", span
    ).candles
    assert len(found) - len(harness.expected("1m", span).candles) == 4 * 3
