"""Progress of candle tables: days that are built, filled, left to reprocess, or without trades."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from pyiceberg.table import Table
from pyiceberg.types import LongType

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.model.timeframes import Timeframe
from ohlcv.readers import table_progress
from ohlcv.readers.table_progress import TableProgress, backfill_commands, read_progress
from support.candle_rows import DAY, HOUR, MINUTE, Row, candle, extend_table, measured, unmeasured, write_candles
from support.harness import append, at, trade

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

# The run for the second of March is due at this time.
NOW = datetime(2026, 3, 3, 1, 30, tzinfo=UTC)
FIRST, SECOND = date(2026, 3, 1), date(2026, 3, 2)
ONE_DAY = timedelta(days=1)


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    settings = load_settings({"OHLCV_HOME": str(tmp_path / "home"), "OHLCV_TIMEFRAMES": "1m,1h,1d"})
    create_tables(settings)
    return settings


def add_trades(site: Settings, *times: str) -> None:
    append(load_table(open_catalog(site), site.trades_contract), [trade(at(time)) for time in times])


def each_hour(day: str) -> list[str]:
    return [f"{day} {hour:02}:00" for hour in range(24)]


def hourly(day: str, hours: Iterable[int] = range(24)) -> list[Row]:
    return [candle(HOUR, f"{day}T{hour:02}:00") for hour in hours]


def progress(site: Settings, timeframe: Timeframe, now: datetime = NOW) -> TableProgress:
    [found] = read_progress(site, [timeframe.name], now)
    return found


def test_days_without_candles_are_left_and_days_that_reach_the_last_trade_are_built(site: Settings) -> None:
    add_trades(site, *each_hour("2026-03-01"), *each_hour("2026-03-02"))
    assert progress(site, HOUR).to_reprocess == ((FIRST, SECOND),)
    write_candles(site, HOUR, *hourly("2026-03-01"))
    found = progress(site, HOUR)
    assert (found.days_with_trades, found.days_built, found.days_left) == (2, 1, 1)
    assert found.to_reprocess == ((SECOND, SECOND),)
    assert (found.is_extended, found.candles, found.measured) == (False, 24, 0)


@pytest.mark.parametrize("hours", [range(1, 24), range(23)])
def test_a_day_whose_candles_begin_later_or_end_earlier_than_its_trades_is_left(site: Settings, hours: range) -> None:
    add_trades(site, *each_hour("2026-03-01"))
    write_candles(site, HOUR, *hourly("2026-03-01", hours))
    assert progress(site, HOUR).to_reprocess == ((FIRST, FIRST),)


def test_a_day_is_left_only_when_its_own_run_is_due(site: Settings) -> None:
    add_trades(site, "2026-03-02 12:00")
    assert progress(site, HOUR, NOW - timedelta(microseconds=1)).to_reprocess == ()
    assert progress(site, HOUR).to_reprocess == ((SECOND, SECOND),)


def test_days_before_the_retention_of_the_timeframe_are_not_left(site: Settings) -> None:
    add_trades(site, *each_hour("2026-03-01"), *each_hour("2026-03-02"))
    # The candles of a minute are retained for 90 days.
    later = NOW + 89 * ONE_DAY
    assert progress(site, MINUTE, later).to_reprocess == ((SECOND, SECOND),)
    assert progress(site, HOUR, later).to_reprocess == ((FIRST, SECOND),)


def test_candles_without_measures_are_left_until_every_candle_of_the_day_has_them(site: Settings) -> None:
    add_trades(site, *each_hour("2026-03-01"), *each_hour("2026-03-02"))
    # A file from before the extension does not have the columns.
    write_candles(site, HOUR, *hourly("2026-03-01"))
    extend_table(site, HOUR)
    second = hourly("2026-03-02")
    write_candles(site, HOUR, *map(measured, second[:23]), unmeasured(second[23]))
    found = progress(site, HOUR)
    assert (found.is_extended, found.candles, found.measured) == (True, 48, 23)
    assert found.to_reprocess == ((FIRST, SECOND),)
    assert found.days_built == 0


def test_filled_days_are_built_and_no_data_file_is_read(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    add_trades(site, *each_hour("2026-03-01"))
    extend_table(site, HOUR)
    write_candles(site, HOUR, *(measured(row, sides=hour % 2 > 0) for hour, row in enumerate(hourly("2026-03-01"))))
    monkeypatch.setattr(table_progress, "_read", lambda table, tasks, is_extended: iter([None] * len(tasks)))
    found = progress(site, HOUR)
    assert (found.measured, found.days_built, found.to_reprocess, found.expired) == (24, 1, (), ())


def test_daily_candles_of_a_month_are_told_apart(site: Settings) -> None:
    add_trades(site, *each_hour("2026-03-01"), *each_hour("2026-03-02"))
    extend_table(site, DAY)
    write_candles(site, DAY, measured(candle(DAY, "2026-03-01T00:00")), unmeasured(candle(DAY, "2026-03-02T00:00")))
    found = progress(site, DAY)
    assert (found.candles, found.measured, found.to_reprocess) == (2, 1, ((SECOND, SECOND),))


def test_candles_whose_trades_have_expired_are_not_left(site: Settings) -> None:
    extend_table(site, HOUR)
    write_candles(site, HOUR, *map(unmeasured, hourly("2026-02-28")))
    # The trades of the morning have expired.
    add_trades(site, *each_hour("2026-03-01")[12:])
    write_candles(site, HOUR, *map(unmeasured, hourly("2026-03-01", range(12))))
    write_candles(site, HOUR, *map(measured, hourly("2026-03-01", range(12, 24))))
    found = progress(site, HOUR)
    assert (found.to_reprocess, found.expired) == ((), ((date(2026, 2, 28), FIRST),))
    assert (found.days_with_trades, found.days_built) == (1, 1)


@pytest.mark.parametrize(("trades", "is_left"), [(3, True), (2, False)])
def test_a_window_with_empty_hours_is_left_if_the_trades_of_its_candles_are_there(
    site: Settings, trades: int, is_left: bool
) -> None:
    # The candle of a day has three trades.
    add_trades(site, *each_hour("2026-03-01")[:trades])
    extend_table(site, DAY)
    write_candles(site, DAY, unmeasured(candle(DAY, "2026-03-01T00:00")))
    found = progress(site, DAY)
    assert (found.to_reprocess, found.expired) == (((FIRST, FIRST),), ())[:: 1 if is_left else -1]


def test_a_day_that_only_another_timeframe_has_cannot_be_built_without_trades(site: Settings) -> None:
    write_candles(site, HOUR, *hourly("2026-03-01"))
    assert progress(site, MINUTE).expired == ((FIRST, FIRST),)
    assert progress(site, HOUR).expired == ()


def test_a_file_without_statistics_is_read(site: Settings) -> None:
    add_trades(site, *each_hour("2026-03-01"))
    extend_table(site, HOUR)
    with load_table(open_catalog(site), site.candles_contract(HOUR)).transaction() as transaction:
        transaction.set_properties({"write.metadata.metrics.column.window_start": "none"})
    rows = hourly("2026-03-01")
    write_candles(site, HOUR, *map(measured, rows[1:]), unmeasured(rows[0]))
    found = progress(site, HOUR)
    assert (found.candles, found.measured, found.to_reprocess) == (24, 23, ((FIRST, FIRST),))


def test_additional_columns_change_nothing(site: Settings) -> None:
    table: Table = load_table(open_catalog(site), site.candles_contract(HOUR))
    with table.update_schema() as update:
        update.add_column("note", LongType())
    add_trades(site, *each_hour("2026-03-01"))
    write_candles(site, HOUR, *({**row, "note": None} for row in hourly("2026-03-01")))
    assert progress(site, HOUR).to_reprocess == ()


def left(timeframe: str, *ranges: tuple[date, date]) -> TableProgress:
    return TableProgress(timeframe, True, 0, 0, 0, 0, ranges, ())


def test_a_command_reprocesses_consecutive_days_in_the_timeframes_that_need_them() -> None:
    base = "airflow backfill create --dag-id ohlcv_reprocess"
    commands = backfill_commands(
        [
            left("1m", (SECOND, SECOND)),
            left("1h", (FIRST, SECOND), (SECOND + 2 * ONE_DAY, SECOND + 2 * ONE_DAY)),
            left("1d"),
        ],
        ["1m", "1h"],
    )
    conf = ' --dag-run-conf \'{"timeframes": ["1h"]}\''
    assert commands == [
        f"{base} --from-date 2026-03-01 --to-date 2026-03-02 --reprocess-behavior completed{conf}",
        f"{base} --from-date 2026-03-02 --to-date 2026-03-03 --reprocess-behavior completed",
        f"{base} --from-date 2026-03-04 --to-date 2026-03-05 --reprocess-behavior completed{conf}",
    ]
    assert backfill_commands([left("1m")], ["1m"]) == []
