"""Readers of trades tables of other shapes, compared with the reference model."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, load_table_to_write, open_catalog
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.model.errors import EqualityDeletesError, InputError, OhlcvError
from ohlcv.model.intervals import EPOCH, MICROSECOND, Range
from ohlcv.model.source_hours import hour_number
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.quality.validator import validate, validate_days
from ohlcv.readers.latest import newest_trade
from ohlcv.readers.trades import load_trades
from ohlcv.web import provisional
from ohlcv.web.data import CandleData
from support.audited_tables import add_trades, trade
from support.candle_rows import at, table_row, write_candles
from support.default_tables import TRADES
from support.mapped_trades import (
    SHAPES,
    WITHOUT_BOUNDS,
    Shape,
    append_rows,
    mapped_settings,
    project,
    random_rows,
    reference_trades,
)
from support.reference_model import HOUR_MICROSECONDS, Trade, partition_hour, reference_candles

START = datetime(2026, 3, 1, 22, tzinfo=UTC)
HOURS = 4
FIRST_HOUR = hour_number(START)
RANGE = Range(START, START + HOURS * timedelta(hours=1))
SPAN = (FIRST_HOUR * HOUR_MICROSECONDS, (FIRST_HOUR + HOURS) * HOUR_MICROSECONDS)


@pytest.fixture(params=SHAPES.values(), ids=list(SHAPES))
def shape(request: pytest.FixtureRequest) -> Shape:
    found: Shape = request.param
    return found


@pytest.fixture
def settings(tmp_path: Path, shape: Shape) -> Settings:
    return mapped_settings(tmp_path, shape)


@pytest.fixture
def trades(settings: Settings, shape: Shape) -> list[Trade]:
    """Load rows in two commits, and return their trades."""
    mapping = settings.trades_mapping
    rows = random_rows(mapping, shape, random.Random(5), START, HOURS)
    table = load_table(open_catalog(settings), settings.trades_contract)
    append_rows(table, rows[:150])
    append_rows(table, rows[150:])
    return reference_trades(rows, mapping)


def write_reference_candles(settings: Settings, trades: list[Trade], *left_out: int) -> None:
    """Write the candles of all timeframes that the reference model computes."""
    every_row = settings.trades_mapping.every_row
    for timeframe in (TIMEFRAMES["1m"], TIMEFRAMES["1h"]):
        expected = reference_candles(trades, timeframe.microseconds, [SPAN], every_row=every_row).candles
        moment = {"created_at": RANGE.end, "updated_at": RANGE.end}
        rows = [table_row(each) | moment for number, each in enumerate(expected.values()) if number not in left_out]
        write_candles(settings, timeframe, *(row | {"window_date": row["window_start"].date()} for row in rows))


def test_the_trades_of_some_hours(settings: Settings, trades: list[Trade]) -> None:
    hours = {FIRST_HOUR, FIRST_HOUR + 3}
    source = load_trades(open_catalog(settings), settings.trades_contract)
    chunks = [(chunk, list(tables)) for chunk, tables in source.read_chunks(hours, None, 1)]
    assert [chunk for chunk, _ in chunks] == [[hour] for hour in sorted(hours)]
    rows = pa.concat_tables([table for _, tables in chunks for table in tables])
    found = project(rows, source.mapping, source.kinds)
    expected = [each for each in trades if partition_hour(each) in hours]
    names = ("symbol", "exchange", "trade_id", "message_id", "timestamp", "price", "quantity", "source_sequence")
    assert len(expected) > 50
    assert sorted(map(repr, zip(*(found[name].to_pylist() for name in names), strict=True))) == sorted(
        repr(tuple(getattr(each, name) for name in names)) for each in expected
    )


def test_a_validation_compares_with_the_same_candles(settings: Settings, trades: list[Trade]) -> None:
    write_reference_candles(settings, trades)
    for name in ("1m", "1h"):
        result = validate(settings, TIMEFRAMES[name], RANGE)
        assert result.failures == []
        assert (result.candles > 0, result.trades) == (
            True,
            sum(SPAN[0] <= partition_hour(each) * HOUR_MICROSECONDS < SPAN[1] for each in trades),
        )


def test_a_validation_finds_a_missing_candle(settings: Settings, trades: list[Trade]) -> None:
    write_reference_candles(settings, trades, 1)
    assert [each.rule for each in validate(settings, TIMEFRAMES["1m"], RANGE).failures] == ["none_is_missing"]


def validated_days(settings: Settings) -> list[date]:
    wide = Range(RANGE.start - timedelta(days=3), RANGE.end + timedelta(days=3))
    return [result.ranges[0].start.date() for result in validate_days(settings, TIMEFRAMES["1m"], wide)]


def test_days_with_trades_are_validated(settings: Settings, trades: list[Trade]) -> None:
    assert trades
    assert validated_days(settings) == [START.date(), START.date() + timedelta(days=1)]


def valid_times(settings: Settings, trades: list[Trade]) -> list[int]:
    """Return the times of valid trades: those from which alone a candle is built."""
    every_row = settings.trades_mapping.every_row
    return [
        each.timestamp or 0
        for each in trades
        if reference_candles([each], 60_000_000, [SPAN], every_row=every_row).candles
    ]


def test_the_newest_trade_is_valid(settings: Settings, trades: list[Trade]) -> None:
    times = valid_times(settings, trades)
    assert newest_trade(settings) == EPOCH + max(times) * MICROSECOND
    until = RANGE.start + timedelta(minutes=95, microseconds=1)
    expected = max(time for time in times if EPOCH + time * MICROSECOND < until)
    assert newest_trade(settings, Range(RANGE.start, until)) == EPOCH + expected * MICROSECOND
    assert newest_trade(settings, Range(RANGE.end, RANGE.end + timedelta(hours=5))) is None


@pytest.mark.parametrize("name", ["1m", "1h"])
def test_provisional_candles_equal_the_reference_model(settings: Settings, trades: list[Trade], name: str) -> None:
    timeframe = TIMEFRAMES[name]
    every_row = settings.trades_mapping.every_row
    expected = reference_candles(trades, timeframe.microseconds, [SPAN], every_row=every_row).candles
    symbol, exchange, _ = next(iter(expected))
    data = CandleData(settings)
    data.refresh()
    found = data.provisional(name, symbol, exchange).table.to_pylist()
    wanted = [table_row(each) for key, each in sorted(expected.items()) if key[:2] == (symbol, exchange)]
    assert wanted
    assert [{field: row[field] for field in wanted[0]} for row in found] == wanted


def test_a_file_of_several_hours_is_read_once(
    settings: Settings, shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_rows(settings.trades_mapping, shape, random.Random(8), START, HOURS)
    append_rows(load_table(open_catalog(settings), settings.trades_contract), rows)
    computed = []
    original = provisional._compute

    def compute(*arguments: Any) -> pa.Table:
        computed.append(arguments[-1])
        return original(*arguments)

    monkeypatch.setattr(provisional, "_compute", compute)
    data = CandleData(settings)
    data.refresh()
    data.provisional("1m", "A", "A")
    hours = [FIRST_HOUR + number for number in reversed(range(HOURS))]
    # The partitions of one of the tables are hours.
    assert computed == ([[hour] for hour in hours] if settings.trades_mapping.has_hours else [hours])


def test_files_without_bounds_may_have_trades_of_any_time(tmp_path: Path, shape: Shape) -> None:
    settings = mapped_settings(tmp_path, replace(shape, properties=WITHOUT_BOUNDS))
    rows = random_rows(settings.trades_mapping, shape, random.Random(6), START, HOURS)
    table = load_table(open_catalog(settings), settings.trades_contract)
    append_rows(table, rows[:150])
    append_rows(table, rows[150:])
    trades = reference_trades(rows, settings.trades_mapping)
    assert newest_trade(settings) == EPOCH + max(valid_times(settings, trades)) * MICROSECOND
    write_reference_candles(settings, trades)
    assert validate(settings, TIMEFRAMES["1m"], RANGE).failures == []
    assert len(validated_days(settings)) == 8


def test_only_its_own_writer_adds_trades(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"has a mapping \(OHLCV_TRADES_MAPPING\), so it is only read: add trades with"
    ):
        load_table_to_write(settings, settings.trades_contract)


def test_a_table_that_does_not_fit_is_reported(settings: Settings) -> None:
    with open_catalog(settings).load_table(settings.names.trades).update_schema() as update:
        for name in settings.trades_mapping.source_columns[:1]:
            update.rename_column(name, "renamed")
    found = r"gold_crypto_trades does not fit its mapping \(OHLCV_TRADES_MAPPING\): column .* is missing: correct the"
    with pytest.raises(OhlcvError, match=found):
        newest_trade(settings)
    with pytest.raises(OhlcvError, match=found):
        create_tables(settings)


def test_equality_deletes_are_refused(settings: Settings, trades: list[Trade]) -> None:
    table = load_table(open_catalog(settings), settings.trades_contract)
    # pyiceberg writes no such deletes; the number in the summary decides.
    table.append(table.schema().as_arrow().empty_table(), {"added-equality-deletes": "1"})
    with pytest.raises(EqualityDeletesError, match=r"^market_data\.gold_crypto_trades has equality deletes, which"):
        newest_trade(settings)


def test_a_missing_table_is_not_created(settings: Settings) -> None:
    open_catalog(settings).drop_table(settings.names.trades)
    with pytest.raises(OhlcvError, match="which OHLCV_TRADES_MAPPING maps: correct OHLCV_TRADES_TABLE"):
        create_tables(settings)


def test_files_of_an_older_partition_spec_have_the_hours_of_their_bounds(tmp_path: Path) -> None:
    site = load_settings({"OHLCV_HOME": str(tmp_path)})
    create_tables(site)
    table = open_catalog(site).load_table(TRADES.identifier)
    with table.update_spec() as update:
        update.remove_field("exchange_hour")
    rows = [trade("2026-03-01T11:00"), trade("2026-03-01T13:00")]
    table.append(pa.Table.from_pylist(rows, schema=TRADE_SCHEMA))
    with table.update_spec() as update:
        update.add_identity("exchange_hour")
    add_trades(site, trade("2026-03-01T15:00"))
    trades = load_trades(open_catalog(site), TRADES)
    noon = hour_number(at("2026-03-01T12:00"))
    found = {task.file.record_count: trades.file_hours(task.file) for task in trades.table.scan().plan_files()}
    assert found == {2: range(noon - 1, noon + 2), 1: range(noon + 3, noon + 4)}
