"""Why filled windows have no trades."""

from __future__ import annotations

from dataclasses import replace

import pytest

import ohlcv
from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import open_catalog
from support.candle_rows import DAY, HOUR, MINUTE, candle, write_candles
from support.coverage_rows import START, hour_row, note, write_coverage, write_notes


def reasons(settings: Settings, timeframe: str = "1m", symbol: str = "BTC") -> list[str | None]:
    found = ohlcv.candles(timeframe, symbol, "X", start="2026-03-01", fill="previous", settings=settings)
    values: list[str | None] = found["fill_reason"].to_pylist()
    return values


@pytest.fixture
def minutes(settings: Settings) -> Settings:
    """Return the settings of candles of the minutes 0 and 5 of an hour."""
    write_candles(settings, MINUTE, candle(MINUTE, "2026-03-01T00:00"), candle(MINUTE, "2026-03-01T00:05"))
    return settings


def test_other_series_tell_whether_the_exchange_had_data(minutes: Settings) -> None:
    others = [hour_row(0, symbol="ETH", minutes=0b000010), hour_row(0, symbol="LTC", minutes=0b000100)]
    write_coverage(minutes, [hour_row(0, minutes=0b100001), *others, hour_row(0, exchange="Y")], 1)
    assert reasons(minutes) == [None, "no trades", "no trades", "no data", "no data", None]


@pytest.mark.parametrize(("until", "pending"), [(0, []), (1, [0])])
def test_hours_that_are_not_counted_have_no_reason(minutes: Settings, until: int, pending: list[int]) -> None:
    write_coverage(minutes, [hour_row(0, minutes=0b100001)], until, pending)
    write_notes(minutes, note("outage", 0, 1))
    assert reasons(minutes) == [None] * 6


def test_a_note_of_the_series_or_its_exchange_is_the_reason(minutes: Settings) -> None:
    write_coverage(minutes, [hour_row(0)], 1)
    halt = note("halt", 0, symbol="BTC")
    write_notes(
        minutes,
        replace(halt, start_time=START + 1.5 * MINUTE.length, end_time=START + 3 * MINUTE.length),
        note("outage", 0, 1, symbol="ETH"),
        note("outage", 0, 1, exchange="Y"),
        note("expected", 0, 1, symbol="BTC"),
        replace(note("outage", 0, 1), withdrawn_at=START, withdrawn_by="Bo"),
    )
    assert reasons(minutes) == [None, "note", "note", "no trades", "no trades", None]


def test_longer_windows_have_data_if_one_of_their_hours_has(settings: Settings) -> None:
    write_candles(settings, HOUR, *(candle(HOUR, f"2026-03-01T0{hour}:00") for hour in (0, 3)))
    write_candles(settings, DAY, *(candle(DAY, f"2026-03-0{day}") for day in (1, 4)))
    write_coverage(settings, [hour_row(1, symbol="ETH", minutes=1 << 59), hour_row(24 + 7, symbol="ETH")], 72)
    assert reasons(settings, "1h") == [None, "no trades", "no data", None]
    assert reasons(settings, "1d") == [None, "no trades", "no data", None]


@pytest.mark.parametrize("contract", ["coverage_contract", "coverage_notes_contract"])
def test_without_a_table_or_rows_there_is_no_reason(minutes: Settings, contract: str) -> None:
    assert reasons(minutes) == [None] * 6
    write_coverage(minutes, [hour_row(0)], 1)
    open_catalog(minutes).drop_table(getattr(minutes, contract).identifier)
    assert reasons(minutes) == [None] * 6
    assert reasons(minutes, symbol="XRP") == []
