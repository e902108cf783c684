"""Late trades of any age: what scheduled runs find by themselves, and what they owe."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ohlcv.model.source_hours import format_hours
from support.harness import Harness, at, total, trade
from support.reference_model import Trade

NOON = at("2026-03-31 12:00")
HOUR = timedelta(hours=1)
TEN_MINUTES = timedelta(minutes=10)


def minutely(begin: datetime, minutes: int, symbol: str = "BTC-USD") -> list[Trade]:
    return [
        trade(begin + timedelta(minutes=n, seconds=n % 50), f"{100 + n % 7}", symbol=symbol) for n in range(minutes)
    ]


def scheduled(harness: Harness, end: datetime, timeframe: str = "1m") -> dict[str, Any]:
    """Run what the schedule runs: the lookback up to `end`, and repairs."""
    length = harness.settings.timeframe(timeframe).lookback
    return harness.build(timeframe, end - length, end, repair=True)


@pytest.mark.parametrize(
    "age", [timedelta(minutes=1), timedelta(days=1), timedelta(days=30)], ids=["a minute", "a day", "a month"]
)
@pytest.mark.parametrize("snapshot_expired", [False, True], ids=["snapshot kept", "snapshot expired"])
def test_a_late_trade_of_any_age_is_built(harness: Harness, age: timedelta, snapshot_expired: bool) -> None:
    old = NOON - age - timedelta(minutes=30)
    span = (at("2026-02-28 00:00"), NOON)
    harness.load(minutely(old.replace(minute=0), 60), minutely(NOON - HOUR, 60))
    harness.build("1m", *span)
    scheduled(harness, NOON)
    recorded = harness.progress("1m").trades_snapshot
    assert recorded == harness.snapshots()[-1]

    # Stamped now, as a feed does: later than the commit of the snapshot the table recorded.
    harness.load([trade(old, "5000", trade_id="late", ingested=datetime.now(UTC))])
    if snapshot_expired:
        assert recorded is not None
        harness.table().maintenance.expire_snapshots().by_id(recorded).commit()
    harness.load(minutely(NOON, 5))
    report = scheduled(harness, NOON + timedelta(minutes=5))
    assert any("has expired" in note for note in report["notes"]) == snapshot_expired
    end = NOON + timedelta(minutes=5)
    assert harness.candles("1m") == harness.expected("1m", (span[0], end)).candles
    assert harness.progress("1m").trades_snapshot == harness.snapshots()[-1]


def test_a_correction_that_moves_a_trade_is_found(harness: Harness) -> None:
    trades = minutely(NOON - 30 * HOUR, 60)
    harness.load(trades, minutely(NOON - HOUR, 60))
    harness.build("1m", NOON - 30 * HOUR, NOON)
    scheduled(harness, NOON)
    moved = replace(
        trades[10],
        timestamp=(trades[10].timestamp or 0) + 20 * 60_000_000,
        price=Decimal(7),
        ingestion_timestamp=2**60,
        message_id="correction",
    )
    harness.load([moved])
    report = scheduled(harness, NOON)
    assert report["candles"] == {"inserted": 0, "updated": 1, "deleted": 1, "unchanged": 68, "kept": 0, "withheld": 0}
    assert harness.candles("1m") == harness.expected("1m", (NOON - 30 * HOUR, NOON)).candles


def test_deleted_rewritten_and_compacted_hours_are_looked_at(harness: Harness) -> None:
    begin = NOON - 40 * HOUR
    harness.load(
        minutely(begin, 30),
        minutely(begin, 30, symbol="ETH-USD"),
        minutely(begin + HOUR, 60),
        minutely(NOON - HOUR, 60),
    )
    harness.build("1m", begin, NOON)
    scheduled(harness, NOON)
    day, hour = begin.date(), begin.hour

    # Rewritten: some rows of the hour deleted, the file written anew.
    bound = harness.trades[10].timestamp
    harness.sql(f"DELETE FROM {{trades}} WHERE symbol = 'BTC-USD' AND timestamp = {bound}")
    report = scheduled(harness, NOON)
    assert report["dirty_hours"] == format_hours([int(begin.timestamp()) // 3600])
    assert report["candles"]["deleted"] == 1

    # Compacted: the files change, the trades do not. Looked at, recorded, no snapshot.
    before = harness.snapshots("1m")
    harness.sql(
        "CALL iceberg.system.rewrite_data_files(table => 'market_data.gold_crypto_trades', "
        f"where => \"exchange_date = DATE '{day}'\", options => map('rewrite-all', 'true'))"
    )
    report = scheduled(harness, NOON)
    assert str(report["dirty_hours"]).startswith(format_hours([int(begin.timestamp()) // 3600]))
    assert harness.snapshots("1m") == before
    assert harness.progress("1m").trades_snapshot == harness.snapshots()[-1]
    metadata = harness.table("1m").metadata_location
    report = scheduled(harness, NOON)
    assert report["dirty_hours"] == ""
    assert harness.table("1m").metadata_location == metadata

    # Deleted whole: the hour is looked at, and its candles stay, as if the raw data had expired.
    harness.sql(f"DELETE FROM {{trades}} WHERE exchange_date = DATE '{day}' AND exchange_hour = {hour}")
    report = scheduled(harness, NOON)
    assert report["dirty_hours"] == format_hours([int(begin.timestamp()) // 3600])
    assert report["candles"]["kept"] == 59
    assert harness.snapshots("1m") == before


def test_only_a_repairing_run_moves_the_record(harness: Harness) -> None:
    harness.load(minutely(NOON - HOUR, 60))
    harness.build("1m", NOON - HOUR, NOON)
    assert harness.progress("1m").trades_snapshot is None
    scheduled(harness, NOON)
    first = harness.progress("1m")
    harness.load([trade(NOON - 26 * HOUR, "1")], [trade(NOON - timedelta(seconds=30), "2")])
    # A backfill commits, and carries the record forward as it is.
    assert total(harness.build("1m", NOON - HOUR, NOON)["candles"]) == 1
    assert harness.progress("1m") == first
    # Compaction of the candle table speaks no word of it; the record is still found.
    harness.sql(
        "CALL iceberg.system.rewrite_data_files("
        "table => 'market_data.gold_ohlcv_1m', options => map('rewrite-all', 'true'))"
    )
    assert harness.progress("1m") == first
    report = scheduled(harness, NOON)
    assert report["candles"]["inserted"] == 1


def test_history_is_not_built_by_the_first_scheduled_run(harness: Harness) -> None:
    harness.load(minutely(NOON - 5 * HOUR, 300))
    report = scheduled(harness, NOON)
    assert report["candles"]["inserted"] == 10
    assert report["notes"] == [
        "nothing is recorded yet: only the run's own range is built, older candles are a backfill's work"
    ]


def test_an_open_window_is_not_written_and_not_forgotten(harness: Harness) -> None:
    """Trades seen in a window that is still open are owed, however long the pause after."""
    harness.load(minutely(NOON - HOUR, 90))
    harness.build("1h", NOON - 2 * HOUR, NOON, repair=True)
    assert len(harness.candles("1h")) == 1
    assert harness.progress("1h").pending_hours == {int(NOON.timestamp()) // 3600}
    # Eight hours of pause; the lookback no longer reaches the hour, and no trade came to it since.
    harness.load(minutely(NOON + 7 * HOUR, 60))
    end = NOON + 8 * HOUR
    report = harness.build("1h", end - 2 * HOUR, end, repair=True)
    assert report["dirty_hours"] == "2026-03-31T12"
    assert harness.candles("1h") == harness.expected("1h", (NOON - HOUR, end)).candles
    assert harness.progress("1h").pending_hours == frozenset()


def test_an_outage_is_filled_over_several_runs_newest_first(harness: Harness) -> None:
    small = Harness(harness.spark, harness.settings.home / "small", {"OHLCV_REPAIR_TRADES": "11000"})
    begin = NOON - 6 * HOUR
    small.load(minutely(begin - HOUR, 60))
    scheduled(small, begin)
    small.load(*(minutely(begin + n * HOUR, 60) for n in range(6)))
    seen = []
    end = NOON
    for _ in range(6):
        report = scheduled(small, end)
        seen.append(report["dirty_hours"])
        if not small.progress("1m").pending_hours:
            break
    # Two hours a run fit the budget: 60 trades and the fixed cost of opening an hour each.
    assert seen == ["2026-03-31T09..2026-03-31T11", "2026-03-31T07..2026-03-31T08", "2026-03-31T06"]
    built = (begin - TEN_MINUTES, NOON)
    assert small.candles("1m") == small.expected("1m", built).candles


def test_a_rolled_back_candle_table_repairs_again(harness: Harness) -> None:
    harness.load(minutely(NOON - 30 * HOUR, 60), minutely(NOON - HOUR, 60))
    harness.build("1m", NOON - 30 * HOUR, NOON)
    scheduled(harness, NOON)
    good = harness.snapshots("1m")[-1]
    harness.load([trade(NOON - 30 * HOUR, "9", trade_id="late")])
    scheduled(harness, NOON)
    assert harness.candles("1m") == harness.expected("1m", (NOON - 30 * HOUR, NOON)).candles
    harness.sql(f"CALL iceberg.system.rollback_to_snapshot('market_data.gold_ohlcv_1m', {good})")
    scheduled(harness, NOON)
    assert harness.candles("1m") == harness.expected("1m", (NOON - 30 * HOUR, NOON)).candles
