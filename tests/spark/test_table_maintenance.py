"""Retention and maintenance on real tables: what goes, what stays to the byte, and what never gets lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
from pyiceberg.table import Table
from pyspark.sql import SparkSession

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.retention_plan import RetentionPlan, TableSize, measure_table, plan_retention
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.source_hours import hour_number
from ohlcv.model.table_contracts import NAMESPACE
from spark_jobs.jobs.table_maintenance import (
    ORPHAN_AGE,
    SNAPSHOT_AGE,
    SNAPSHOTS_KEPT,
    Request,
    maintain,
    read_request,
    spans,
)
from support.commit_times import commits_at
from support.harness import Harness, at, trade

TODAY = date(2026, 11, 21)
NOON = at("2026-11-21 12:00")


def fill(harness: Harness, name: str, first: date, last: date, step: str) -> None:
    """Put a candle into every `step` of the days from first to last, past the job."""
    end = {"1m": "1 MINUTE", "1d": "1 DAY", "1h": "1 HOUR"}[name]
    harness.sql(
        f"""INSERT INTO iceberg.{NAMESPACE}.gold_ohlcv_{name}
        SELECT 'BTC-USD', 'kraken', t, t + INTERVAL {end}, CAST(t AS DATE), p, p + 1, p, p + 1, 2, 2, p,
            TIMESTAMP '2026-11-21 00:00:00', TIMESTAMP '2026-11-21 00:00:00'
        FROM (SELECT t, CAST(100 + day(t) AS DECIMAL(18, 8)) AS p FROM (SELECT explode(sequence(
            TIMESTAMP '{first} 00:00:00', TIMESTAMP '{last} 23:59:00', INTERVAL {step})) AS t))"""
    )


def plan_of(harness: Harness, name: str, as_of: date = TODAY, max_share: float = 0.99) -> RetentionPlan:
    return plan_retention(harness.settings, harness.settings.timeframe(name), as_of, TODAY, max_share)


def run(
    harness: Harness, name: str, *steps: str, as_of: date = TODAY, days: tuple[date, ...] = ()
) -> dict[str, object]:
    report = maintain(harness.spark, Request(harness.settings.timeframe(name), steps, as_of, days, "dag", "run"))
    return {step: report[step] for step in steps}


def files(table: Table) -> dict[str, int]:
    return {task.file.file_path: task.file.record_count for task in table.scan().plan_files()}


def changes(harness: Harness, name: str) -> dict[str, str]:
    """Give the newest commit's own account of itself."""
    snapshot = harness.table(name).current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    return snapshot.summary.additional_properties


def total(table: Table) -> int:
    return table.scan().count()


def size_of(harness: Harness, name: str) -> TableSize:
    return measure_table(harness.settings, harness.settings.timeframe(name))


def test_400_days_of_minutes_are_cut_at_the_exact_day_by_metadata_alone(harness: Harness) -> None:
    fill(harness, "1m", TODAY - timedelta(days=399), TODAY, "1 MINUTE")
    before, snapshots = files(harness.table("1m")), harness.snapshots("1m")
    plan = plan_of(harness, "1m")
    # 90 days before today are kept, today too.
    assert (plan.cutoff, plan.newest) == (date(2026, 8, 23), TODAY)
    assert [plan.expired[0].day, plan.expired[-1].day] == [TODAY - timedelta(days=399), date(2026, 8, 22)]
    assert (len(plan.expired), plan.rows, plan.total_rows) == (309, 309 * 1440, 400 * 1440)
    assert harness.snapshots("1m") == snapshots, "a plan changes nothing"

    days = tuple(partition.day for partition in plan.expired)
    assert run(harness, "1m", "delete", days=days) == {"delete": {"partitions": 309, "files": 309, "rows": 309 * 1440}}
    assert changes(harness, "1m")["deleted-data-files"] == "309"
    assert "added-data-files" not in changes(harness, "1m")
    assert harness.summary("1m")["ohlcv.maintenance"] == "delete"
    # The files of the younger days are the very same.
    after = files(harness.table("1m"))
    assert after.items() <= before.items()
    assert (len(after), total(harness.table("1m"))) == (91, 91 * 1440)
    oldest = min(
        row["window_date"] for row in harness.table("1m").scan(selected_fields=("window_date",)).to_arrow().to_pylist()
    )
    assert oldest == plan.cutoff

    # A second run finds nothing, and makes no commit.
    snapshots = harness.snapshots("1m")
    assert plan_of(harness, "1m").expired == ()
    assert run(harness, "1m", "delete", days=days) == {"delete": {"partitions": 0, "files": 0, "rows": 0}}
    assert harness.snapshots("1m") == snapshots


