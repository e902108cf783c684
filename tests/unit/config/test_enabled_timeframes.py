"""OHLCV_TIMEFRAMES: which timeframes are enabled, and what becomes of the others."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from ohlcv.config.maintained_tables import maintained_table
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.timeframes import TIMEFRAMES


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["1m", "5m", "30m", "1h", "1d"]),
        ("4h", ["4h"]),
        ("1d, 15m,2h", ["15m", "2h", "1d"]),
        (",".join(reversed(TIMEFRAMES)), ["1m", "5m", "15m", "30m", "1h", "2h", "4h", "1d"]),
    ],
)
def test_enabled_timeframes_are_in_order_of_length(text: str, names: list[str]) -> None:
    settings = load_settings({"OHLCV_TIMEFRAMES": text})
    assert list(settings.timeframes) == names
    tables = [contract.name for contract in settings.contracts() if contract.identifier[-1].startswith("gold_ohlcv_")]
    assert tables[: len(names)] == [f"gold_ohlcv_{name}" for name in names]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (" ", "OHLCV_TIMEFRAMES has ''"),
        (",", "OHLCV_TIMEFRAMES has ''"),
        ("1m,", "OHLCV_TIMEFRAMES has ''"),
        ("1m,7m", "OHLCV_TIMEFRAMES has '7m'"),
        ("1H", "OHLCV_TIMEFRAMES has '1H'"),
        ("1m;5m", "OHLCV_TIMEFRAMES has '1m;5m'"),
    ],
)
def test_an_unknown_timeframe_is_refused(text: str, problem: str) -> None:
    message = f"{problem}: give some of {', '.join(TIMEFRAMES)}, separated by commas"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        load_settings({"OHLCV_TIMEFRAMES": text})


def test_a_repeated_timeframe_is_refused() -> None:
    with pytest.raises(InputError, match=r"^OHLCV_TIMEFRAMES has 1m twice: remove one$"):
        load_settings({"OHLCV_TIMEFRAMES": "1m,5m, 1m"})


def test_a_timeframe_that_is_not_enabled_is_refused() -> None:
    settings = load_settings({})
    with pytest.raises(InputError, match=r"^timeframe '2h' is not enabled: add it to OHLCV_TIMEFRAMES$"):
        settings.timeframe("2h")
    with pytest.raises(InputError, match=r"^unknown timeframe '3h': choose one of 1m, "):
        settings.timeframe("3h")


def test_the_tuning_of_every_known_timeframe_has_a_name() -> None:
    tuned = {f"OHLCV_{name.upper()}_DEADLINE_SECONDS": "77" for name in TIMEFRAMES}
    assert load_settings(tuned).timeframe("1d").deadline == timedelta(seconds=77)
    enabled = load_settings({**tuned, "OHLCV_TIMEFRAMES": ",".join(TIMEFRAMES)})
    assert {each.deadline for each in enabled.timeframes.values()} == {timedelta(seconds=77)}


def test_tuning_must_fit_the_enabled_timeframes_only() -> None:
    # Ten minutes hold no window of an hour or a day.
    values = {"OHLCV_LOOKBACK_MINUTES": "10"}
    assert load_settings({**values, "OHLCV_TIMEFRAMES": "1m,5m"}).timeframe("5m").lookback == timedelta(minutes=10)
    with pytest.raises(InputError, match=r"^the lookback of 15m must contain at least one window$"):
        load_settings({**values, "OHLCV_TIMEFRAMES": "1m,15m"})


def test_reprocessing_has_the_tuning_of_the_longest_enabled_timeframe() -> None:
    values = {"OHLCV_TIMEFRAMES": "1m,4h", "OHLCV_4H_EXECUTOR_CORES": "3", "OHLCV_1D_EXECUTOR_CORES": "5"}
    assert load_settings(values).reprocess_tuning.executor_cores == 3
    assert load_settings({**values, "OHLCV_TIMEFRAMES": "4h,1d"}).reprocess_tuning.executor_cores == 5


def test_what_is_recorded_of_other_timeframes_is_kept() -> None:
    settings = load_settings({"OHLCV_TIMEFRAMES": "15m,2h"})
    for name in ("publications", "revisions", "reconciliation"):
        assert [str(each) for each in maintained_table(settings, name).timeframes] == ["15m", "2h"]
    # The coverage explains the candles of all timeframes, also of those that are not enabled.
    assert [str(each) for each in maintained_table(settings, "coverage").timeframes] == ["1d"]
    with pytest.raises(InputError, match="not enabled"):
        maintained_table(settings, "1d")


def test_every_known_name_of_a_table_is_reserved() -> None:
    with pytest.raises(InputError, match=r"give the name market_data\.gold_ohlcv_2h twice"):
        load_settings({"OHLCV_TRADES_TABLE": "gold_ohlcv_2h"})
