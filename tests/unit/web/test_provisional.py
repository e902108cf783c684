"""Provisional candles: computed from raw trades like stored ones, once for each trades snapshot."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog, widen_volume
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.model.intervals import EPOCH, MICROSECOND, to_microseconds
from ohlcv.model.table_contracts import MEASURES
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, Timeframe
from ohlcv.web import provisional
from ohlcv.web.data import CandleData
from support.candle_rows import COLUMNS, DAY, HOUR, MINUTE, Row, at, candle, extend_table, table_row, write_candles
from support.default_tables import TRADES, candles_contract
from support.reference_model import HOUR_MICROSECONDS, Trade, reference_candles
from support.strategies import MAX_AMOUNT

NOON = at("2026-03-01T12:00")
FIRST_HOUR = to_microseconds(NOON) // HOUR_MICROSECONDS
SERIES = ("BTC", "X")


def trade(time: datetime, price: str = "1", quantity: str = "1", **changes: Any) -> Trade:
    """Return a valid trade of BTC on X, stored in the partition of its time."""
    number = to_microseconds(time)
    valid = Trade(
        message_id=f"m {number}",
        trade_id=f"t {number}",
        symbol="BTC",
        exchange="X",
        timestamp=number,
        price=Decimal(price),
        quantity=Decimal(quantity),
        source_sequence=None,
        ingestion_timestamp=number,
        platform_sequence=None,
        exchange_date=time.date(),
        exchange_hour=time.hour,
    )
    return replace(valid, **changes)


def load(settings: Settings, *trades: Trade) -> None:
    # As another writer does: without the validation of the loader.
    rows = pa.Table.from_pylist(list(map(asdict, trades)), schema=TRADE_SCHEMA)
    load_table(open_catalog(settings), TRADES).append(rows)


def random_trades(chance: random.Random, hours: int) -> list[Trade]:
    """Return trades of four series with ties, repeated deliveries, corrections and invalid rows."""
    trades = []
    for _ in range(300):
        time = NOON + chance.randrange(hours * 3600) * timedelta(seconds=1)
        valid = trade(
            time,
            str(chance.randrange(1, 10**6)),
            str(chance.randrange(1, 10**6)),
            symbol=chance.choice(["BTC", "ETH"]),
            exchange=chance.choice(["X", "Y"]),
            trade_id=chance.choice([None, str(chance.randrange(200))]),
        )
        defects: list[dict[str, Any]] = [
            {"price": Decimal(0)},
            {"symbol": None},
            {"exchange_hour": 3},
            {"quantity": None},
        ]
        correction: dict[str, Any] = {
            "price": Decimal(chance.randrange(1, 10**6)),
            "ingestion_timestamp": chance.randrange(10**16),
        }
        trades += [valid, valid, replace(valid, **correction), replace(valid, **chance.choice(defects))]
    chance.shuffle(trades)
    return trades


def completed(row: Row, created_at: None = None) -> Row:
    found = row | {"window_date": row["window_start"].date(), "created_at": created_at, "updated_at": created_at}
    return {name: found[name] for name in COLUMNS}


def rows_of(data: CandleData, timeframe: Timeframe, symbol: str = "BTC", exchange: str = "X") -> list[Row]:
    rows: list[Row] = data.provisional(timeframe.name, symbol, exchange).table.to_pylist()
    return rows


@pytest.mark.parametrize(
    "timeframe", [each for each in DEFAULT_TIMEFRAMES.values() if each.length <= HOUR.length], ids=str
)
def test_candles_equal_the_reference_model(settings: Settings, data: CandleData, timeframe: Timeframe) -> None:
    trades = random_trades(random.Random(7), 3)
    load(settings, *trades[:500])
    load(settings, *trades[500:])
    # The stored candles of one series end in the second hour; another series has none.
    newest = NOON + timedelta(hours=1)
    write_candles(settings, timeframe, candle(timeframe, newest), candle(timeframe, NOON, exchange="Y"))
    data.refresh()
    first = FIRST_HOUR * HOUR_MICROSECONDS
    expected = reference_candles(trades, timeframe.microseconds, [(first, first + 3 * HOUR_MICROSECONDS)]).candles
    for symbol, exchange in (("BTC", "X"), ("BTC", "Y"), ("ETH", "X"), ("ETH", "Y")):
        stored = newest if (symbol, exchange) == SERIES else NOON if symbol == "BTC" else None
        found = data.provisional(timeframe.name, symbol, exchange)
        wanted = [
            completed(table_row(each))
            for key, each in sorted(expected.items())
            # Hours before the newest stored window of the table are not read.
            if key[:2] == (symbol, exchange)
            and EPOCH + key[2] * MICROSECOND >= newest
            and (stored is None or EPOCH + key[2] * MICROSECOND > stored)
        ]
        assert wanted
        assert found.table.to_pylist() == wanted
        index = data.index(timeframe.name)
        assert index is not None
        assert found.table.schema == index.schema
        snapshot = load_table(open_catalog(settings), TRADES).current_snapshot()
        assert snapshot is not None
        assert found.trades_snapshot == snapshot.snapshot_id


def test_an_unknown_series_and_a_table_without_trades_have_none(settings: Settings, data: CandleData) -> None:
    data.refresh()
    assert data.provisional("1m", *SERIES).trades_snapshot is None
    for timeframe in DEFAULT_TIMEFRAMES.values():
        assert rows_of(data, timeframe) == []
    load(settings, trade(NOON))
    data.refresh()
    for timeframe in DEFAULT_TIMEFRAMES.values():
        assert rows_of(data, timeframe, "BTC' OR 1=1 --") == []
        assert len(rows_of(data, timeframe)) == 1


def test_a_day_combines_stored_and_provisional_hours(settings: Settings, data: CandleData) -> None:
    write_candles(settings, DAY, candle(DAY, "2026-02-28"))
    write_candles(settings, HOUR, candle(HOUR, "2026-03-01T08:00", "50"), candle(HOUR, "2026-03-01T11:00", "40"))
    write_candles(settings, HOUR, candle(HOUR, "2026-02-28T11:00", "7"), candle(HOUR, "2026-03-01T12:00", symbol="ETH"))
    load(settings, trade(NOON, "9", "2"), trade(NOON + timedelta(minutes=70), "70", "3.5"))
    data.refresh()
    assert rows_of(data, DAY) == [
        {
            **completed(candle(DAY, "2026-03-01")),
            "open_price": Decimal(51),
            "high_price": Decimal(70),
            "low_price": Decimal(9),
            "close_price": Decimal(70),
            "volume": Decimal("20.5"),
            "trade_count": 8,
            "vwap": None,
        }
    ]


@pytest.mark.parametrize("timeframe", [HOUR, DAY], ids=str)
def test_measures_are_null(settings: Settings, data: CandleData, timeframe: Timeframe) -> None:
    extend_table(settings, timeframe)
    load(settings, trade(NOON))
    data.refresh()
    found = data.provisional(timeframe.name, *SERIES, measures=True).table
    assert found.column_names == [*COLUMNS, *MEASURES]
    assert [[row[name] for name in MEASURES] for row in found.to_pylist()] == [[None] * 5]
    assert found.select(COLUMNS).to_pylist() == rows_of(data, timeframe)


def test_a_day_with_hours_in_no_table_is_left_out(settings: Settings, data: CandleData) -> None:
    """The hours between the stored ones and the newest 48 are not read."""
    write_candles(settings, HOUR, candle(HOUR, "2026-02-27T08:00"))
    times = [at("2026-02-27T09:30"), at("2026-03-01T11:00"), NOON, at("2026-03-02T05:00")]
    load(settings, *map(trade, times))
    data.refresh()
    assert [row["window_start"] for row in rows_of(data, HOUR)] == [
        at("2026-03-01T11:00"),
        NOON,
        at("2026-03-02T05:00"),
    ]
    # The newest 48 hours begin at 06:00 on 28 February.
    assert [row["window_start"] for row in rows_of(data, DAY)] == [at("2026-03-01"), at("2026-03-02")]
    load(settings, trade(at("2026-03-03T08:00")))
    data.refresh()
    # Now they begin at 09:00 on 1 March, so that day is incomplete.
    assert [row["window_start"] for row in rows_of(data, DAY)] == [at("2026-03-02"), at("2026-03-03")]


def test_trades_after_now_are_ignored(settings: Settings, data: CandleData) -> None:
    load(settings, trade(NOON))
    load(settings, trade(at("9000-01-01T00:00")))
    data.refresh()
    assert [row["window_start"] for row in rows_of(data, MINUTE)] == [NOON]


def test_a_volume_that_does_not_fit_the_column_is_left_out(settings: Settings, data: CandleData) -> None:
    huge = [
        trade(NOON + number * MICROSECOND, str(MAX_AMOUNT), str(MAX_AMOUNT), symbol="HUGE") for number in range(300)
    ]
    large = [trade(NOON + number * MICROSECOND, "1", str(MAX_AMOUNT), symbol="LARGE") for number in range(2)]
    load(settings, *huge, *large, trade(NOON, "5"))
    data.refresh()
    for timeframe in DEFAULT_TIMEFRAMES.values():
        assert [row["close_price"] for row in rows_of(data, timeframe)] == [5]
        assert rows_of(data, timeframe, "HUGE") == rows_of(data, timeframe, "LARGE") == []
    widen_volume(settings, candles_contract(MINUTE))
    data.refresh()
    assert [row["volume"] for row in rows_of(data, MINUTE, "LARGE")] == [2 * MAX_AMOUNT]
    assert [row["close_price"] for row in rows_of(data, MINUTE)] == [5]


def test_hours_are_computed_once_for_all_series_and_threads(
    settings: Settings, data: CandleData, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    original = provisional._compute

    def compute(*arguments: Any) -> pa.Table:
        computed.append([hour - FIRST_HOUR for hour in arguments[-1]])
        return original(*arguments)

    monkeypatch.setattr(provisional, "_compute", compute)
    load(settings, trade(NOON), trade(NOON + timedelta(hours=1), symbol="ETH"))
    data.refresh()
    with ThreadPoolExecutor(20) as pool:
        rows = list(pool.map(lambda number: rows_of(data, MINUTE, "BTC" if number % 2 else "ETH"), range(20)))
    assert [len(each) for each in rows] == [1] * 20
    assert computed == [[1], [0]]
    # The hour of new trades is computed again.
    load(settings, trade(NOON + timedelta(hours=1, minutes=5)))
    data.refresh()
    assert len(rows_of(data, MINUTE)) == 2
    assert computed == [[1], [0], [1]]


def test_hours_with_too_many_candles_are_left_out(
    settings: Settings, data: CandleData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisional, "_MAX_CANDLES", 1)
    load(settings, *(trade(NOON + timedelta(minutes=20 * number)) for number in range(12)))
    data.refresh()
    assert [row["window_start"] for row in rows_of(data, MINUTE)] == [
        NOON + timedelta(hours=3, minutes=20 * number) for number in range(3)
    ]
