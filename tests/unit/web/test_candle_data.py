"""Candles of the service compared with those of the candle reader, while the table changes in every way."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from pyiceberg.table import Table
from pyiceberg.types import StringType, TimestamptzType

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog, widen_volume
from ohlcv.model.table_contracts import candles_contract
from ohlcv.readers.candles import read_candles
from ohlcv.web import file_groups
from ohlcv.web.candle_query import CandleQuery
from ohlcv.web.data import CandleData
from ohlcv.web.file_cache import FileCache
from support.candle_rows import HOUR, Row, at, candle, write_candles

FIRST = at("2026-02-27T00:00")
DAYS = 4
SYMBOLS, EXCHANGES = ("BTC", "ETH", "Ä'; --"), ("X", "Y")

Change = Callable[[Settings, random.Random], None]


def table_of(settings: Settings) -> Table:
    return load_table(open_catalog(settings), candles_contract(HOUR))


def random_rows(chance: random.Random, count: int) -> list[Row]:
    """Return candles with distinct keys, and some of other writers: without date or value."""
    rows = {}
    for _ in range(count):
        start = FIRST + chance.randrange(DAYS * 24) * HOUR.length
        row = candle(HOUR, start, str(chance.randrange(1, 10**6)), chance.choice(SYMBOLS), chance.choice(EXCHANGES))
        row["updated_at"] = FIRST + timedelta(seconds=chance.randrange(10**6))
        if chance.random() < 0.1:
            row["vwap"] = None
        if chance.random() < 0.03:
            row["window_date"] = None
        rows[row["window_start"], row["symbol"], row["exchange"]] = row
    return list(rows.values())


def append(settings: Settings, chance: random.Random) -> None:
    stored = {(row["window_start"], row["symbol"], row["exchange"]) for row in read_candles(settings, HOUR).to_pylist()}
    rows = random_rows(chance, 60)
    new = [row for row in rows if (row["window_start"], row["symbol"], row["exchange"]) not in stored]
    write_candles(settings, HOUR, *new)


def delete_day(settings: Settings, chance: random.Random) -> None:
    table_of(settings).delete(f"window_date = '{(FIRST + timedelta(days=chance.randrange(DAYS))).date()}'")


def roll_back(settings: Settings, chance: random.Random) -> None:
    table = table_of(settings)
    older = chance.choice(table.snapshots()[:-1])
    with table.manage_snapshots() as manage:
        manage.set_current_snapshot(snapshot_id=older.snapshot_id)


def widen(settings: Settings, chance: random.Random) -> None:
    widen_volume(settings, candles_contract(HOUR))
    row = candle(HOUR, FIRST + timedelta(days=DAYS), symbol=chance.choice(SYMBOLS))
    write_candles(settings, HOUR, row | {"volume": Decimal("123456789012345678901234567890.00000001")})


def change_columns(settings: Settings, _: random.Random) -> None:
    table = table_of(settings)
    with table.update_schema() as update:
        update.add_column("note", StringType())
        update.move_first("close_price")
        # The files keep the name of the old column.
        update.rename_column("window_end", "old_end")
    with table.update_schema() as update:
        update.add_column("window_end", TimestamptzType())


CHANGES: list[Change] = [
    append,
    append,
    delete_day,
    append,
    widen,
    roll_back,
    append,
    change_columns,
    append,
    delete_day,
]


def random_query(chance: random.Random) -> CandleQuery:
    def time() -> datetime:
        return FIRST + timedelta(minutes=chance.randrange(-60, (DAYS + 1) * 24 * 60))

    start, end = sorted((time(), time() + timedelta(minutes=1)))
    symbol, exchange = chance.choice(SYMBOLS), chance.choice(EXCHANGES)
    first, last = (each if chance.random() < 0.6 else None for each in (start, end))
    match chance.randrange(6):
        case 0:
            return CandleQuery(symbol, exchange, end=last, newest=chance.randrange(1, 60))
        case 1:
            return CandleQuery(symbol, exchange, start, end, fill="previous")
        case 2:
            return CandleQuery(symbol, exchange, first, last)
        case _:
            return CandleQuery(chance.choice([None, symbol]), chance.choice([None, exchange]), first, last)


def expected(settings: Settings, query: CandleQuery) -> pa.Table:
    found = read_candles(
        settings,
        HOUR,
        query.symbol,
        query.exchange,
        start=query.start,
        end=query.end,
        newest=query.newest,
        fill=query.fill,
    )
    return found.sort_by([(name, "ascending") for name in ("window_start", "symbol", "exchange")])


def pages(data: CandleData, query: CandleQuery, limit: int) -> list[Row]:
    rows: list[Row] = []
    after = None
    while True:
        page = data.candles("1h", replace(query, limit=limit, after=after))
        assert len(page.table) <= limit
        rows += page.table.to_pylist()
        if page.next_key is None:
            return rows
        assert len(page.table) == limit
        after = page.next_key


@pytest.mark.parametrize("large_files", [False, True], ids=["whole files", "parts of large files"])
def test_every_query_equals_the_candle_reader(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, large_files: bool
) -> None:
    chance = random.Random(f"queries {large_files}")
    if large_files:
        monkeypatch.setattr(file_groups, "_SLICE_ROWS", 5)
    data = CandleData(settings, cache=FileCache(100_000, 10) if large_files else None)
    for change in CHANGES:
        change(settings, chance)
        data.refresh()
        for _ in range(3):
            query = random_query(chance)
            wanted = expected(settings, query)
            found = data.candles("1h", query)
            assert found.next_key is None
            assert found.table.schema == wanted.schema, (change, query)
            assert found.table.to_pylist() == wanted.to_pylist(), (change, query)
            batches = pa.Table.from_batches(data.batches("1h", query), wanted.schema)
            assert batches.to_pylist() == wanted.to_pylist()
            assert data.count("1h", query) >= (len(wanted) if query.fill is None else 0)
            if query.newest is None:
                assert pages(data, query, chance.randrange(1, 40)) == wanted.to_pylist()
            if query.fill is None and query.newest is None:
                since = FIRST + timedelta(seconds=chance.randrange(10**6))
                newer = data.candles("1h", replace(query, updated_since=since)).table
                assert newer.to_pylist() == [row for row in wanted.to_pylist() if row["updated_at"] >= since]
        stored = read_candles(settings, HOUR).to_pylist()
        assert [(each.symbol, each.exchange) for each in data.series("1h")] == sorted(
            {(row["symbol"], row["exchange"]) for row in stored}
        )
        for each in data.series("1h"):
            starts = [
                row["window_start"]
                for row in stored
                if (row["symbol"], row["exchange"]) == (each.symbol, each.exchange)
            ]
            assert (each.first_window, each.newest_window) == (min(starts), max(starts))
