"""Trades tables of other shapes: candles equal the reference model, and runs rebuild exactly the hours that changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from ohlcv.iceberg.tables import open_catalog
from ohlcv.model.errors import EqualityDeletesError
from ohlcv.model.intervals import to_microseconds
from ohlcv.model.source_hours import format_hours
from ohlcv.readers.latest import newest_trade
from spark_jobs.runtime.py4j_bridge import java_class
from support.harness import WIDTHS, Harness, append, at, trade
from support.lanes import spark_cases
from support.mapped_tables import BY_DAY, BY_HOUR, UNPARTITIONED, MappedHarness, Shape
from support.reference_model import Trade, reference_candles

NOON = at("2026-03-31 12:00")
HOUR = timedelta(hours=1)
OLD = NOON - 30 * HOUR
SHAPES = {"hour(ts)": BY_HOUR, "day(ts)": BY_DAY, "unpartitioned": UNPARTITIONED}
ALL_SHAPES = pytest.mark.parametrize("shape", spark_cases(SHAPES, "hour(ts)"))


def some_trades(begin: datetime, minutes: int = 60) -> list[Trade]:
    """Return a trade every minute. The shortest texts of doubles are exactly their prices."""
    return [
        replace(
            trade(begin + timedelta(minutes=n, seconds=n % 50), f"{84_100 + n % 7}.{n % 100:02}00000{n % 10}"),
            message_id=None,
            source_sequence=n,
        )
        for n in range(minutes)
    ]


def hours_text(*times: datetime) -> str:
    return format_hours([int(time.timestamp()) // 3600 for time in times])


def scheduled_run(harness: Harness, end: datetime = NOON) -> dict[str, Any]:
    return harness.build("1m", end - timedelta(minutes=10), end, rebuild_pending=True)


def built(spark: SparkSession, home: Path, shape: Shape, environment: dict[str, str] | None = None) -> MappedHarness:
    """Return a table with two old hours and the newest one, built up to now."""
    harness = MappedHarness(spark, home / "home", shape, environment)
    harness.load([*some_trades(OLD), *some_trades(OLD + HOUR)], some_trades(NOON - HOUR))
    harness.build("1m", OLD, NOON, rebuild_pending=True)
    return harness


def check(harness: MappedHarness) -> None:
    """Check that the candles are those of the reference model."""
    assert harness.candles("1m") == harness.expected("1m", (OLD, NOON)).candles


@ALL_SHAPES
def test_late_duplicate_and_corrected_trades_rebuild_their_hours(
    spark: SparkSession, tmp_path: Path, shape: Shape
) -> None:
    harness = built(spark, tmp_path, shape)
    first, newest = harness.trades[3], harness.trades[-1]
    later = (first.ingestion_timestamp or 0) + 3_600_000_000
    corrected = replace(first, price=Decimal("84099.5"), ingestion_timestamp=later, source_sequence=900)
    late = replace(trade(OLD + timedelta(minutes=70), "84000.00000001"), message_id=None, source_sequence=901)
    harness.load([corrected, late], [newest])
    report = scheduled_run(harness)
    assert (report["repaired_hours"], report["notes"]) == (hours_text(OLD, OLD + HOUR, NOON - HOUR), [])
    assert report["candles"]["updated"] == 2
    check(harness)
    assert report["trades_read"] == len(harness.trades)

    metadata = harness.table("1m").metadata_location
    if shape is not BY_HOUR:
        # A compaction changes files, not trades.
        harness.compact()
    report = scheduled_run(harness)
    assert (report["repaired_hours"], report["owed_hours"], report["notes"]) == ("", "", [])
    assert harness.checkpoint("1m").trades_snapshot == harness.snapshots()[-1]
    assert (harness.table("1m").metadata_location == metadata) == (shape is BY_HOUR)


def test_deleted_rows_make_only_their_hours_pending(spark: SparkSession, tmp_path: Path) -> None:
    harness = built(spark, tmp_path, UNPARTITIONED)
    # Rows deleted by a position delete file or by a deletion vector, then by a rewrite of their files.
    harness.sql("ALTER TABLE {trades} SET TBLPROPERTIES ('write.delete.mode' = 'merge-on-read')")
    for number, version in ((5, 2), (7, 3)):
        harness.sql(f"ALTER TABLE {{trades}} SET TBLPROPERTIES ('format-version' = '{version}')")
        deleted = harness.trades.pop(number)
        harness.sql(f"DELETE FROM {{trades}} WHERE id = '{deleted.trade_id}'")
        report = scheduled_run(harness)
        assert (report["repaired_hours"], report["candles"]["deleted"]) == (hours_text(OLD), 1)
        check(harness)
    # A rewrite without the deleted rows changes nothing.
    harness.compact()
    assert scheduled_run(harness)["repaired_hours"] == ""


def test_changed_files_above_the_row_budget_make_their_hours_pending(spark: SparkSession, tmp_path: Path) -> None:
    harness = built(spark, tmp_path, UNPARTITIONED, {"OHLCV_REPAIR_TRADES": "3"})
    harness.compact()
    report = scheduled_run(harness)
    assert report["notes"][0] == (
        "360 rows of changed files exceed the budget of 300: all 30 hours of these files count as changed"
    )
    # One hour is built in addition to that of the run, whatever it costs.
    assert report["repaired_hours"] == hours_text(NOON - 2 * HOUR, NOON - HOUR)
    assert report["owed_hours"] == hours_text(*(OLD + n * HOUR for n in range(28)))
    assert report["candles"]["updated"] == 0


@pytest.mark.parametrize("shape", [BY_DAY, UNPARTITIONED], ids=["ingestion time", "no ingestion time"])
def test_after_an_expired_checkpoint(spark: SparkSession, tmp_path: Path, shape: Shape) -> None:
    harness = built(spark, tmp_path, shape)
    expired = harness.snapshots()[-1]
    now = datetime.now(tz=OLD.tzinfo)
    late = replace(trade(OLD + timedelta(minutes=5), "1", trade_id="1", ingested=now), message_id=None)
    harness.load([late])
    harness.trades_table().maintenance.expire_snapshots().by_id(expired).commit()
    report = scheduled_run(harness)
    check(harness)
    if shape is BY_DAY:
        assert report["repaired_hours"] == hours_text(OLD)
        assert "changed hours are found by ingestion time" in report["notes"][0]
    else:
        assert report["repaired_hours"] == hours_text(OLD, OLD + HOUR, NOON - HOUR)
        assert "all retained hours are built again, because the trades have no ingestion time" in report["notes"][0]


def test_equality_deletes_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    harness = built(spark, tmp_path, UNPARTITIONED)
    loader = java_class("org.apache.iceberg.spark.Spark3Util")
    table = loader.loadIcebergTable(harness.spark._jsparkSession, "iceberg.market_data.gold_crypto_trades")
    builder = java_class("org.apache.iceberg.FileMetadata").deleteFileBuilder(table.spec())
    gateway: Any = spark.sparkContext._gateway
    fields = gateway.new_array(gateway.jvm.int, 1)
    fields[0] = table.schema().findField("id").fieldId()
    deletes = builder.ofEqualityDeletes(fields).withPath(f"{table.location()}/data/equality.parquet")
    deletes = deletes.withFileSizeInBytes(100).withRecordCount(1).build()
    table.newRowDelta().addDeletes(deletes).commit()
    # Spark applies them, but the validation does not: both refuse them.
    message = r"^market_data\.gold_crypto_trades has equality deletes, .* rewrite its files"
    with pytest.raises(EqualityDeletesError, match=message):
        scheduled_run(harness)
    with pytest.raises(EqualityDeletesError, match=message):
        newest_trade(harness.settings)


def test_a_table_that_changed_its_partitions_from_days_to_hours(spark: SparkSession, tmp_path: Path) -> None:
    by_day = replace(BY_HOUR, partitions="PARTITIONED BY (days(ts))")
    harness = built(spark, tmp_path, by_day)
    harness.sql("ALTER TABLE {trades} REPLACE PARTITION FIELD days(ts) WITH hours(ts)")
    late = [
        replace(trade(OLD + timedelta(minutes=minute), "5", trade_id=f"late {minute}"), message_id=None)
        for minute in (5, 65)
    ]
    harness.load(late)
    report = scheduled_run(harness)
    assert report["repaired_hours"] == hours_text(OLD, OLD + HOUR)
    check(harness)
    report = harness.build("1d", at("2026-03-30 00:00"), at("2026-03-31 00:00"))
    assert report["trades_read"] == 122


def test_the_contract_s_table_may_have_files_of_an_older_partition_spec(harness: Harness) -> None:
    harness.sql("ALTER TABLE {trades} DROP PARTITION FIELD exchange_hour")
    rows = some_trades(OLD) + some_trades(OLD + HOUR)

    append(open_catalog(harness.settings).load_table("market_data.gold_crypto_trades"), rows)
    harness.trades += rows
    harness.sql("ALTER TABLE {trades} ADD PARTITION FIELD exchange_hour")
    harness.load(some_trades(NOON - HOUR))
    harness.build("1m", OLD, NOON)
    scheduled_run(harness)
    assert harness.candles("1m") == harness.expected("1m", (OLD, NOON)).candles
    harness.load([trade(OLD + timedelta(minutes=5), "5", trade_id="late")])
    assert scheduled_run(harness)["repaired_hours"] == hours_text(OLD)
    assert harness.candles("1m") == harness.expected("1m", (OLD, NOON)).candles


def test_rows_that_no_filter_selects_are_no_trades_and_faulty_amounts_are_rejected(
    spark: SparkSession, tmp_path: Path
) -> None:
    harness = built(spark, tmp_path, BY_DAY)
    row = BY_DAY.row(harness.trades[0])
    harness.append_rows(
        [
            {**row, "kind": "quote"},
            {**row, "kind": None},
            {**row, "deleted_at": date(2026, 4, 1)},
            {**row, "time of trade": None, "kind": "quote"},
            {**row, "time of trade": None},
            {**row, "Trade ID": None},
            {**row, "price": Decimal("9999999999.9999999950")},
            {**row, "size": Decimal("0.000000004")},
        ]
    )
    report = scheduled_run(harness)
    assert report["rejected"] == {"bad_quantity": 1, "no_hour": 1, "null_key": 1, "overflow": 1}
    check(harness)

    doubles = MappedHarness(spark, tmp_path / "doubles", BY_HOUR)
    doubles.load(some_trades(OLD))
    row = BY_HOUR.row(doubles.trades[0])
    wrong = [float("nan"), float("inf"), float("-inf"), 1e10, 4e-9]
    doubles.append_rows([*({**row, "px": value} for value in wrong), *({**row, "qty": value} for value in wrong)])
    report = doubles.build("1m", OLD, OLD + HOUR)
    assert report["rejected"] == {"bad_price": 1, "bad_quantity": 1, "infinite": 4, "not_a_number": 2, "overflow": 2}
    assert doubles.candles("1m") == doubles.expected("1m", (OLD, OLD + HOUR)).candles


def test_every_row_counts_where_rows_have_no_ids(spark: SparkSession, tmp_path: Path) -> None:
    shape = replace(UNPARTITIONED, mapping=UNPARTITIONED.mapping.replace("trade_id: id", "identity: every row"))
    harness = MappedHarness(spark, tmp_path / "home", shape)
    # All trades of a minute have one time; the price orders those with equal sequence numbers.
    trades = [
        replace(
            trade(OLD + timedelta(minutes=n // 4), f"{100 - n % 4}", trade_id=str(n)),
            message_id=None,
            source_sequence=n % 4 // 2,
        )
        for n in range(200)
    ]
    harness.load(trades, trades[:50])
    span = [(to_microseconds(OLD), to_microseconds(OLD + HOUR))]
    for timeframe in ("1m", "1h"):
        assert harness.build(timeframe, OLD, OLD + HOUR)["trades_read"] == 250
        expected = reference_candles(harness.trades, WIDTHS[timeframe] * 10**6, span, every_row=True)
        assert harness.candles(timeframe) == expected.candles