def test_six_years_of_days_are_cut_by_whole_months(harness: Harness) -> None:
    fill(harness, "1d", date(2020, 11, 21), TODAY, "1 DAY")
    plan = plan_of(harness, "1d")
    # Five years ago was 21 November 2021; that month stays whole.
    assert plan.cutoff == date(2021, 11, 1)
    assert [partition.day for partition in plan.expired][::11] == [date(2020, 11, 1), date(2021, 10, 1)]
    assert (plan.rows, plan.oldest) == ((date(2021, 11, 1) - date(2020, 11, 21)).days, date(2020, 11, 1))
    run(harness, "1d", "delete", days=tuple(partition.day for partition in plan.expired))
    dates = harness.table("1d").scan(selected_fields=("window_date",)).to_arrow()["window_date"].to_pylist()
    assert (min(dates), max(dates), len(dates)) == (date(2021, 11, 1), TODAY, (TODAY - date(2021, 11, 1)).days + 1)
    assert "added-data-files" not in changes(harness, "1d")


@pytest.mark.parametrize(
    ("name", "as_of", "cutoff"),
    [
        ("1m", "2024-03-30", "2023-12-31"),
        ("1m", "2026-03-01", "2025-12-01"),
        ("5m", "2026-11-21", "2026-05-25"),
        ("30m", "2024-02-29", "2023-02-28"),
        ("30m", "2025-02-28", "2024-02-28"),
        ("1h", "2027-02-28", "2024-02-28"),
        ("1h", "2028-02-29", "2025-02-28"),
        ("1d", "2026-01-31", "2021-01-01"),
        ("1d", "2029-02-28", "2024-02-01"),
        ("1d", "2028-02-29", "2023-02-01"),
        ("1d", "2026-12-01", "2021-12-01"),
    ],
)
def test_cutoffs_keep_to_the_calendar(name: str, as_of: str, cutoff: str) -> None:
    timeframe = load_settings({}).timeframe(name)
    assert timeframe.cutoff(date.fromisoformat(as_of)) == date.fromisoformat(cutoff)


def test_spans_hold_no_partition_that_is_not_in_the_plan() -> None:
    days = [date(2026, 1, 30), date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 3)]
    timeframes = load_settings({})
    assert spans(timeframes.timeframe("1m"), days) == [
        (date(2026, 1, 30), date(2026, 2, 2)),
        (date(2026, 2, 3), date(2026, 2, 4)),
    ]
    months = [date(2025, 12, 1), date(2026, 1, 1), date(2026, 3, 1)]
    assert spans(timeframes.timeframe("1d"), months) == [
        (date(2025, 12, 1), date(2026, 2, 1)),
        (date(2026, 3, 1), date(2026, 4, 1)),
    ]


