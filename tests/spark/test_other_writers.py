"""Trades and tables as other writers leave them: rows of no hour, additional columns, another order of columns."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from pyiceberg.types import LongType, StringType

from ohlcv.model.intervals import Range
from ohlcv.quality.validator import validate
from ohlcv.readers.candles import read_candles
from ohlcv.readers.latest import newest_trade
from support.harness import Harness, at, trade
from support.reference_model import Trade

NOON = at("2026-03-01 12:00")
ONE = at("2026-03-01 13:00")
CANDLES = "iceberg.market_data.gold_ohlcv_1m"


def some_trades(minutes: int = 3) -> list[Trade]:
    return [trade(NOON + timedelta(minutes=n, seconds=n), f"{100 + n}") for n in range(minutes)]


def trades_of_no_hour() -> list[dict[str, Any]]:
    """Return changes of a trade after each of which its partition is no hour."""
    return [
        {"exchange_date": None},
        {"exchange_hour": None},
        {"exchange_date": None, "exchange_hour": None},
        {"exchange_date": None, "exchange_hour": None, "timestamp": None},
        {"exchange_hour": 24},
        {"exchange_hour": -1},
        {"exchange_date": date(999, 12, 31)},
    ]


def test_trades_of_no_hour_are_counted_as_rejected_and_stop_no_run(harness: Harness) -> None:
    harness.load(some_trades())
    harness.build("1m", NOON, ONE, rebuild_pending=True)
    valid = trade(NOON + timedelta(minutes=30))
    append_rows = [replace(valid, message_id=str(n), **changes) for n, changes in enumerate(trades_of_no_hour())]
    harness.load(append_rows)
    # Nanoseconds read as microseconds give a date that Python cannot represent.
    far_future = "date_add(DATE '2026-01-01', 20000000)"
    harness.sql(f"INSERT INTO {{trades}} (trade_id, exchange_date, exchange_hour) VALUES ('far', {far_future}, 1)")
    report = harness.build("1m", NOON, ONE, rebuild_pending=True)
    assert report["rejected"] == {"no_hour": len(append_rows) + 1}
    assert report["owed_hours"] == ""
    assert harness.checkpoint("1m").trades_snapshot == harness.snapshots()[-1]
    # A backfill, and a run after the checkpoint has expired, count them as well.
    assert harness.build("1m", NOON, ONE)["rejected"] == report["rejected"]
    assert harness.build("1d", at("2026-03-01 00:00"), at("2026-03-02 00:00"))["rejected"] == report["rejected"]
    assert newest_trade(harness.settings) == NOON + timedelta(minutes=2, seconds=2)
    assert validate(harness.settings, harness.settings.timeframe("1m"), Range(NOON, ONE)).findings == []


def test_a_run_that_searches_by_ingestion_time_ignores_trades_of_no_hour(harness: Harness) -> None:
    harness.load(some_trades())
    harness.build("1m", NOON, ONE, rebuild_pending=True)
    recorded = harness.checkpoint("1m").trades_snapshot
    assert recorded is not None
    far_future = trade(NOON, ingested=at("2100-01-01 00:00"))
    harness.load([replace(far_future, message_id=str(n), **each) for n, each in enumerate(trades_of_no_hour())])
    harness.table().maintenance.expire_snapshots().by_id(recorded).commit()
    report = harness.build("1m", NOON, ONE, rebuild_pending=True)
    assert "changed hours are found by ingestion time" in report["notes"][0]
    assert (report["repaired_hours"], report["owed_hours"]) == ("", "")


def test_additional_columns_and_another_order_are_ignored(harness: Harness) -> None:
    for name in (None, "1m"):
        with harness.table(name).update_schema() as update:
            update.add_column("note", StringType())
            update.add_column("number", LongType())
            update.move_first("note")
            update.move_first("symbol")
            update.move_first("exchange")
    harness.load(some_trades())
    harness.build("1m", NOON, ONE)
    harness.sql(f"UPDATE {CANDLES} SET note = 'kept', number = 7 WHERE window_start < TIMESTAMP '2026-03-01 12:02:00'")
    harness.load([trade(NOON + timedelta(minutes=2, seconds=30), "7")])
    report = harness.build("1m", NOON + timedelta(minutes=1), ONE)
    assert (report["candles"]["updated"], report["candles"]["unchanged"]) == (1, 1)
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles
    rows = harness.spark.table(CANDLES).orderBy("window_start").select("note", "number").collect()
    # The rebuilt windows begin at 12:01.
    assert [tuple(row) for row in rows] == [("kept", 7), (None, None), (None, None)]
    timeframe = harness.settings.timeframe("1m")
    assert validate(harness.settings, timeframe, Range(NOON, ONE)).findings == []
    assert "note" not in read_candles(harness.settings, timeframe).column_names
