"""The candle reader: ranges, filters, exact values and the newest windows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg import tables as iceberg_tables
from ohlcv.iceberg.retention_plan import plan_retention
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.readers.candles import read_candles
from ohlcv.readers.latest import recent_series
from support.candle_rows import (
    COLUMNS,
    MINUTE,
    Row,
    at,
    candle,
    filled_candle,
    unfilled,
    window_starts,
    write_candles,
)
from support.default_tables import candles_contract

EXTREME_TIMES = (
    datetime.min.replace(tzinfo=UTC),
    datetime(1677, 9, 21, tzinfo=UTC),
    datetime(2262, 4, 12, tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
)


class TestRange:
    @pytest.mark.parametrize("fill", [None, "previous"])
    @pytest.mark.parametrize("time", EXTREME_TIMES, ids=str)
    def test_any_time_can_limit_a_range(self, settings: Settings, time: datetime, fill: Any) -> None:
        write_candles(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00"))
        is_before = time < at("2026-03-01T10:00")
        assert len(read_candles(settings, MINUTE, start=time, fill=fill)) == (1 if is_before else 0)
        assert len(read_candles(settings, MINUTE, end=time, fill=fill)) == (0 if is_before else 1)

    def test_a_candle_without_a_date_stops_no_reader(self, settings: Settings) -> None:
        """Other writers may store such a candle. Its partition is null."""
        dateless = {**candle(MINUTE, "2026-03-01T10:01"), "window_date": None}
        write_candles(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00"), dateless)
        assert window_starts(read_candles(settings, MINUTE)) == ["2026-03-01T10:00", "2026-03-01T10:01"]
        assert window_starts(read_candles(settings, MINUTE, newest=5)) == ["2026-03-01T10:00"]
        today = date(2026, 3, 2)
        assert plan_retention(settings, MINUTE, today, today).total_rows == 1

    @pytest.mark.parametrize("column", ["symbol", "exchange"])
    def test_a_candle_without_a_symbol_or_an_exchange_is_of_no_series(self, settings: Settings, column: str) -> None:
        named = candle(MINUTE, "2026-03-01T10:00")
        write_candles(settings, MINUTE, named, {**candle(MINUTE, "2026-03-01T10:01"), column: None})
        assert recent_series(settings, MINUTE) == [("BTC", "X")]
        assert read_candles(settings, MINUTE, newest=20).to_pylist() == [named]

    def test_an_empty_table_returns_all_columns_without_rows(self, settings: Settings) -> None:
        found = read_candles(settings, MINUTE)
        assert found.column_names == COLUMNS
        assert len(found) == 0
        assert len(read_candles(settings, MINUTE, newest=5, fill="previous")) == 0

    def test_rows_are_complete_and_sorted(self, settings: Settings) -> None:
        rows = [
            candle(MINUTE, "2026-03-01T10:00", "5", symbol, exchange)
            for symbol, exchange in [("ETH", "X"), ("BTC", "Y"), ("BTC", "X")]
        ]
        late = candle(MINUTE, "2026-03-01T10:05")
        write_candles(settings, MINUTE, late, *rows)
        found = read_candles(settings, MINUTE)
        assert found.to_pylist() == [rows[2], late, rows[1], rows[0]]
        assert found.schema.field("window_start").type == pa.timestamp("us", "UTC")
        assert found.schema.field("window_date").type == pa.date32()
        for name in ("open_price", "volume", "vwap"):
            assert found.schema.field(name).type == pa.decimal128(18, 8)

    def test_the_range_is_half_open(self, settings: Settings) -> None:
        write_candles(settings, MINUTE, *(candle(MINUTE, f"2026-03-01T10:0{minute}") for minute in range(5)))
        found = read_candles(settings, MINUTE, start=at("2026-03-01T10:01"), end=at("2026-03-01T10:03"))
        assert window_starts(found) == ["2026-03-01T10:01", "2026-03-01T10:02"]

    def test_windows_are_selected_by_their_start(self, settings: Settings) -> None:
        write_candles(settings, MINUTE, *(candle(MINUTE, f"2026-03-01T10:0{minute}") for minute in range(5)))
        found = read_candles(settings, MINUTE, start=at("2026-03-01T10:01:01"), end=at("2026-03-01T10:03:01"))
        assert window_starts(found) == ["2026-03-01T10:02", "2026-03-01T10:03"]

    def test_times_in_other_time_zones_are_converted(self, settings: Settings) -> None:
        write_candles(settings, MINUTE, candle(MINUTE, "2026-02-28T23:59"), candle(MINUTE, "2026-03-01T00:00"))
        east = timezone(timedelta(hours=5))
        found = read_candles(settings, MINUTE, start=datetime(2026, 3, 1, 5, 0, tzinfo=east))
        assert window_starts(found) == ["2026-03-01T00:00"]
        found = read_candles(settings, MINUTE, end=datetime(2026, 3, 1, 5, 0, tzinfo=east))
        assert window_starts(found) == ["2026-02-28T23:59"]

    def test_symbol_and_exchange_filter_the_result(self, settings: Settings) -> None:
        write_candles(
            settings,
            MINUTE,
            *(candle(MINUTE, "2026-03-01T10:00", "1", symbol, exchange) for symbol in "AB" for exchange in "XY"),
        )
        assert len(read_candles(settings, MINUTE, symbol="A")) == 2
        assert len(read_candles(settings, MINUTE, exchange="Y")) == 2
        assert len(read_candles(settings, MINUTE, symbol="A", exchange="Y")) == 1
        assert len(read_candles(settings, MINUTE, symbol="A' OR '1'='1")) == 0

    def test_invalid_arguments_are_an_error(self, settings: Settings) -> None:
        start = at("2026-03-01T10:00")
        with pytest.raises(InputError, match="must be before end"):
            read_candles(settings, MINUTE, start=start, end=start)
        with pytest.raises(InputError, match="1 or more"):
            read_candles(settings, MINUTE, newest=0)
        with pytest.raises(InputError, match="choose one of previous"):
            read_candles(settings, MINUTE, fill="next")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="time zone"):
            read_candles(settings, MINUTE, start=start.replace(tzinfo=None))

    def test_a_missing_table_is_an_error_that_names_the_command_to_create_it(self, tmp_path: Path) -> None:
        with pytest.raises(OhlcvError, match="ohlcv tables create"):
            read_candles(load_settings({"OHLCV_HOME": str(tmp_path / "other")}), MINUTE)


class TestExactness:
    extremes = ("9999999999.99999999", "0.00000001", "1234567890.12345678")

    def rows(self) -> list[Row]:
        names = ("open_price", "high_price", "low_price", "close_price", "volume", "vwap")
        return [
            {
                **candle(MINUTE, f"2026-03-01T10:0{2 * position}"),
                **dict.fromkeys(names, Decimal(text)),
                "trade_count": 2**62,
            }
            for position, text in enumerate(self.extremes)
        ]

    def test_decimals_keep_every_digit(self, settings: Settings) -> None:
        write_candles(settings, MINUTE, *self.rows())
        assert read_candles(settings, MINUTE).to_pylist() == self.rows()

    def test_filling_keeps_every_digit(self, settings: Settings) -> None:
        write_candles(settings, MINUTE, *self.rows())
        found = read_candles(settings, MINUTE, fill="previous").to_pylist()
        assert found == [
            unfilled(self.rows()[0]),
            filled_candle(MINUTE, "2026-03-01T10:01", self.extremes[0]),
            unfilled(self.rows()[1]),
            filled_candle(MINUTE, "2026-03-01T10:03", self.extremes[1]),
            unfilled(self.rows()[2]),
        ]

    def test_a_widened_volume_keeps_its_width(self, settings: Settings) -> None:
        narrow = candle(MINUTE, "2026-03-01T10:00")
        write_candles(settings, MINUTE, narrow)
        assert iceberg_tables.widen_volume(settings, candles_contract(MINUTE))
        wide = {**candle(MINUTE, "2026-03-01T10:02"), "volume": Decimal("123456789012345678901234567890.00000001")}
        write_candles(settings, MINUTE, wide)

        found = read_candles(settings, MINUTE)
        assert found.schema.field("volume").type == pa.decimal128(38, 8)
        assert found.schema.field("vwap").type == pa.decimal128(18, 8)
        assert found.to_pylist() == [narrow, wide]

        found = read_candles(settings, MINUTE, fill="previous")
        assert found.schema.field("volume").type == pa.decimal128(38, 8)
        assert found.to_pylist() == [unfilled(narrow), filled_candle(MINUTE, "2026-03-01T10:01", "1"), unfilled(wide)]


class TestNewest:
    def test_the_newest_windows_are_counted_per_series(self, settings: Settings) -> None:
        write_candles(
            settings,
            MINUTE,
            *(candle(MINUTE, f"2026-03-01T10:0{minute}") for minute in range(4)),
            candle(MINUTE, "2026-02-27T10:00", exchange="Y"),
            candle(MINUTE, "2026-02-28T10:00", exchange="Y"),
        )
        found = read_candles(settings, MINUTE, newest=2)
        assert window_starts(found) == ["2026-03-01T10:02", "2026-03-01T10:03", "2026-02-27T10:00", "2026-02-28T10:00"]

    def test_newest_within_a_range(self, settings: Settings) -> None:
        write_candles(settings, MINUTE, *(candle(MINUTE, f"2026-03-01T10:0{minute}") for minute in range(6)))
        found = read_candles(settings, MINUTE, start=at("2026-03-01T10:01"), end=at("2026-03-01T10:04"), newest=2)
        assert window_starts(found) == ["2026-03-01T10:02", "2026-03-01T10:03"]

    def test_filled_windows_count_as_newest_windows(self, settings: Settings) -> None:
        write_candles(
            settings, MINUTE, candle(MINUTE, "2026-03-01T10:00", "3"), candle(MINUTE, "2026-03-01T10:05", "4")
        )
        found = read_candles(settings, MINUTE, newest=3, fill="previous").to_pylist()
        assert found == [
            filled_candle(MINUTE, "2026-03-01T10:03", "3"),
            filled_candle(MINUTE, "2026-03-01T10:04", "3"),
            unfilled(candle(MINUTE, "2026-03-01T10:05", "4")),
        ]
