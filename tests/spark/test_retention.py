"""Deletion of expired partitions on real tables: exact cutoffs, rejected requests, unchanged younger data."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from pyiceberg.table import Table

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.retention_plan import RetentionPlan, plan_retention
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.source_hours import hour_number
from spark_jobs.jobs.table_maintenance import read_request
from support.harness import Harness, at, trade
from support.maintenance import data_files, fill, latest_summary, run_maintenance

TODAY = date(2026, 11, 21)


def plan_of(harness: Harness, name: str, as_of: date = TODAY, max_share: float = 0.99) -> RetentionPlan:
    return plan_retention(harness.settings, harness.settings.timeframe(name), as_of, TODAY, max_share)


def count_rows(table: Table) -> int:
    return table.scan().count()


def test_days_beyond_the_cutoff_are_deleted_in_a_metadata_only_commit(harness: Harness) -> None:
    fill(harness, "1m", TODAY - timedelta(days=399), TODAY, "1 MINUTE")
    before, snapshots = data_files(harness.table("1m")), harness.snapshots("1m")
    plan = plan_of(harness, "1m")
    # 90 days before today are within retention, and today.
    assert (plan.cutoff, plan.newest) == (date(2026, 8, 23), TODAY)
    assert [plan.expired[0].day, plan.expired[-1].day] == [TODAY - timedelta(days=399), date(2026, 8, 22)]
    assert (len(plan.expired), plan.rows, plan.total_rows) == (309, 309 * 1440, 400 * 1440)
    assert harness.snapshots("1m") == snapshots, "planning must not change the table"

    days = tuple(partition.day for partition in plan.expired)
    assert run_maintenance(harness, "1m", "delete", days=days) == {
        "delete": {"partitions": 309, "files": 309, "rows": 309 * 1440}
    }
    assert latest_summary(harness, "1m")["deleted-data-files"] == "309"
    assert "added-data-files" not in latest_summary(harness, "1m")
    assert harness.summary("1m")["ohlcv.maintenance"] == "delete"
    # The files of the younger days are unchanged.
    after = data_files(harness.table("1m"))
    assert after.items() <= before.items()
    assert (len(after), count_rows(harness.table("1m"))) == (91, 91 * 1440)
    oldest = min(
        row["window_date"] for row in harness.table("1m").scan(selected_fields=("window_date",)).to_arrow().to_pylist()
    )
    assert oldest == plan.cutoff

    # A second run deletes nothing and makes no commit.
    snapshots = harness.snapshots("1m")
    assert plan_of(harness, "1m").expired == ()
    assert run_maintenance(harness, "1m", "delete", days=days) == {"delete": {"partitions": 0, "files": 0, "rows": 0}}
    assert harness.snapshots("1m") == snapshots


def test_daily_candles_are_deleted_by_whole_months(harness: Harness) -> None:
    fill(harness, "1d", date(2020, 11, 21), TODAY, "1 DAY")
    plan = plan_of(harness, "1d")
    # Five years ago was 21 November 2021; that month stays complete.
    assert plan.cutoff == date(2021, 11, 1)
    assert [partition.day for partition in plan.expired][::11] == [date(2020, 11, 1), date(2021, 10, 1)]
    assert (plan.rows, plan.oldest) == ((date(2021, 11, 1) - date(2020, 11, 21)).days, date(2020, 11, 1))
    run_maintenance(harness, "1d", "delete", days=tuple(partition.day for partition in plan.expired))
    dates = harness.table("1d").scan(selected_fields=("window_date",)).to_arrow()["window_date"].to_pylist()
    assert (min(dates), max(dates), len(dates)) == (date(2021, 11, 1), TODAY, (TODAY - date(2021, 11, 1)).days + 1)
    assert "added-data-files" not in latest_summary(harness, "1d")


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
def test_cutoffs_follow_the_calendar(name: str, as_of: str, cutoff: str) -> None:
    timeframe = load_settings({}).timeframe(name)
    assert timeframe.cutoff(date.fromisoformat(as_of)) == date.fromisoformat(cutoff)


def test_invalid_requests_are_rejected_and_nothing_is_deleted(harness: Harness) -> None:
    fill(harness, "1m", date(2026, 8, 1), date(2026, 9, 10), "1 HOUR")
    snapshots = harness.snapshots("1m")
    with pytest.raises(InputError, match="as-of 2026-11-22 is in the future"):
        plan_of(harness, "1m", date(2026, 11, 22))
    with pytest.raises(
        InputError, match=r"528 of 984 candles \(53.7%\) would be deleted, more than 50%: nothing is deleted"
    ):
        plan_of(harness, "1m", max_share=0.5)
    assert plan_of(harness, "1m", max_share=0.55).rows == 528
    with pytest.raises(InputError, match="max-share is 0: give a share above 0 and up to 1"):
        plan_of(harness, "1m", max_share=0)
    # If the feed ended long ago, retention must not empty the table.
    short = Harness(harness.spark, harness.settings.home, {"OHLCV_1M_RETENTION_DAYS": "30"})
    with pytest.raises(InputError, match=r"the newest candles \(2026-09-10\) have expired"):
        plan_of(short, "1m", max_share=1)
    for days in ("0", "-90"):
        with pytest.raises(InputError, match=r"^OHLCV_1M_RETENTION_DAYS must be a whole number from 1"):
            load_settings({"OHLCV_1M_RETENTION_DAYS": days})
    arguments = ["--timeframe", "1m", "--steps", "delete", "--as-of", "2026-11-21"]
    for day in ("2026-08-23", "2026-11-21"):
        with pytest.raises(InputError, match="is not a partition of 1m before the cutoff 2026-08-23"):
            read_request(harness.settings, [*arguments, "--days", day])
    with pytest.raises(InputError, match="is not a partition of 1d before the cutoff"):
        read_request(harness.settings, ["--timeframe", "1d", *arguments[2:], "--days", "2020-01-02"])
    assert harness.snapshots("1m") == snapshots
    harness.sql("DROP TABLE iceberg.market_data.gold_ohlcv_1m")
    with pytest.raises(OhlcvError, match="there is no table"):
        plan_of(harness, "1m")


def test_an_empty_table_has_no_expired_partitions(harness: Harness) -> None:
    assert plan_of(harness, "1m", max_share=0.5).expired == ()


def test_hours_beyond_retention_are_not_rebuilt(harness: Harness) -> None:
    own = at("2026-11-21 12:00")
    harness.load([trade(own)])
    harness.build("1m", own, own + timedelta(minutes=5), rebuild_pending=True)
    harness.load([trade(at("2026-08-22 12:00")), trade(at("2026-08-23 12:00"))])
    report = harness.build("1m", own, own + timedelta(minutes=5), rebuild_pending=True)
    assert [key[2] for key in sorted(harness.stored("1m"), key=lambda key: key[2])] == [
        int(at(text).timestamp()) * 1_000_000 for text in ("2026-08-23 12:00", "2026-11-21 12:00")
    ]
    assert report["notes"] == ["1 changed hours are older than the retention and are not built"]
    # Only the hour that is not complete.
    assert harness.checkpoint("1m").pending_hours == {hour_number(own)}
