"""Compaction, expiry and retention of an extended table keep the measures and the columns of the contract."""

from __future__ import annotations

from datetime import date, timedelta

from ohlcv.model.timeframes import DAY
from ohlcv.readers.table_progress import read_progress
from support.candle_rows import HOUR, candle, measured, unmeasured, write_candles
from support.harness import Harness, at, trade
from support.maintenance import data_files, run_maintenance

FIRST, SECOND = at("2026-11-19 00:00"), at("2026-11-20 00:00")


def test_candles_with_and_without_measures_survive_compaction_and_retention(harness: Harness) -> None:
    harness.load([trade(day, "100", symbol=symbol) for day in (FIRST, SECOND) for symbol in ("BTC-USD", "ETH-USD")])
    harness.build("1h", FIRST, SECOND + DAY)
    harness.extend("1h")
    # The second day has a file from before the extension, and one with and without measures.
    times = [SECOND + hour * timedelta(hours=1) for hour in (3, 4, 5)]
    rows = [candle(HOUR, time) for time in times]
    write_candles(harness.settings, HOUR, measured(rows[0]), measured(rows[1], sides=False), unmeasured(rows[2]))
    before = harness.stored("1h")
    assert [found.measures is None for found in before.values()].count(True) == 5
    assert len(data_files(harness.table("1h"))) == 3
    report = run_maintenance(harness, "1h", "compact", "expire")
    assert report["compact"]["files_after"] == report["compact"]["files_before"] - 1
    assert harness.stored("1h") == before
    # The merged file has a null count, so its candles without measures are still known.
    [progress] = read_progress(harness.settings, ["1h"], SECOND + 2 * DAY)
    assert (progress.candles, progress.measured, progress.days_left) == (7, 2, 2)

    run_maintenance(harness, "1h", "delete", as_of=date(2029, 11, 20), days=(FIRST.date(),))
    second = {key: found for key, found in before.items() if found.candle.window_start_us >= 1e6 * SECOND.timestamp()}
    assert len(second) == 5
    assert harness.stored("1h") == second
