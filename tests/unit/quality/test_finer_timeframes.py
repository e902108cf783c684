"""The finer table that validation compares with, whatever is enabled."""

from __future__ import annotations

from datetime import timedelta
from itertools import combinations

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables
from ohlcv.model.intervals import Range
from ohlcv.model.timeframes import TIMEFRAMES, Timeframe
from ohlcv.quality import validator
from ohlcv.quality.report import Finding
from ohlcv.quality.validator import next_finer
from support.candle_rows import DAY, MINUTE, at, candle, write_candles

LENGTHS = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "1d": 1440}
SUBSETS = [subset for size in range(1, 9) for subset in combinations(TIMEFRAMES, size)]


def test_the_finer_table_is_the_longest_enabled_one_that_divides_the_windows_in_every_subset() -> None:
    assert len(SUBSETS) == 255
    for subset in SUBSETS:
        enabled = load_settings({"OHLCV_TIMEFRAMES": ",".join(subset)}).timeframes.values()
        found = {str(each): str(next_finer(enabled, each)) for each in enabled}
        expected = {}
        for name in subset:
            shorter = [each for each in subset if LENGTHS[each] < LENGTHS[name] and LENGTHS[name] % LENGTHS[each] == 0]
            expected[name] = max(shorter, key=LENGTHS.__getitem__) if shorter else "None"
        assert found == expected


def test_a_longer_timeframe_that_does_not_divide_the_windows_is_not_the_finer_one() -> None:
    twenty = Timeframe(**{**vars(TIMEFRAMES["30m"]), "name": "20m", "length": timedelta(minutes=20)})
    assert next_finer([TIMEFRAMES["5m"], twenty], TIMEFRAMES["30m"]) == TIMEFRAMES["5m"]


@pytest.mark.parametrize(("enabled", "finer"), [("1m,4h,1d", "4h"), ("1m,1d", "1m"), ("1d", None)])
def test_validation_reads_the_table_of_the_enabled_finer_timeframe(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, enabled: str, finer: str | None
) -> None:
    given = load_settings({"OHLCV_HOME": str(settings.home), "OHLCV_TIMEFRAMES": enabled})
    create_tables(given)
    write_candles(given, DAY, candle(DAY, "2026-03-01"))
    write_candles(given, MINUTE, candle(MINUTE, "2026-03-01"))
    compared: list[str] = []

    def compare(_: Timeframe, finer: Timeframe, *given: object) -> list[Finding]:
        compared.append(finer.name)
        return []

    monkeypatch.setattr(validator, "_finer_mismatches", compare)
    validator.validate(given, DAY, Range(at("2026-03-01"), at("2026-03-02")))
    assert compared == ([] if finer is None else [finer])
