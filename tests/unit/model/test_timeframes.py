"""Registry of timeframes: the five contract entries, derived names, and validation of new entries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ohlcv.model.errors import InputError
from ohlcv.model.timeframes import TIMEFRAMES, Retention, Timeframe, get_timeframe
from support.default_tables import candles_contract, contracts


def test_the_registry_contains_the_timeframes_of_the_contract() -> None:
    table = [
        (
            timeframe.name,
            timeframe.cron,
            timeframe.lookback // timedelta(minutes=1),
            timeframe.script,
            str(timeframe.retention),
            timeframe.time_target // timedelta(seconds=1),
        )
        for timeframe in TIMEFRAMES.values()
    ]
    assert table == [
        ("1m", "*/5 * * * *", 10, "ohlcv_incremental.py", "90 days", 20),
        ("5m", "5,20,35,50 * * * *", 20, "ohlcv_incremental.py", "180 days", 30),
        ("30m", "10,40 * * * *", 60, "ohlcv_batch.py", "1 year", 45),
        ("1h", "15 * * * *", 120, "ohlcv_batch.py", "3 years", 60),
        ("1d", "5 0 * * *", 2880, "ohlcv_batch.py", "5 years", 120),
    ]


def test_names_derive_from_the_registry_entry() -> None:
    derived = [
        (candles_contract(timeframe).name, timeframe.dag_id, timeframe.partition, timeframe.microseconds)
        for timeframe in TIMEFRAMES.values()
    ]
    assert derived == [
        ("gold_ohlcv_1m", "ohlcv_1m", "day", 60_000_000),
        ("gold_ohlcv_5m", "ohlcv_5m", "day", 300_000_000),
        ("gold_ohlcv_30m", "ohlcv_30m", "day", 1_800_000_000),
        ("gold_ohlcv_1h", "ohlcv_1h", "day", 3_600_000_000),
        ("gold_ohlcv_1d", "ohlcv_1d", "month", 86_400_000_000),
    ]
    records = ("publications", "revisions", "coverage", "coverage_notes", "reconciliation")
    assert [contract.name for contract in contracts()] == [
        "gold_crypto_trades",
        *(names[0] for names in derived),
        *(f"gold_ohlcv_{name}" for name in records),
    ]


def changed_timeframe(**changes: Any) -> Timeframe:
    values: dict[str, Any] = {**vars(get_timeframe("1h")), **changes}
    return Timeframe(**values)


@pytest.mark.parametrize(("name", "minutes"), [("15m", 15), ("2h", 120), ("4h", 240)])
def test_a_new_timeframe_needs_only_a_registry_entry(name: str, minutes: int) -> None:
    added = changed_timeframe(name=name, length=timedelta(minutes=minutes), lookback=timedelta(hours=4))
    assert candles_contract(added).name == f"gold_ohlcv_{name}"
    assert added.partition == "day"


@pytest.mark.parametrize("minutes", [-1, 0, 7, 25, 36 * 60, 48 * 60])
def test_a_length_that_does_not_divide_a_day_is_refused(minutes: int) -> None:
    with pytest.raises(ValueError, match="must divide a day"):
        changed_timeframe(length=timedelta(minutes=minutes), lookback=timedelta(days=9))


def test_a_lookback_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one window"):
        changed_timeframe(lookback=timedelta(minutes=59))


@pytest.mark.parametrize(("days", "years"), [(0, 0), (1, 1), (-1, 0), (0, -1), (-1, 1)])
def test_a_retention_is_days_or_years(days: int, years: int) -> None:
    with pytest.raises(ValueError, match="days or of years"):
        Retention(days=days, years=years)


@pytest.mark.parametrize("name", ["", "2m", "1M", "1m "])
def test_an_unknown_timeframe_is_refused_with_the_known_names(name: str) -> None:
    with pytest.raises(InputError, match=f"^unknown timeframe '{name}': choose one of 1m, 5m, 30m, 1h, 1d$"):
        get_timeframe(name)
