"""Compaction, expiry and retention of an extended table keep the measures and the columns of the contract."""

from __future__ import annotations

from datetime import date

from ohlcv.model.timeframes import DAY
from ohlcv.readers.table_progress import read_progress
from support.harness import Harness, at, trade
from support.maintenance import data_files, run_maintenance

FIRST, SECOND = at("2026-11-19 00:00"), at("2026-11-20 00:00")


def test_candles_with_and_without_measures_survive_compaction_and_retention(harness: Harness) -> None:
    symbols = ("BTC-USD", "ETH-USD")
    days = (FIRST - DAY, FIRST, SECOND)
    harness.load([trade(day, "100", symbol=symbol) for day in days for symbol in symbols])
    harness.build("1h", FIRST - DAY, SECOND + DAY)
    # The files of the second day: one from before the extension, and one with measures.
    harness.extend("1h")
    harness.load([trade(SECOND + DAY / 2, "101", symbol=symbol) for symbol in symbols])
    harness.build("1h", SECOND + DAY / 2, SECOND + DAY)
    without = {key for key, found in harness.measures("1h").items() if found is None}
    before = harness.stored("1h")
    assert (len(before), len(without)) == (8, 6)
    report = run_maintenance(harness, "1h", "compact", "expire")
    assert report["compact"]["files_before"] > report["compact"]["files_after"]
    assert harness.stored("1h") == before
    # The merged file has a null count, so its candles without measures are still known.
    [progress] = read_progress(harness.settings, ["1h"], SECOND + 2 * DAY)
    assert (progress.candles, progress.measured) == (8, 2)

    run_maintenance(harness, "1h", "delete", as_of=date(2029, 11, 20), days=((FIRST - DAY).date(),))
    kept = {key: found for key, found in before.items() if found.candle.window_start_us >= FIRST.timestamp() * 1e6}
    assert len(kept) == 6
    assert harness.stored("1h") == kept
    harness.build("1h", FIRST, SECOND + DAY)
    assert harness.measures("1h") == harness.expected_measures("1h", (FIRST, SECOND + DAY))
    assert {key: (each.candle, each.created_at, each.updated_at) for key, each in harness.stored("1h").items()} == {
        key: (each.candle, each.created_at, each.updated_at) for key, each in kept.items()
    }
    assert len(data_files(harness.table("1h"))) >= 2
