"""The days that a validation visits."""

from __future__ import annotations

import pytest

from ohlcv.config.settings import Settings
from ohlcv.ingest.loader import load_trades
from ohlcv.model.intervals import Range
from ohlcv.model.timeframes import get_timeframe
from ohlcv.quality import validator
from ohlcv.quality.report import ValidationResult
from ohlcv.quality.validator import built_range, validate_days
from support.candle_rows import MINUTE, at, candle, write_candles

FIVE_MINUTES = get_timeframe("5m")
ALL_TIMES = Range(at("0001-01-01T00:00"), at("9999-12-31T23:59"))


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> list[Range]:
    """Record the validated ranges instead of validating them."""
    ranges: list[Range] = []

    def validate(_: Settings, timeframe: object, span: Range) -> ValidationResult:
        ranges.append(span)
        return ValidationResult(str(timeframe), [span], 0, 0, [], [])

    monkeypatch.setattr(validator, "validate", validate)
    return ranges


def load_trade(settings: Settings, time: str) -> None:
    file = settings.home / "trades.csv"
    microseconds = int(at(time).timestamp()) * 1_000_000
    file.write_text(f"exchange,symbol,trade_id,timestamp,price,quantity\nX,BTC,1,{microseconds},1,1\n")
    assert load_trades(settings, [file]).loaded == 1


def test_only_days_with_trades_or_candles_are_validated(settings: Settings, visited: list[Range]) -> None:
    write_candles(settings, FIVE_MINUTES, candle(FIVE_MINUTES, "2026-03-01T10:00", "1"))
    write_candles(settings, MINUTE, candle(MINUTE, "2025-06-01T10:00", "1"))
    load_trade(settings, "2010-02-03T10:00")
    steps: list[str] = []
    assert len(list(validate_days(settings, FIVE_MINUTES, ALL_TIMES, steps.append))) == 3
    days = [f"{span.start:%Y-%m-%d} {span.end - span.start}" for span in visited]
    assert days == [f"{day} 1 day, 0:00:00" for day in ("2010-02-03", "2025-06-01", "2026-03-01")]
    assert steps == ["2010-02-03, day 1 of 3", "2025-06-01, day 2 of 3", "2026-03-01, day 3 of 3"]


def test_days_are_cut_to_the_range(settings: Settings, visited: list[Range]) -> None:
    write_candles(settings, MINUTE, *(candle(MINUTE, f"2026-03-0{day}T10:00", "1") for day in (1, 2, 3)))
    span = Range(at("2026-03-01T10:00"), at("2026-03-02T11:00"))
    list(validate_days(settings, MINUTE, span))
    midnight = at("2026-03-02T00:00")
    assert visited == [Range(span.start, midnight), Range(midnight, span.end)]


def test_a_range_without_data_is_validated_at_its_end(settings: Settings, visited: list[Range]) -> None:
    list(validate_days(settings, MINUTE, Range(at("2026-03-01T10:00"), at("2026-03-03T10:00"))))
    assert visited == [Range(at("2026-03-03T00:00"), at("2026-03-03T10:00"))]


def test_the_built_range_ends_with_the_newest_candle(settings: Settings) -> None:
    write_candles(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00", "1"))
    assert built_range(settings, MINUTE, ALL_TIMES) == Range(ALL_TIMES.start, at("2026-03-01T10:01"))
    assert built_range(settings, MINUTE, Range(ALL_TIMES.start, at("1996-03-01T00:00"))) is not None