def test_what_cannot_be_meant_is_refused_and_nothing_deleted(harness: Harness) -> None:
    fill(harness, "1m", date(2026, 8, 1), date(2026, 9, 10), "1 HOUR")
    snapshots = harness.snapshots("1m")
    with pytest.raises(InputError, match="as-of 2026-11-22 is in the future"):
        plan_of(harness, "1m", date(2026, 11, 22))
    with pytest.raises(InputError, match=r"528 of 984 candles \(53.7%\) would go, more than 50%: nothing is deleted"):
        plan_of(harness, "1m", max_share=0.5)
    assert plan_of(harness, "1m", max_share=0.55).rows == 528
    with pytest.raises(InputError, match="max-share 0 is not a share"):
        plan_of(harness, "1m", max_share=0)
    # A feed that ended long ago must not end in an empty table.
    short = Harness(harness.spark, harness.settings.home, {"OHLCV_1M_RETENTION_DAYS": "30"})
    with pytest.raises(InputError, match="the newest candles, of 2026-09-10, are older than what is kept"):
        plan_of(short, "1m", max_share=1)
    for days in ("0", "-90"):
        with pytest.raises(InputError, match="retention_days must be 1 or more"):
            load_settings({"OHLCV_1M_RETENTION_DAYS": days})
    words = ["--timeframe", "1m", "--steps", "delete", "--as-of", "2026-11-21"]
    for day in ("2026-08-23", "2026-11-21"):
        with pytest.raises(InputError, match="is no partition of 1m older than 2026-08-23"):
            read_request(harness.settings, [*words, "--days", day])
    with pytest.raises(InputError, match="is no partition of 1d older than"):
        read_request(harness.settings, ["--timeframe", "1d", *words[2:], "--days", "2020-01-02"])
    assert harness.snapshots("1m") == snapshots
    harness.sql("DROP TABLE iceberg.market_data.gold_ohlcv_1m")
    with pytest.raises(OhlcvError, match="there is no table"):
        plan_of(harness, "1m")


def test_an_empty_table_has_nothing_to_give(harness: Harness) -> None:
    assert plan_of(harness, "1m", max_share=0.5).expired == ()
    assert run(harness, "1m", "compact", "expire") == {
        "compact": {"files_before": 0, "files_after": 0, "manifests_before": 0, "manifests_after": 0},
        "expire": {
            "snapshots_before": 0,
            "snapshots_after": 0,
            "data_files_deleted": 0,
            "manifests_deleted": 0,
            "orphans_deleted": 0,
        },
    }


def test_small_files_of_closed_partitions_become_one_sorted_file(harness: Harness) -> None:
    yesterday, today = at("2026-11-20 00:00"), at("2026-11-21 00:00")
    # Each minute a commit of its own, as appends of another writer; symbols and exchanges upside down.
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
    before, progress = harness.stored("1m"), harness.progress("1m")
    assert len(files(harness.table("1m"))) == 18
    report = run(harness, "1m", "compact")["compact"]
    assert isinstance(report, dict)
    assert (report["files_before"], report["files_after"]) == (9, 1)
    assert report["manifests_after"] < report["manifests_before"]
    assert (harness.stored("1m"), harness.progress("1m")) == (before, progress)
    found = files(harness.table("1m"))
    # Today is not closed: a run of the next minute may rewrite it.
    assert sorted(found.values()) == [1] * 9 + [9]
    (joined,) = (path for path, count in found.items() if count == 9)
    written = pq.read_table(urlsplit(joined).path, columns=["symbol", "exchange", "window_start"]).to_pylist()
    assert [row["symbol"] for row in written] == list("aaabbbccc")
    assert [row["window_start"] for row in written] == sorted({row["window_start"] for row in written}) * 3
    snapshots = harness.snapshots("1m")
    assert run(harness, "1m", "compact")["compact"] == {
        "files_before": 0,
        "files_after": 0,
        "manifests_before": report["manifests_after"],
        "manifests_after": report["manifests_after"],
    }
    assert harness.snapshots("1m") == snapshots, "what is compact is left alone"


@pytest.fixture
def old_lab(spark: SparkSession, tmp_path: Path) -> Iterator[tuple[Harness, list[datetime]]]:
    """A harness whose tables were made 40 days ago, and the clock its commits by pyiceberg are stamped by."""
    clock = [datetime.now(UTC) - timedelta(days=40)]
    with commits_at(lambda: clock[0]):
        yield Harness(spark, tmp_path / "home"), clock


def age(harness: Harness, clock: list[datetime], commits: int, step: timedelta) -> None:
    """Make commits that change nothing but the time."""
    row = harness.table("1m").scan(limit=1).to_arrow()
    for _ in range(commits):
        clock[0] += step
        table = harness.table("1m")
        table.append(row.slice(0, 0))


