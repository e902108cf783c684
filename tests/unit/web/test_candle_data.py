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
from ohlcv.readers.candles import read_candles
from ohlcv.web import file_groups
from ohlcv.web.candle_query import CandleQuery
from ohlcv.web.data import CandleData
from ohlcv.web.file_cache import FileCache
from support.candle_rows import HOUR, Row, at, candle, extend_table, measured, write_candles
from support.default_tables import candles_contract

FIRST = at("2026-02-27T00:00")
DAYS = 3
SYMBOLS, EXCHANGES = ("BTC", "Ä'; --"), ("X", "Y")

# Receives the stored candles.
Change = Callable[[Settings, random.Random, list[Row]], None]


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
        rows[key_of(row)] = row
    return list(rows.values())


def key_of(row: Row) -> tuple[datetime, str, str]:
    return row["window_start"], row["symbol"], row["exchange"]


def append(settings: Settings, chance: random.Random, stored: list[Row]) -> None:
    keys = set(map(key_of, stored))
    rows = [row for row in random_rows(chance, 40) if key_of(row) not in keys]
    if is_extended(table_of(settings)):
        rows = [measured(row, chance.random() < 0.7) for row in rows]
    write_candles(settings, HOUR, *rows)


def is_extended(table: Table) -> bool:
    return candles_contract(HOUR).is_extended(table.schema().column_names)


def extend(settings: Settings, _chance: random.Random, _: list[Row]) -> None:
    extend_table(settings, HOUR)


def delete_day(settings: Settings, chance: random.Random, _: list[Row]) -> None:
    table_of(settings).delete(f"window_date = '{(FIRST + timedelta(days=chance.randrange(DAYS))).date()}'")


def roll_back(settings: Settings, chance: random.Random, _: list[Row]) -> None:
    table = table_of(settings)
    older = chance.choice(table.snapshots()[:-1])
    with table.manage_snapshots() as manage:
        manage.set_current_snapshot(snapshot_id=older.snapshot_id)


def widen(settings: Settings, chance: random.Random, _: list[Row]) -> None:
    widen_volume(settings, candles_contract(HOUR))
    row = candle(HOUR, FIRST + timedelta(days=DAYS), symbol=chance.choice(SYMBOLS))
    write_candles(settings, HOUR, row | {"volume": Decimal("123456789012345678901234567890.00000001")})


def change_columns(settings: Settings, _chance: random.Random, _: list[Row]) -> None:
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
    widen,
    roll_back,
    append,
    extend,
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
        measures=query.measures,
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
        monkeypatch.setattr(file_groups, "_SLICE_ROWS", 8)
    data = CandleData(settings, cache=FileCache(150_000, 10) if large_files else None)
    stored: list[Row] = []
    for change in CHANGES:
        change(settings, chance, stored)
        data.refresh()
        stored = read_candles(settings, HOUR).to_pylist()
        check_series(data, stored)
        for _ in range(2):
            query = random_query(chance)
            check_query(settings, data, query, chance)
            if is_extended(table_of(settings)):
                check_query(settings, data, replace(query, measures=True), chance)


def check_query(settings: Settings, data: CandleData, query: CandleQuery, chance: random.Random) -> None:
    wanted = expected(settings, query)
    if query.fill is not None:
        wanted = wanted.drop_columns("fill_reason")  # the route adds it
    rows = wanted.to_pylist()
    found = data.candles("1h", query)
    assert found.next_key is None
    assert found.table.schema == wanted.schema, query
    assert found.table.to_pylist() == rows, query
    assert pa.Table.from_batches(data.batches("1h", query), wanted.schema).to_pylist() == rows, query
    assert data.count("1h", query) >= (len(rows) if query.fill is None else 0)
    if query.newest is None:
        assert pages(data, query, 1 + len(rows) // chance.randrange(2, 5)) == rows, query
    if query.fill is None and query.newest is None:
        since = FIRST + timedelta(seconds=chance.randrange(10**6))
        newer = data.candles("1h", replace(query, updated_since=since)).table
        assert newer.to_pylist() == [row for row in rows if row["updated_at"] >= since], query


def check_series(data: CandleData, stored: list[Row]) -> None:
    starts: dict[tuple[str, str], list[datetime]] = {}
    for row in stored:
        starts.setdefault((row["symbol"], row["exchange"]), []).append(row["window_start"])
    assert [(each.symbol, each.exchange, each.first_window, each.newest_window) for each in data.series("1h")] == [
        (*series, min(times), max(times)) for series, times in sorted(starts.items())
    ]


def test_the_newest_candles_are_those_of_the_newest_windows(settings: Settings, data: CandleData) -> None:
    """Another writer may store a wrong date: partitions and dates do not decide."""
    hours = [FIRST + number * HOUR.length for number in range(30)]
    rows = [candle(HOUR, hour, str(number + 1)) for number, hour in enumerate(hours)]
    # In the partition of the second day, but older than the newest windows of the first day.
    rows[3]["window_date"] = rows[-1]["window_date"]
    write_candles(settings, HOUR, *rows[:20])
    write_candles(settings, HOUR, *rows[20:])
    data.refresh()
    for newest in (1, 5, 15, 28):
        found = data.candles("1h", CandleQuery("BTC", "X", newest=newest)).table
        assert found["window_start"].to_pylist() == hours[-newest:]


@pytest.mark.parametrize("missing", [{30}, {4, 5, 17}], ids=["no gap", "gaps"])
def test_pages_of_filled_candles_of_one_file_equal_the_whole_answer(
    settings: Settings, data: CandleData, missing: set[int]
) -> None:
    hours = [FIRST + number * HOUR.length for number in range(20)]
    write_candles(settings, HOUR, *(candle(HOUR, hour) for number, hour in enumerate(hours) if number not in missing))
    data.refresh()
    query = CandleQuery("BTC", "X", FIRST, FIRST + timedelta(hours=20), fill="previous")
    found = pages(data, query, 3)
    assert found == data.candles("1h", query).table.to_pylist()
    assert {number for number, row in enumerate(found) if row["filled"]} == missing - {30}


def test_the_count_of_one_series_is_bounded_by_its_windows(
    settings: Settings, data: CandleData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the series of the files are not known."""
    monkeypatch.setattr(data, "_scan_series", lambda _: None)
    write_candles(settings, HOUR, *(candle(HOUR, FIRST + HOUR.length, symbol=name) for name in "ABCDE"))
    data.refresh()
    assert data.count("1h", CandleQuery("A", "X")) == 1
    assert data.count("1h", CandleQuery("A")) == 5


def test_a_table_lacks_a_series_only_if_all_its_files_are_known(settings: Settings, data: CandleData) -> None:
    def lacks(symbol: str) -> bool:
        index = data.index("1h")
        assert index is not None
        return data.lacks_series("1h", index, symbol, "X")

    write_candles(settings, HOUR, candle(HOUR, FIRST, symbol="BTC"))
    data.refresh()
    assert [lacks(symbol) for symbol in ("BTC", "ETH")] == [False, True]
    write_candles(settings, HOUR, candle(HOUR, FIRST, symbol="ETH"))
    # The index is newer than the series.
    data._refresher.refresh()
    assert [lacks(symbol) for symbol in ("ETH", "LTC")] == [False, False]
    data.refresh()
    assert [lacks(symbol) for symbol in ("ETH", "LTC")] == [False, True]
