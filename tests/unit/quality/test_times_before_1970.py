"""Trades before 1970: their negative times are floored to hours and windows, as in the reference model."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.model.intervals import EPOCH, MICROSECOND, Range, to_microseconds
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, TIMEFRAMES
from ohlcv.quality.validator import validate
from ohlcv.readers.candles import read_candles
from ohlcv.readers.latest import newest_trade
from ohlcv.web.data import CandleData
from support.candle_rows import candle, table_row, write_candles
from support.default_tables import TRADES
from support.mapped_trades import SHAPES, Shape, append_rows, mapped_settings, random_rows, reference_trades
from support.reference_model import Trade, reference_candles

START = datetime(1969, 12, 31, 22, tzinfo=UTC)
RANGE = Range(START, START + timedelta(hours=4))
SPAN = (to_microseconds(RANGE.start), to_microseconds(RANGE.end))
SHORT = [timeframe for timeframe in DEFAULT_TIMEFRAMES.values() if timeframe.length <= timedelta(hours=1)]


def random_trades(chance: random.Random) -> list[Trade]:
    """Return trades of one series, also at the borders of windows; some are stored in another hour."""
    numbers = [SPAN[0], -1, 0, 1, -60_000_000, -3_600_000_000, *(chance.randrange(*SPAN) for _ in range(200))]
    times = [START + (number - SPAN[0]) * MICROSECOND for number in numbers]
    return [
        Trade(
            message_id=f"m {number}",
            trade_id=str(number),
            symbol="BTC",
            exchange="X",
            timestamp=to_microseconds(time),
            price=Decimal(chance.randrange(1, 10**6)),
            quantity=Decimal(chance.randrange(1, 10**6)),
            source_sequence=number,
            ingestion_timestamp=number,
            platform_sequence=None,
            exchange_date=time.date(),
            exchange_hour=(time.hour + (number % 20 == 19)) % 24,
        )
        for number, time in enumerate(times)
    ]


def write_reference_candles(settings: Settings, trades: list[Trade], *, every_row: bool = False) -> None:
    for timeframe in SHORT:
        candles = reference_candles(trades, timeframe.microseconds, [SPAN], every_row=every_row).candles
        moment = {"created_at": RANGE.end, "updated_at": RANGE.end}
        rows = [table_row(each) | moment for each in candles.values()]
        write_candles(settings, timeframe, *(row | {"window_date": row["window_start"].date()} for row in rows))


def failures(settings: Settings) -> Iterable[tuple[str, str, str, str]]:
    for timeframe in SHORT:
        for each in validate(settings, timeframe, RANGE).failures:
            yield timeframe.name, each.rule, each.stored, each.expected


@pytest.fixture
def trades(settings: Settings) -> list[Trade]:
    trades = random_trades(random.Random(3))
    rows = pa.Table.from_pylist(list(map(asdict, trades)), schema=TRADE_SCHEMA)
    load_table(open_catalog(settings), TRADES).append(rows)
    return trades


def test_the_recomputation_equals_the_reference_model(settings: Settings, trades: list[Trade]) -> None:
    write_reference_candles(settings, trades)
    assert list(failures(settings)) == []


def test_provisional_candles_equal_the_reference_model(settings: Settings, trades: list[Trade]) -> None:
    data = CandleData(settings)
    data.refresh()
    for timeframe in SHORT:
        expected = reference_candles(trades, timeframe.microseconds, [SPAN]).candles
        found = data.provisional(timeframe.name, "BTC", "X").table.to_pylist()
        names = list(table_row(next(iter(expected.values()))))
        assert [{name: row[name] for name in names} for row in found] == [
            table_row(expected[key]) for key in sorted(expected)
        ]
        assert [row["window_date"] for row in found] == [row["window_start"].date() for row in found]


def test_filled_windows_have_their_date(settings: Settings) -> None:
    hour = TIMEFRAMES["1h"]
    write_candles(settings, hour, candle(hour, RANGE.start), candle(hour, RANGE.end - hour.length))
    dates = read_candles(settings, hour, fill="previous")["window_date"].to_pylist()
    assert dates == [START.date(), START.date(), EPOCH.date(), EPOCH.date()]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_mapped_trades_equal_the_reference_model(tmp_path: Path, shape: Shape) -> None:
    settings = mapped_settings(tmp_path, shape)
    mapping = settings.trades_mapping
    rows = random_rows(mapping, shape, random.Random(5), START, 2)
    append_rows(load_table(open_catalog(settings), settings.trades_contract), rows)
    trades = reference_trades(rows, mapping)
    write_reference_candles(settings, trades, every_row=mapping.every_row)
    assert list(failures(settings)) == []
    valid = [
        each.timestamp
        for each in trades
        if each.timestamp is not None
        and reference_candles([each], 60_000_000, [SPAN], every_row=mapping.every_row).candles
    ]
    assert newest_trade(settings) == EPOCH + max(valid) * MICROSECOND
