"""Filling of windows without trades."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg import tables as iceberg_tables
from ohlcv.readers.candles import read_candles
from ohlcv.readers.latest import LOOKBACK_PARTITIONS
from support.candle_rows import (
    COLUMNS,
    HOUR,
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


class TestFill:
    def test_only_gaps_between_candles_are_filled(self, settings: Settings) -> None:
        one, two = candle(MINUTE, "2026-03-01T10:00", "3"), candle(MINUTE, "2026-03-01T10:02", "4")
        other = candle(MINUTE, "2026-03-01T10:09", "9", symbol="ETH")
        write_candles(settings, MINUTE, two, other, one)
        found = read_candles(settings, MINUTE, fill="previous")
        assert found.column_names == [*COLUMNS, "filled", "fill_reason"]
        # Without an end, no series is filled beyond its last candle.
        assert found.to_pylist() == [
            unfilled(one),
            filled_candle(MINUTE, "2026-03-01T10:01", "3"),
            unfilled(two),
            unfilled(other),
        ]
        assert read_candles(settings, MINUTE).to_pylist() == [one, two, other]

    def test_filling_crosses_midnight(self, settings: Settings) -> None:
        write_candles(
            settings, MINUTE, candle(MINUTE, "2026-02-28T23:58", "3"), candle(MINUTE, "2026-03-01T00:01", "4")
        )
        found = read_candles(settings, MINUTE, fill="previous").to_pylist()
        assert found[1:3] == [
            filled_candle(MINUTE, "2026-02-28T23:59", "3"),
            filled_candle(MINUTE, "2026-03-01T00:00", "3"),
        ]
        assert [row["window_date"] for row in found[1:3]] == [date(2026, 2, 28), date(2026, 3, 1)]

    def test_filling_begins_at_start_with_the_previous_close(self, settings: Settings) -> None:
        write_candles(
            settings,
            MINUTE,
            candle(MINUTE, "2026-02-20T09:00", "2"),
            candle(MINUTE, "2026-02-20T10:00", "3"),
            candle(MINUTE, "2026-03-01T10:02", "4"),
        )
        # The start is within a window: the first window that starts in the range is the next one.
        found = read_candles(settings, MINUTE, start=at("2026-03-01T09:59:30"), fill="previous").to_pylist()
        assert found == [
            filled_candle(MINUTE, "2026-03-01T10:00", "3"),
            filled_candle(MINUTE, "2026-03-01T10:01", "3"),
            unfilled(candle(MINUTE, "2026-03-01T10:02", "4")),
        ]

    def test_filling_without_a_previous_candle_begins_at_the_first_candle(self, settings: Settings) -> None:
        write_candles(settings, MINUTE, candle(MINUTE, "2026-03-01T10:02"), candle(MINUTE, "2026-03-01T10:04"))
        found = read_candles(settings, MINUTE, start=at("2026-03-01T10:00"), fill="previous")
        assert window_starts(found) == ["2026-03-01T10:02", "2026-03-01T10:03", "2026-03-01T10:04"]

    def test_the_previous_candle_is_searched_in_a_limited_number_of_partitions(self, settings: Settings) -> None:
        first = at("2026-01-01T10:00")
        others = [
            candle(MINUTE, first + timedelta(days=day), symbol=symbol)
            for day in range(LOOKBACK_PARTITIONS + 1)
            for symbol in ("A", "Z")
        ]
        late = first + timedelta(days=LOOKBACK_PARTITIONS + 1)
        write_candles(settings, MINUTE, candle(MINUTE, first), *others, candle(MINUTE, late, "4"))
        found = read_candles(settings, MINUTE, symbol="BTC", start=late - timedelta(minutes=2), fill="previous")
        # The candle of the first day is in the 32nd previous partition, one beyond the limit.
        assert found.to_pylist() == [unfilled(candle(MINUTE, late, "4"))]
        write_candles(settings, MINUTE, candle(MINUTE, first + timedelta(days=1), "3"))
        found = read_candles(settings, MINUTE, symbol="BTC", start=late - timedelta(minutes=1), fill="previous")
        assert found["close_price"].to_pylist() == [Decimal(3), Decimal(4)]

    def test_filling_continues_to_the_requested_end(self, settings: Settings) -> None:
        write_candles(
            settings, MINUTE, candle(MINUTE, "2026-03-01T10:00", "3"), candle(MINUTE, "2026-03-01T10:09", "4")
        )
        found = read_candles(settings, MINUTE, end=at("2026-03-01T10:02:30"), fill="previous").to_pylist()
        assert found == [
            unfilled(candle(MINUTE, "2026-03-01T10:00", "3")),
            filled_candle(MINUTE, "2026-03-01T10:01", "3"),
            filled_candle(MINUTE, "2026-03-01T10:02", "3"),
        ]

    def test_filling_stops_at_the_newest_candle_of_the_table(self, settings: Settings) -> None:
        write_candles(
            settings,
            MINUTE,
            candle(MINUTE, "2026-03-01T10:00", "3"),
            candle(MINUTE, "2026-03-01T10:02", "5", symbol="ETH"),
        )
        found = read_candles(settings, MINUTE, symbol="BTC", end=at("2026-03-05T00:00"), fill="previous")
        assert window_starts(found) == ["2026-03-01T10:00", "2026-03-01T10:01", "2026-03-01T10:02"]
        start = at("2026-03-01T10:01")
        found = read_candles(settings, MINUTE, start=start, end=at("2026-03-05T00:00"), fill="previous").to_pylist()
        assert found == [
            filled_candle(MINUTE, "2026-03-01T10:01", "3"),
            filled_candle(MINUTE, "2026-03-01T10:02", "3"),
            unfilled(candle(MINUTE, "2026-03-01T10:02", "5", symbol="ETH")),
        ]

    def test_a_range_after_the_newest_candle_is_empty(self, settings: Settings) -> None:
        write_candles(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00"))
        start = at("2026-03-01T10:01")
        assert len(read_candles(settings, MINUTE, start=start, end=at("2026-03-02T00:00"), fill="previous")) == 0
        assert len(read_candles(settings, MINUTE, start=start, fill="previous")) == 0

    def test_deleted_candles_do_not_count_as_newest_candle(self, settings: Settings) -> None:
        write_candles(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00"), candle(MINUTE, "2026-03-02T10:00"))
        table = iceberg_tables.load_table(iceberg_tables.open_catalog(settings), candles_contract(MINUTE))
        table.delete("window_date = '2026-03-02'")
        found = read_candles(settings, MINUTE, end=at("2026-03-03T00:00"), fill="previous")
        assert window_starts(found) == ["2026-03-01T10:00"]

    @pytest.mark.parametrize("start", [None, "2026-03-01T02:00", "2026-03-01T07:30"])
    @pytest.mark.parametrize("end", [None, "2026-03-01T20:30", "2026-03-09T00:00"])
    @pytest.mark.parametrize("newest", [None, 1, 6, 100])
    def test_filling_equals_a_reference_implementation(
        self, settings_with_gaps: Settings, start: str | None, end: str | None, newest: int | None
    ) -> None:
        first, last = (None if text is None else at(text) for text in (start, end))
        found = read_candles(settings_with_gaps, HOUR, start=first, end=last, newest=newest, fill="previous")
        assert found.to_pylist() == reference_fill(ROWS_WITH_GAPS, first, last, newest)


# A day and a half of two series with gaps; one series ends early.
ROWS_WITH_GAPS = [
    candle(HOUR, at("2026-03-01T03:00") + timedelta(hours=hour), str(hour + 1), symbol)
    for symbol, hours in {"BTC": (0, 1, 5, 6, 14, 30), "ETH": (2, 9)}.items()
    for hour in hours
]


@pytest.fixture(scope="module")
def settings_with_gaps(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = load_settings({"OHLCV_HOME": str(tmp_path_factory.mktemp("settings_with_gaps"))})
    iceberg_tables.create_tables(settings)
    write_candles(settings, HOUR, *ROWS_WITH_GAPS)
    return settings


def reference_fill(rows: list[Row], start: datetime | None, end: datetime | None, newest: int | None) -> list[Row]:
    """Fill hour by hour: the reference implementation."""
    answer = []
    newest_of_all = max(row["window_start"] for row in rows)
    for symbol in sorted({row["symbol"] for row in rows}):
        by_start = {row["window_start"]: row for row in rows if row["symbol"] == symbol}
        wanted = [time for time in by_start if (not start or time >= start) and (not end or time < end)]
        last = newest_of_all if end else max(wanted, default=None)
        time, close, windows = min(by_start), None, []
        while last and time <= last and (not end or time < end):
            row = by_start.get(time)
            close = row["close_price"] if row else close
            if not start or time >= start:
                windows.append(unfilled(row) if row else filled_candle(HOUR, time.isoformat()[:16], str(close), symbol))
            time += HOUR.length
        answer += windows[-newest:] if newest else windows
    return answer
