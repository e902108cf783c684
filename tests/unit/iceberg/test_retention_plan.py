"""Retention plans of record tables: months of a timeframe, days of the coverage, no checkpoint, no note."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from ohlcv.config.maintained_tables import RECORD_TABLES, ExpiredPartition, maintained_table
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.retention_plan import RecordTables, plan_record_retention
from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.model.errors import InputError
from ohlcv.model.timeframes import TIMEFRAMES
from support.ledger_rows import add_coverage_rows, add_ledger_rows

AS_OF = date(2026, 11, 21)


LEDGER = ("publications", "revisions")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load_settings({"OHLCV_HOME": str(tmp_path)})
    create_tables(found)
    return found


def test_months_of_the_ledger_expire_with_the_retention_of_their_timeframe(settings: Settings) -> None:
    days = ["2026-06-30T23:59:59", "2026-07-01", "2026-07-31", "2026-08-01", "2026-11-20"]
    for name in ("1m", "1h"):
        add_ledger_rows(settings, "revisions", name, *days)
    plans = {plan.subject: plan for plan in plan_record_retention(settings, LEDGER, ["1m", "1h"], AS_OF, AS_OF)}
    assert list(plans) == ["1m publications", "1h publications", "1m revisions", "1h revisions"]
    # 90 days before the day is 23 August: that month is kept.
    found = plans["1m revisions"]
    assert (found.cutoff, found.rows, found.total_rows) == (date(2026, 8, 1), 3, 5)
    assert [str(each.day) for each in found.expired] == ["2026-06-01", "2026-07-01"]
    assert found.to_json()["days"] == ["1m:2026-06-01", "1m:2026-07-01"]
    assert found.to_json()["table"] == "gold_ohlcv_revisions"
    assert plans["1h revisions"].expired == ()


def test_the_months_from_the_checkpoint_on_never_expire(settings: Settings) -> None:
    days = ["2026-01-05", "2026-02-05", "2026-02-06", "2026-03-05"]
    add_ledger_rows(settings, "publications", "1m", *days)
    add_ledger_rows(settings, "publications", "5m", "2026-11-01")
    plans = {plan.subject: plan for plan in plan_record_retention(settings, LEDGER, ["1m"], AS_OF, AS_OF)}
    assert list(plans) == ["1m publications", "1m revisions"]
    assert [str(each.day) for each in plans["1m publications"].expired] == ["2026-01-01", "2026-02-01"]
    assert plans["1m publications"].cutoff == date(2026, 3, 1)


def test_a_job_deletes_only_expired_months_of_the_ledger(settings: Settings) -> None:
    table = maintained_table(settings, "publications")
    assert table.parse_partitions("1m:2026-07-01,1h:2023-10-01", AS_OF) == (
        ExpiredPartition("1m", date(2026, 7, 1)),
        ExpiredPartition("1h", date(2023, 10, 1)),
    )
    for text, message in {
        "1m:2026-08-01": "2026-08-01 is not a partition of 1m before the cutoff 2026-08-01: nothing is deleted",
        "1m:2026-07-02": "2026-07-02 is not a partition of 1m before the cutoff 2026-08-01: nothing is deleted",
        "2026-07-01": "'2026-07-01' names no timeframe of publications: nothing is deleted",
        "7m:2026-07-01": "'7m:2026-07-01' names no timeframe of publications: nothing is deleted",
    }.items():
        with pytest.raises(InputError, match=f"^{message}$"):
            table.parse_partitions(text, AS_OF)
    with pytest.raises(InputError, match="names no timeframe of 1m"):
        maintained_table(settings, "1m").parse_partitions("5m:2026-07-01", AS_OF)


def test_months_of_reconciliation_expire_with_the_retention_of_their_timeframe(settings: Settings) -> None:
    for name in ("1m", "1d"):
        add_ledger_rows(settings, "reconciliation", name, "2026-07-31", "2026-08-01")
    found = plan_record_retention(settings, RECORD_TABLES, ["1m", "1d"], AS_OF, AS_OF)
    expired = {plan.subject: plan.days for plan in found if plan.expired}
    assert expired == {"1m reconciliation": ["1m:2026-07-01"]}


def test_days_of_the_coverage_expire_with_the_last_candles_of_the_longest_retention(settings: Settings) -> None:
    add_coverage_rows(settings, "2021-10-31T23", "2021-11-01T00", "2021-11-20T00", "2026-11-20T00")
    [plan] = plan_record_retention(settings, ["coverage"], ["1h", "1d"], AS_OF, AS_OF)
    # Five years before the day is 21 November 2021. Daily candles are deleted by months.
    assert (plan.subject, plan.timeframe, plan.cutoff) == ("coverage", "1d", date(2021, 11, 1))
    assert (plan.days, plan.rows, plan.total_rows) == (["2021-10-31"], 1, 4)
    assert plan_record_retention(settings, ["coverage"], ["1m", "1h"], AS_OF, AS_OF) == []
    table = maintained_table(settings, "coverage")
    assert table.parse_partitions("2021-10-31", AS_OF) == (ExpiredPartition("1d", date(2021, 10, 31)),)
    for text in ("2021-11-01", "1d:2021-10-31"):
        with pytest.raises(InputError, match=r"nothing is deleted$"):
            table.parse_partitions(text, AS_OF)


def test_a_longer_retention_of_another_timeframe_keeps_the_coverage(tmp_path: Path) -> None:
    found = load_settings({"OHLCV_HOME": str(tmp_path), "OHLCV_1M_RETENTION_DAYS": "10000"})
    create_tables(found)
    add_coverage_rows(found, "1999-07-05T23", "1999-07-06T00")
    [plan] = plan_record_retention(found, ["coverage"], ["1m", "1d"], AS_OF, AS_OF)
    assert (plan.timeframe, plan.days) == ("1m", ["1999-07-05"])


def test_a_timeframe_that_is_no_longer_enabled_keeps_the_coverage_of_its_candles(tmp_path: Path) -> None:
    found = load_settings({"OHLCV_HOME": str(tmp_path), "OHLCV_TIMEFRAMES": "1m,5m", "OHLCV_LOOKBACK_MINUTES": "10"})
    create_tables(found)
    add_coverage_rows(found, "2021-10-31T23", "2021-11-01T00")
    assert plan_record_retention(found, ["coverage"], ["1m", "5m"], AS_OF, AS_OF) == []
    assert maintained_table(found, "coverage").cutoff(found.timeframe("1m"), AS_OF) == date(2021, 11, 1)


def test_the_coverage_is_kept_as_long_as_the_candles_of_every_timeframe(tmp_path: Path) -> None:
    names = {f"OHLCV_{name.upper()}_RETENTION_DAYS": "170" for name in TIMEFRAMES if name != "5m"}
    found = load_settings({"OHLCV_HOME": str(tmp_path), **names})
    table = maintained_table(found, "coverage")
    for as_of in (AS_OF + timedelta(days=number) for number in range(366)):
        (cutoff,) = [table.cutoff(each, as_of) for each in table.timeframes]
        assert cutoff <= min(each.cutoff(as_of) for each in found.timeframes.values()), as_of


def test_notes_never_expire(settings: Settings) -> None:
    assert plan_record_retention(settings, ["coverage_notes"], ["1m", "1d"], AS_OF, AS_OF) == []
    with pytest.raises(InputError, match="names no timeframe of coverage_notes: nothing is deleted"):
        maintained_table(settings, "coverage_notes").parse_partitions("2000-01-01", AS_OF)


def test_record_tables_that_do_not_exist_are_named_in_one_line(settings: Settings) -> None:
    assert RecordTables.find(settings) == RecordTables(RECORD_TABLES, None)
    open_catalog(settings).drop_table(settings.coverage_contract.identifier)
    open_catalog(settings).drop_table(settings.reconciliation_contract.identifier)
    assert RecordTables.find(settings) == RecordTables(
        ("publications", "revisions", "coverage_notes"),
        "coverage, reconciliation: there is no table market_data.gold_ohlcv_coverage: run 'ohlcv tables create'",
    )


def test_as_of_a_day_in_the_future_no_record_expires(settings: Settings) -> None:
    add_coverage_rows(settings, "2026-11-20T00")
    for as_of, problem in ((date(2999, 1, 1), "is in the future"), (date(1, 1, 1), "is before 1970")):
        with pytest.raises(InputError, match=f"as-of {as_of} {problem}: give today"):
            plan_record_retention(settings, ["coverage"], ["1d"], as_of, AS_OF)
