"""Mappings of trades: the check against a table, the fingerprint, and the bounds of time predicates."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from ohlcv.model.table_contracts import TRADE_COLUMNS, TableShape, contract_differences
from ohlcv.model.trade_mapping import (
    DEFAULT_MAPPING,
    MAPPED_COLUMNS,
    Filter,
    Source,
    TradeMapping,
    Unit,
    mapping_problems,
)
from support.default_tables import TRADES

SOURCES = {
    "timestamp": Source("ts", unit="ms"),
    "price": Source("px"),
    "quantity": Source("qty"),
    "symbol": Source(constant="BTC-USD"),
    "exchange": Source("venue"),
    "trade_id": Source("id"),
}
MAPPING = TradeMapping(SOURCES)
COLUMNS = {"ts": "long", "px": "double", "qty": "decimal(38, 18)", "venue": "string", "id": "long", "more": "string"}


def test_the_default_mapping_reads_the_contract() -> None:
    assert mapping_problems(DEFAULT_MAPPING, {column.name: column.type for column in TRADE_COLUMNS}) == []
    assert DEFAULT_MAPPING.source_columns == MAPPED_COLUMNS
    assert DEFAULT_MAPPING.fingerprint() == ""
    assert TRADES.mapping.is_default


def test_only_the_columns_of_a_mapping_are_compared() -> None:
    assert mapping_problems(MAPPING, COLUMNS) == []
    shape = TableShape(tuple(COLUMNS.items()), ("day(ts)",), 3)
    assert contract_differences(shape, replace(TRADES, mapping=MAPPING)) == []
    assert contract_differences(shape, TRADES) != []


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"px": None}, "column px is missing"),
        ({"px": None, "PX": "double"}, "column px is missing (there is PX)"),
        ({"TS": "long"}, "columns ts and TS differ only in case"),
        ({"px": "float"}, "price: column px is float, not decimal or double"),
        ({"px": "long"}, "price: column px is long, not decimal or double"),
        ({"qty": "string"}, "quantity: column qty is string, not decimal or double"),
        ({"ts": "timestamptz"}, "timestamp: column ts is timestamptz: remove its unit"),
        ({"ts": "string"}, "timestamp: column ts is string, not int or long or timestamp or timestamptz"),
        ({"venue": "int"}, "exchange: column venue is int, not string"),
        ({"id": "uuid"}, "trade_id: column id is uuid, not string or int or long"),
    ],
)
def test_a_table_that_a_mapping_cannot_read(columns: dict[str, str | None], found: str) -> None:
    shape = {name: kind for name, kind in (COLUMNS | columns).items() if kind is not None}
    assert mapping_problems(MAPPING, shape) == [found]


@pytest.mark.parametrize(
    ("source", "kind", "found"),
    [
        (Source("more"), "string", None),
        (Source("more", buy=False, sell=True), "boolean", None),
        (Source("more", buy=1, sell=-1), "int", None),
        (Source("more", buy=1, sell=-1), "long", None),
        (Source("more"), "boolean", "column more is boolean, and BUY is a text: give the values of buy and sell"),
        (Source("more", buy=1, sell=0), "boolean", "column more is boolean, and 1 is a number: give the values of"),
        (Source("more", buy=True, sell=False), "long", "column more is long, and True is a boolean: give the values"),
        (Source("more"), "double", "column more is double, not string or boolean or int or long"),
    ],
)
def test_the_values_of_a_side_fit_its_column(source: Source, kind: str, found: str | None) -> None:
    problems = mapping_problems(TradeMapping({**SOURCES, "side": source}), {**COLUMNS, "more": kind})
    assert [problem[: len(f"side: {found}")] for problem in problems] == ([f"side: {found}"] if found else [])


def test_a_side_is_read_only_for_measures() -> None:
    mapping = TradeMapping({**SOURCES, "side": Source("taker")})
    assert mapping.columns_read(with_side=False) == MAPPING.source_columns
    assert mapping.source_columns == mapping.columns_read(with_side=True) == (*MAPPING.source_columns, "taker")
    filtered = replace(mapping, filters=(Filter("taker", "is not null"),))
    assert filtered.columns_read(with_side=False) == (*MAPPING.source_columns, "taker")
    assert DEFAULT_MAPPING.columns_read(with_side=False) == MAPPED_COLUMNS[:-1]
    assert MAPPED_COLUMNS[-1] == "side"


def test_a_number_needs_a_unit() -> None:
    mapping = TradeMapping({**SOURCES, "timestamp": Source("ts")})
    assert mapping_problems(mapping, COLUMNS) == [
        "timestamp: column ts is long: give its unit (s, ms, us or ns)",
    ]
    assert mapping_problems(mapping, {**COLUMNS, "ts": "timestamp"}) == []


@pytest.mark.parametrize(
    ("condition", "kind", "found"),
    [
        (Filter("more", "=", ("a",)), "string", None),
        (Filter("more", "in", (1, 2)), "int", None),
        (Filter("more", "=", (True,)), "boolean", None),
        (Filter("more", "=", (date(2026, 1, 31),)), "date", None),
        (Filter("more", "is null"), "timestamptz", None),
        (Filter("more", "=", ("a",)), "long", "filter: column more is long, and a is a text: correct the value"),
        (Filter("more", "=", (True,)), "string", "filter: column more is string, and True is a boolean: correct"),
        (Filter("more", "=", (1,)), "double", "filter: column more is double: only 'is: null' and 'is: not null'"),
        (Filter("other", "=", (1,)), "double", "column other is missing"),
    ],
)
def test_a_filter_fits_its_column(condition: Filter, kind: str, found: str | None) -> None:
    problems = mapping_problems(TradeMapping(SOURCES, filters=(condition,)), {**COLUMNS, "more": kind})
    assert [problem[: len(found or "")] for problem in problems] == ([found] if found else [])


def test_the_fingerprint_changes_with_every_part_of_a_mapping() -> None:
    different = [
        MAPPING,
        TradeMapping({**SOURCES, "timestamp": Source("ts", unit="us")}),
        TradeMapping({**SOURCES, "symbol": Source(constant="ETH-USD")}),
        TradeMapping({**SOURCES, "symbol": Source("BTC-USD")}),
        TradeMapping({**SOURCES, "message_id": Source("id")}),
        TradeMapping({**SOURCES, "side": Source("taker")}),
        TradeMapping({**SOURCES, "side": Source("taker", buy="b", sell="s")}),
        TradeMapping({**SOURCES, "side": Source("taker", buy=True, sell=False)}),
        TradeMapping({**SOURCES, "side": Source("taker", buy=1, sell=0)}),
        TradeMapping(SOURCES, every_row=True),
        TradeMapping(SOURCES, filters=(Filter("kind", "=", ("1",)),)),
        TradeMapping(SOURCES, filters=(Filter("kind", "=", (1,)),)),
        TradeMapping(SOURCES, filters=(Filter("kind", "is null"),)),
        TradeMapping(SOURCES, filters=(Filter("kind", "is not null"),)),
    ]
    assert len({mapping.fingerprint() for mapping in different} | {""}) == len(different) + 1


def test_the_fingerprint_does_not_depend_on_the_order_in_the_file() -> None:
    first, second = Filter("kind", "in", ("a", "b")), Filter("side", "is not null")
    one = TradeMapping(SOURCES, filters=(first, second))
    other = TradeMapping(dict(reversed(SOURCES.items())), filters=(second, Filter("kind", "in", ("b", "a"))))
    assert one.fingerprint() == other.fingerprint()
    # Stored in candle tables: it must not change.
    assert MAPPING.fingerprint() == "76976b2225bb1ed8"


@pytest.mark.parametrize(
    ("unit", "kind", "bounds"),
    [
        (None, "timestamptz", (1, 2_000_000)),
        ("us", "long", (1, 2_000_000)),
        ("ns", "long", (1_000, 2_000_000_999)),
        # The first millisecond or second at or after the start, the last one before the end.
        ("ms", "long", (1, 2_000)),
        ("s", "int", (1, 2)),
    ],
)
def test_time_predicates_use_the_unit_of_the_column(unit: Unit | None, kind: str, bounds: tuple[int, int]) -> None:
    mapping = TradeMapping({**SOURCES, "timestamp": Source("ts", unit=unit)})
    assert mapping.time_bounds(kind, 1, 2_000_001) == bounds


def test_time_predicates_stay_within_the_type_of_the_column() -> None:
    mapping = TradeMapping({**SOURCES, "timestamp": Source("ts", unit="ns")})
    year_3000 = 32_503_680_000_000_000
    first, last = mapping.time_bounds("long", year_3000, year_3000 + 1)
    assert last == 2**63 - 1 < first
    assert mapping.time_bounds("long", -year_3000, year_3000) == (-(2**63), 2**63 - 1)
