"""Registry of timeframes: the eight entries, derived names, and validation of new entries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ohlcv.model.errors import InputError
from ohlcv.model.timeframes import DAY, DEFAULT_TIMEFRAMES, TIMEFRAMES, Retention, Timeframe, get_timeframe
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
        ("15m", "3,18,33,48 * * * *", 30, "ohlcv_batch.py", "1 year", 45),
        ("30m", "10,40 * * * *", 60, "ohlcv_batch.py", "1 year", 45),
        ("1h", "15 * * * *", 120, "ohlcv_batch.py", "3 years", 60),
        ("2h", "27 */2 * * *", 240, "ohlcv_batch.py", "3 years", 60),
        ("4h", "37 */4 * * *", 480, "ohlcv_batch.py", "3 years", 60),
        ("1d", "5 0 * * *", 2880, "ohlcv_batch.py", "5 years", 120),
    ]
    lengths = [timeframe.length for timeframe in TIMEFRAMES.values()]
    assert lengths == sorted(set(lengths))
    assert list(DEFAULT_TIMEFRAMES) == ["1m", "5m", "30m", "1h", "1d"]


def test_crons_run_once_a_window_or_more_often_and_no_two_short_ones_together() -> None:
    day = datetime(2026, 11, 27, tzinfo=UTC)
    due = {name: _due_times(timeframe, day) for name, timeframe in TIMEFRAMES.items()}
    for name, timeframe in TIMEFRAMES.items():
        # A window is built within its own length after it ended.
        assert DAY // timeframe.length <= len(due[name]) or name in ("1m", "5m")
    # 1m is due every five minutes, so the others may meet it, but not each other.
    others = [time for name, times in due.items() if name != "1m" for time in times]
    shared = {time for time in others if others.count(time) > 1}
    assert shared <= set(due["1d"])


def _due_times(timeframe: Timeframe, day: datetime) -> list[datetime]:
    times = [timeframe.last_schedule_times(day + DAY - timedelta(seconds=1))]
    while times[-1][1] >= day:
        times.append(timeframe.last_schedule_times(times[-1][1]))
    return [newest for newest, _ in times if newest >= day]


def test_names_derive_from_the_registry_entry() -> None:
    derived = [
        (candles_contract(timeframe).name, timeframe.dag_id, timeframe.partition, timeframe.microseconds)
        for timeframe in DEFAULT_TIMEFRAMES.values()
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


@pytest.mark.parametrize(("name", "minutes"), [("10m", 10), ("6h", 360), ("12h", 720)])
def test_a_new_timeframe_needs_only_a_registry_entry(name: str, minutes: int) -> None:
    added = changed_timeframe(name=name, length=timedelta(minutes=minutes), lookback=timedelta(hours=12))
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
    with pytest.raises(InputError, match=f"^unknown timeframe '{name}': choose one of {', '.join(TIMEFRAMES)}$"):
        get_timeframe(name)