def test_old_snapshots_go_but_for_the_last_hundred(old_lab: tuple[Harness, list[datetime]]) -> None:
    harness, clock = old_lab
    age(harness, clock, 120, timedelta(hours=1))
    now = datetime.now(UTC).date()
    newest = harness.snapshots("1m")[-SNAPSHOTS_KEPT:]
    report = run(harness, "1m", "expire", as_of=now)["expire"]
    assert isinstance(report, dict)
    assert (report["snapshots_before"], report["snapshots_after"]) == (120, 100)
    assert harness.snapshots("1m") == newest, "all are old, and so the last hundred stay"
    # Young ones stay beyond the hundred.
    clock[0] = datetime.now(UTC) - SNAPSHOT_AGE + timedelta(hours=1)
    age(harness, clock, 110, timedelta(minutes=1))
    report = run(harness, "1m", "expire", as_of=now)["expire"]
    assert isinstance(report, dict)
    assert report["snapshots_after"] == 110
    assert size_of(harness, "1m").snapshots == 110


def test_progress_outlives_the_snapshot_that_carried_it(old_lab: tuple[Harness, list[datetime]]) -> None:
    harness, clock = old_lab
    noon = at("2026-03-01 12:00")
    clock[0] = datetime.now(UTC) - timedelta(days=30)
    harness.load([trade(noon)])
    # Spark stamps by the machine's clock: this commit would be young. Its words are what counts.
    harness.build("1m", noon, noon + timedelta(minutes=5), repair=True)
    recorded = harness.progress("1m")
    assert recorded.trades_snapshot is not None
    words = harness.summary("1m")
    row = harness.table("1m").scan().to_arrow()
    harness.sql("DROP TABLE iceberg.market_data.gold_ohlcv_1m")
    again = Harness(harness.spark, harness.settings.home)
    again.table("1m").append(row.slice(0, 0), snapshot_properties=words)
    assert again.progress("1m") == recorded
    # Other hands' commits, which say nothing of it, hide it behind more than a hundred.
    age(again, clock, SNAPSHOTS_KEPT + 5, timedelta(hours=1))
    report = run(again, "1m", "expire", as_of=datetime.now(UTC).date())["expire"]
    assert isinstance(report, dict)
    assert report["snapshots_after"] == SNAPSHOTS_KEPT
    assert again.progress("1m") == recorded
    # Late trades are found, as before.
    again.load([trade(noon + timedelta(minutes=1), "7")])
    later = noon + timedelta(hours=5)
    built = again.build("1m", later, later + timedelta(minutes=5), repair=True)
    assert built["candles"]["inserted"] == 2


def test_maintenance_carries_the_progress_and_runs_go_on(harness: Harness) -> None:
    noon = at("2026-03-01 12:00")
    fill(harness, "1m", date(2025, 1, 1), date(2025, 1, 2), "1 HOUR")
    harness.load([trade(noon)])
    harness.build("1m", noon, noon + timedelta(minutes=5), repair=True)
    recorded = harness.progress("1m")
    run(harness, "1m", "delete", "compact", "expire", days=(date(2025, 1, 1), date(2025, 1, 2)))
    assert harness.progress("1m") == recorded
    assert len(harness.stored("1m")) == 1
    harness.load([trade(noon + timedelta(minutes=1), "7")])
    later = noon + timedelta(hours=5)
    built = harness.build("1m", later, later + timedelta(minutes=5), repair=True)
    assert (built["candles"]["inserted"], built["notes"]) == (1, [])


def test_files_nobody_names_go_when_they_are_old(harness: Harness) -> None:
    harness.load([trade(NOON)])
    harness.build("1m", NOON, NOON + timedelta(minutes=5))
    folder = harness.settings.home / "warehouse" / NAMESPACE / "gold_ohlcv_1m" / "data"
    old, young = folder / "window_date=2026-11-20" / "old.parquet", folder / "young.parquet"
    old.parent.mkdir()
    long_ago = (datetime.now(UTC) - ORPHAN_AGE - timedelta(hours=1)).timestamp()
    for path in (old, young):
        path.write_bytes(b"left by a killed job")
    os.utime(old, (long_ago, long_ago))
    named = [Path(urlsplit(path).path) for path in files(harness.table("1m"))]
    for path in named:
        os.utime(path, (long_ago, long_ago))
    report = run(harness, "1m", "expire", as_of=datetime.now(UTC).date())["expire"]
    assert isinstance(report, dict)
    assert report["orphans_deleted"] == 1
    assert (old.exists(), young.exists(), all(path.exists() for path in named)) == (False, True, True)
    assert len(harness.stored("1m")) == 1


