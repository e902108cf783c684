"""Late trades of any age: what scheduled runs detect, rebuild, and leave pending."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ohlcv.model.source_hours import format_hours, hour_number
from support.harness import Harness, at, total_changes, trade
from support.lanes import spark_cases
from support.reference_model import Trade

NOON = at("2026-03-31 12:00")
HOUR = timedelta(hours=1)
TEN_MINUTES = timedelta(minutes=10)


def trade_every_minute(begin: datetime, minutes: int, symbol: str = "BTC-USD") -> list[Trade]:
    return [
        trade(begin + timedelta(minutes=n, seconds=n % 50), f"{100 + n % 7}", symbol=symbol) for n in range(minutes)
    ]


def scheduled_run(harness: Harness, end: datetime, timeframe: str = "1m") -> dict[str, Any]:
    """Build like a scheduled run: the lookback before `end`, and pending hours."""
    lookback = harness.settings.timeframe(timeframe).lookback
    return harness.build(timeframe, end - lookback, end, rebuild_pending=True)


LATE_TRADES = {
    f"{snapshot}-{name}": (age, snapshot == "snapshot expired")
    for snapshot in ("snapshot available", "snapshot expired")
    for name, age in {
        "a minute": timedelta(minutes=1),
        "a day": timedelta(days=1),
        "a month": timedelta(days=30),
    }.items()
}


@pytest.mark.parametrize(
    ("age", "snapshot_expired"), spark_cases(LATE_TRADES, "snapshot available-a day", "snapshot expired-a month")
)
def test_a_late_trade_of_any_age_is_built(harness: Harness, age: timedelta, snapshot_expired: bool) -> None:
    old = NOON - age - timedelta(minutes=30)
    span = (at("2026-02-28 00:00"), NOON)
    harness.load(trade_every_minute(old.replace(minute=0), 60), trade_every_minute(NOON - HOUR, 60))
    harness.build("1m", *span)
    scheduled_run(harness, NOON)
    recorded = harness.checkpoint("1m").trades_snapshot
    assert recorded == harness.snapshots()[-1]

    # Ingested now, as by a feed: after the commit of the recorded snapshot.
    harness.load([trade(old, "5000", trade_id="late", ingested=datetime.now(UTC))])
    if snapshot_expired:
        assert recorded is not None
        harness.table().maintenance.expire_snapshots().by_id(recorded).commit()
    harness.load(trade_every_minute(NOON, 5))
    report = scheduled_run(harness, NOON + timedelta(minutes=5))
    assert any("has expired" in note for note in report["notes"]) == snapshot_expired
    end = NOON + timedelta(minutes=5)
    assert harness.candles("1m") == harness.expected("1m", (span[0], end)).candles
    assert harness.checkpoint("1m").trades_snapshot == harness.snapshots()[-1]


def test_a_correction_that_moves_a_trade_is_detected(harness: Harness) -> None:
    trades = trade_every_minute(NOON - 30 * HOUR, 60)
    harness.load(trades, trade_every_minute(NOON - HOUR, 60))
    harness.build("1m", NOON - 30 * HOUR, NOON)
    scheduled_run(harness, NOON)
    moved = replace(
        trades[10],
        timestamp=(trades[10].timestamp or 0) + 20 * 60_000_000,
        price=Decimal(7),
        ingestion_timestamp=2**60,
        message_id="correction",
    )
    harness.load([moved])
    report = scheduled_run(harness, NOON)
    assert report["candles"] == {
        "inserted": 0,
        "updated": 1,
        "deleted": 1,
        "filled": 0,
        "unchanged": 68,
        "kept": 0,
        "withheld": 0,
    }
    assert harness.candles("1m") == harness.expected("1m", (NOON - 30 * HOUR, NOON)).candles


def test_deleted_rewritten_and_compacted_hours_are_rebuilt(harness: Harness) -> None:
    begin = NOON - 40 * HOUR
    harness.load(
        trade_every_minute(begin, 30),
        trade_every_minute(begin, 30, symbol="ETH-USD"),
        trade_every_minute(begin + HOUR, 60),
        trade_every_minute(NOON - HOUR, 60),
    )
    harness.build("1m", begin, NOON)
    scheduled_run(harness, NOON)
    day, hour = begin.date(), begin.hour

    # Rewritten: a row of the hour is deleted, which rewrites the file.
    bound = harness.trades[10].timestamp
    harness.sql(f"DELETE FROM {{trades}} WHERE symbol = 'BTC-USD' AND timestamp = {bound}")
    report = scheduled_run(harness, NOON)
    assert report["repaired_hours"] == format_hours([int(begin.timestamp()) // 3600])
    assert report["candles"]["deleted"] == 1

    # Compacted: the files change, the trades do not. The checkpoint advances without a snapshot.
    before = harness.snapshots("1m")
    harness.sql(
        "CALL iceberg.system.rewrite_data_files(table => 'market_data.gold_crypto_trades', "
        f"where => \"exchange_date = DATE '{day}'\", options => map('rewrite-all', 'true'))"
    )
    report = scheduled_run(harness, NOON)
    assert str(report["repaired_hours"]).startswith(format_hours([int(begin.timestamp()) // 3600]))
    assert harness.snapshots("1m") == before
    assert harness.checkpoint("1m").trades_snapshot == harness.snapshots()[-1]
    metadata = harness.table("1m").metadata_location
    report = scheduled_run(harness, NOON)
    assert report["repaired_hours"] == ""
    assert harness.table("1m").metadata_location == metadata

    # Deleted completely: the candles are preserved, as if the source data had expired.
    harness.sql(f"DELETE FROM {{trades}} WHERE exchange_date = DATE '{day}' AND exchange_hour = {hour}")
    report = scheduled_run(harness, NOON)
    assert report["repaired_hours"] == format_hours([int(begin.timestamp()) // 3600])
    assert report["candles"]["kept"] == 59
    assert harness.snapshots("1m") == before


def test_only_a_run_that_rebuilds_pending_hours_advances_the_checkpoint(harness: Harness) -> None:
    harness.load(trade_every_minute(NOON - HOUR, 60))
    harness.build("1m", NOON - HOUR, NOON)
    assert harness.checkpoint("1m").trades_snapshot is None
    scheduled_run(harness, NOON)
    first = harness.checkpoint("1m")
    harness.load([trade(NOON - 26 * HOUR, "1")], [trade(NOON - timedelta(seconds=30), "2")])
    # A backfill commits and carries the checkpoint over, with the hours that it has built from newer trades.
    assert total_changes(harness.build("1m", NOON - HOUR, NOON)["candles"]) == 1
    ahead = replace(first, hours_ahead=frozenset([hour_number(NOON - HOUR)]))
    assert harness.checkpoint("1m") == ahead
    # A compaction of the candle table carries no checkpoint; the last one is still found.
    harness.sql(
        "CALL iceberg.system.rewrite_data_files("
        "table => 'market_data.gold_ohlcv_1m', options => map('rewrite-all', 'true'))"
    )
    assert harness.checkpoint("1m") == ahead
    report = scheduled_run(harness, NOON)
    assert report["candles"]["inserted"] == 1
    assert harness.checkpoint("1m").hours_ahead == frozenset()


@pytest.mark.parametrize("undo", spark_cases({"deleted": "deleted", "rolled back": "rolled back"}, "rolled back"))
def test_trades_that_change_back_after_a_backfill_are_built_again(harness: Harness, undo: str) -> None:
    """The trades are those of the checkpoint again, but the candles are not."""
    old = NOON - 26 * HOUR
    harness.load(trade_every_minute(old, 30), trade_every_minute(NOON - HOUR, 60))
    harness.build("1m", old, NOON)
    scheduled_run(harness, NOON)
    right = harness.snapshots()[-1]
    harness.load([trade(old, "5000", trade_id="wrong")])
    assert harness.build("1m", old, old + HOUR)["candles"]["updated"] == 1
    if undo == "deleted":
        harness.sql("DELETE FROM {trades} WHERE trade_id = 'wrong'")
    else:
        harness.table().manage_snapshots().rollback_to_snapshot(right).commit()
    del harness.trades[-1]
    report = scheduled_run(harness, NOON)
    assert report["repaired_hours"] == format_hours([hour_number(old)])
    assert harness.candles("1m") == harness.expected("1m", (old, NOON)).candles
    assert harness.checkpoint("1m").hours_ahead == frozenset()


def test_the_first_scheduled_run_builds_only_its_own_range(harness: Harness) -> None:
    harness.load(trade_every_minute(NOON - 5 * HOUR, 300))
    report = scheduled_run(harness, NOON)
    assert report["candles"]["inserted"] == 10
    assert report["notes"] == [
        "no source checkpoint is recorded yet: only the run's own range is built, backfill older candles"
    ]


def test_an_incomplete_window_stays_pending_until_it_is_complete(harness: Harness) -> None:
    harness.load(trade_every_minute(NOON - HOUR, 90))
    harness.build("1h", NOON - 2 * HOUR, NOON, rebuild_pending=True)
    assert len(harness.candles("1h")) == 1
    assert harness.checkpoint("1h").pending_hours == {int(NOON.timestamp()) // 3600}
    # After a pause of eight hours the lookback no longer covers the hour, and the hour did not change since.
    harness.load(trade_every_minute(NOON + 7 * HOUR, 60))
    end = NOON + 8 * HOUR
    report = harness.build("1h", end - 2 * HOUR, end, rebuild_pending=True)
    assert report["repaired_hours"] == "2026-03-31T12"
    assert harness.candles("1h") == harness.expected("1h", (NOON - HOUR, end)).candles
    assert harness.checkpoint("1h").pending_hours == frozenset()


def test_the_gap_of_an_outage_is_built_over_several_runs_newest_first(harness: Harness) -> None:
    small = Harness(harness.spark, harness.settings.home / "small", {"OHLCV_REPAIR_TRADES": "11000"})
    begin = NOON - 6 * HOUR
    small.load(trade_every_minute(begin - HOUR, 60))
    scheduled_run(small, begin)
    small.load(*(trade_every_minute(begin + n * HOUR, 60) for n in range(6)))
    rebuilt = []
    end = NOON
    for _ in range(6):
        report = scheduled_run(small, end)
        rebuilt.append(report["repaired_hours"])
        if not small.checkpoint("1m").pending_hours:
            break
    # Two hours per run fit the budget: 60 trades and the fixed cost of an hour each.
    assert rebuilt == ["2026-03-31T09..2026-03-31T11", "2026-03-31T07..2026-03-31T08", "2026-03-31T06"]
    built = (begin - TEN_MINUTES, NOON)
    assert small.candles("1m") == small.expected("1m", built).candles


def test_a_rolled_back_candle_table_is_rebuilt_again(harness: Harness) -> None:
    harness.load(trade_every_minute(NOON - 30 * HOUR, 60), trade_every_minute(NOON - HOUR, 60))
    harness.build("1m", NOON - 30 * HOUR, NOON)
    scheduled_run(harness, NOON)
    good = harness.snapshots("1m")[-1]
    harness.load([trade(NOON - 30 * HOUR, "9", trade_id="late")])
    scheduled_run(harness, NOON)
    assert harness.candles("1m") == harness.expected("1m", (NOON - 30 * HOUR, NOON)).candles
    harness.sql(f"CALL iceberg.system.rollback_to_snapshot('market_data.gold_ohlcv_1m', {good})")
    scheduled_run(harness, NOON)
    assert harness.candles("1m") == harness.expected("1m", (NOON - 30 * HOUR, NOON)).candles
