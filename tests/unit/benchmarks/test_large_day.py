"""The generated day: its expected candles equal the reference model's, and every kind of row occurs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.endurance_plot import write_plot
from benchmarks.large_day_trades import LargeDay
from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.model.intervals import to_microseconds
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES
from support.reference_model import TRADE_COLUMNS, Candle, Trade, reference_candles

pytestmark = pytest.mark.benchmarks

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
DAY_MICROSECONDS = 86_400_000_000


def test_the_expected_candles_equal_those_of_the_reference_model(tmp_path: Path) -> None:
    settings = load_settings({"OHLCV_HOME": str(tmp_path)})
    create_tables(settings)
    day = LargeDay(BEGIN, trades=20_000, series=6)
    rows = pa.concat_tables([*day.ticks(), *day.late_rows()])
    assert len(rows) == day.rows
    trades = [Trade(**{name: row[name] for name in TRADE_COLUMNS}) for row in rows.to_pylist()]
    begin = to_microseconds(BEGIN)
    for timeframe in DEFAULT_TIMEFRAMES.values():
        table = load_table(open_catalog(settings), settings.candles_contract(timeframe))
        found = day.candles(timeframe, table.schema().as_arrow()).to_pylist()
        reference = reference_candles(trades, timeframe.microseconds, [(begin, begin + DAY_MICROSECONDS)])
        assert not reference.withheld
        assert {candle.key: candle.values for candle in map(_Row, found)} == {
            key: _values(candle) for key, candle in reference.candles.items()
        }
        assert reference.rejected["bad_price"] > 0
        # Late and repeated rows.
        assert reference.trades_read > sum(candle.trade_count for candle in reference.candles.values())


class _Row:
    """Key and values of a row."""

    def __init__(self, row: dict[str, object]) -> None:
        start, end = row["window_start"], row["window_end"]
        assert isinstance(start, datetime)
        assert isinstance(end, datetime)
        assert row["window_date"] == start.date()
        self.key = (row["symbol"], row["exchange"], to_microseconds(start))
        names = ("open_price", "high_price", "low_price", "close_price", "volume", "trade_count", "vwap")
        self.values = (to_microseconds(end), *(row[name] for name in names))


def _values(candle: Candle) -> tuple[object, ...]:
    prices = (candle.open, candle.high, candle.low, candle.close)
    return (candle.window_end_us, *prices, candle.volume, candle.trade_count, candle.vwap)


def test_a_plot_has_a_line_for_each_service_and_task(tmp_path: Path) -> None:
    measurements = [
        {
            "runs": runs,
            "memory": {"scheduler": 100.0 + runs, "triggerer": 80.0},
            "aggregate": {"1m": 8.0, "5m": 9.0} if runs else {},
            "validate": {"1m": 2.0, "5m": 2.0} if runs else {},
        }
        for runs in (0, 10, 20)
    ]
    write_plot(tmp_path / "plot.svg", measurements)
    text = (tmp_path / "plot.svg").read_text()
    assert text.count("<polyline") == 6
    assert "scheduler: 120.0" in text