def test_a_catalog_that_keeps_its_own_house_is_told_not_failed(harness: Harness) -> None:
    harness.sql("ALTER TABLE iceberg.market_data.gold_ohlcv_1m SET TBLPROPERTIES ('gc.enabled' = 'false')")
    report = run(harness, "1m", "expire")["expire"]
    assert report == {"note": "the catalog keeps what is old itself (gc.enabled=false): nothing is expired here"}


def test_names_of_old_states_are_bounded_on_tables_of_before(harness: Harness) -> None:
    name = "iceberg.market_data.gold_ohlcv_1m"
    harness.sql(f"ALTER TABLE {name} UNSET TBLPROPERTIES ('write.metadata.delete-after-commit.enabled')")
    harness.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('write.metadata.previous-versions-max' = '7')")
    run(harness, "1m", "expire")
    properties = harness.table("1m").properties
    assert properties["write.metadata.delete-after-commit.enabled"] == "true"
    assert properties["write.metadata.previous-versions-max"] == "7", "what its owner has set stays"
    for price in range(10):
        harness.load([trade(NOON + timedelta(seconds=price), str(price + 1))])
        harness.build("1m", NOON, NOON + timedelta(minutes=1))
    folder = harness.settings.home / "warehouse" / NAMESPACE / "gold_ohlcv_1m" / "metadata"
    assert len(list(folder.glob("*.metadata.json"))) == 8


OTHER = "z"


def other_hand(harness: Harness, time: datetime) -> None:
    """Append small files to the partition the pipeline writes, so that there is something to compact."""
    name = "iceberg.market_data.gold_ohlcv_1m"
    for minute in range(3):
        with write_lock(harness.settings, "gold_ohlcv_1m"):
            harness.sql(
                f"""INSERT INTO {name} SELECT '{OTHER}', 'kraken', t, t + INTERVAL 1 MINUTE, CAST(t AS DATE),
                1, 1, 1, 1, 1, 1, 1, t, t FROM (SELECT TIMESTAMP '{time:%F %T}' + INTERVAL {minute} MINUTE AS t)"""
            )


def test_maintenance_and_the_pipeline_do_not_disturb_each_other(harness: Harness) -> None:
    """The 1m job commits again and again while every step runs over the very partition it writes."""
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
                harness.build("1m", minute, minute + timedelta(minutes=1), repair=True)
                rounds.append(minute)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=pipeline)
    thread.start()
    expired = [each.date() for each in (at("2025-01-01 00:00") + timedelta(days=n) for n in range(20))]
    try:
        for share in range(4):
            other_hand(harness, day + timedelta(hours=12 + share))
            # Other days each time, so that each round has something to delete.
            run(harness, "1m", "delete", days=tuple(expired[share * 5 : share * 5 + 5]))
            run(harness, "1m", "compact", "expire")
    finally:
        stop.set()
        thread.join()
    assert failures == []
    assert len(rounds) >= 4
    span = (day, day + timedelta(minutes=len(rounds)))
    found = harness.candles("1m")
    assert {key: candle for key, candle in found.items() if key[0] != OTHER} == harness.expected("1m", span).candles
    assert len(found) - len(harness.expected("1m", span).candles) == 4 * 3


def test_repairs_leave_alone_what_retention_would_take_again(harness: Harness) -> None:
    own = at("2026-11-21 12:00")
    harness.load([trade(own)])
    harness.build("1m", own, own + timedelta(minutes=5), repair=True)
    harness.load([trade(at("2026-08-22 12:00")), trade(at("2026-08-23 12:00"))])
    report = harness.build("1m", own, own + timedelta(minutes=5), repair=True)
    assert [key[2] for key in sorted(harness.stored("1m"), key=lambda key: key[2])] == [
        int(at(text).timestamp()) * 1_000_000 for text in ("2026-08-23 12:00", "2026-11-21 12:00")
    ]
    assert report["notes"] == ["1 changed hours are older than what is kept and are not built"]
    # Only the hour that is not over.
    assert harness.progress("1m").pending_hours == {hour_number(own)}
