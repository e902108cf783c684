"""Columns of the contract, computed by DuckDB from columns of other types."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ohlcv.model.trade_mapping import COLUMNS_WITHOUT_SIDE, DEFAULT_MAPPING, Filter, Source, TradeMapping, Unit
from ohlcv.readers.mapped_columns import AMOUNT_FAULT
from support.mapped_trades import project, reference_amount

SOURCES = {
    "timestamp": Source("ts", unit="us"),
    "price": Source("px"),
    "quantity": Source("px"),
    "symbol": Source(constant="it's"),
    "exchange": Source('the "venue"'),
    "trade_id": Source("id"),
}
KINDS = {"ts": "long", "px": "double", 'the "venue"': "string", "id": "long"}


def table(values: Any, kind: pa.DataType) -> pa.Table:
    amounts = pa.array(values, kind)
    ones = np.ones(len(amounts), np.int64)
    return pa.table({"ts": ones, "px": amounts, 'the "venue"': pa.array(["x"] * len(amounts)), "id": ones})


def seeded_doubles(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return doubles of all magnitudes, many of them exactly or nearly between two amounts."""
    chance = np.random.default_rng(11)
    share = count // 5
    special = [0.0, -0.0, 5e-9, 5e-324, 1e10, -1e10, 1.7976931348623157e308, math.nan, math.inf, -math.inf]
    special += [math.nextafter(value, direction) for value in (5e-9, 1e-9, 1e10) for direction in (0, math.inf)]
    return np.concatenate(
        [
            special,
            10 ** chance.uniform(-12, 10.3, share),
            np.round(10 ** chance.uniform(-9, 10, share), 9),
            (np.floor(chance.uniform(0, 10**9, share)) + 0.5) / 10**8,
            np.round(chance.uniform(0, 10**6, share), 8) + 5e-9,
            chance.integers(0, 2**64, share, dtype=np.uint64).view(np.float64),
        ]
    )


def test_doubles_are_rounded_from_their_shortest_text() -> None:
    values = seeded_doubles(1_000_000)
    found = project(table(values, pa.float64()), TradeMapping(SOURCES), KINDS)
    prices = found["price"].to_pylist()
    assert list(zip(prices, found[AMOUNT_FAULT].to_pylist(), strict=True)) == list(
        map(reference_amount, values.tolist())
    )
    # The values are useful only if the direct conversion is wrong for some of them.
    direct = pa.array(values[100:1000]).cast(pa.decimal128(38, 8), safe=False).to_pylist()
    assert direct != prices[100:1000]


@pytest.mark.parametrize(
    ("stored", "expected", "fault"),
    [
        ("1.000000005", "1.00000001", None),
        ("1.0000000049999999", "1", None),
        ("-1.000000005", "-1.00000001", None),
        ("0.000000004", "0", None),
        ("9999999999.999999994", "9999999999.99999999", None),
        ("9999999999.999999995", None, "overflow"),
        ("-10000000000", None, "overflow"),
        (None, None, None),
    ],
)
def test_decimals_are_rounded_half_up(stored: str | None, expected: str | None, fault: str | None) -> None:
    value = None if stored is None else Decimal(stored)
    found = project(table([value], pa.decimal128(38, 18)), TradeMapping(SOURCES), {**KINDS, "px": "decimal(38, 18)"})
    assert found["price"].to_pylist() == [None if expected is None else Decimal(expected)]
    assert found[AMOUNT_FAULT].to_pylist() == [fault]


@pytest.mark.parametrize(
    ("unit", "kind", "stored", "expected"),
    [
        ("ns", pa.int64(), [1_999, -1, -1_000, -1_001, 2**63 - 1], [1, -1, -1, -2, (2**63 - 1) // 1000]),
        ("us", pa.int64(), [7, None], [7, None]),
        ("ms", pa.int64(), [7, -7, 2**60], [7_000, -7_000, None]),
        ("s", pa.int32(), [7, -7], [7_000_000, -7_000_000]),
        (None, pa.timestamp("us"), [datetime(1970, 1, 1, 0, 0, 1, 5, UTC)], [1_000_005]),
        (None, pa.timestamp("us", "UTC"), [datetime(1970, 1, 1, 0, 0, 1, 5, UTC)], [1_000_005]),
    ],
)
def test_times_are_microseconds(unit: Unit | None, kind: pa.DataType, stored: list[Any], expected: list[Any]) -> None:
    rows = table([1.0] * len(stored), pa.float64()).set_column(0, "ts", pa.array(stored, kind))
    mapping = TradeMapping({**SOURCES, "timestamp": Source("ts", unit=unit)})
    assert project(rows, mapping, KINDS)["timestamp"].to_pylist() == expected


def test_constants_ids_and_absent_columns() -> None:
    (row,) = project(table([1.5], pa.float64()), TradeMapping(SOURCES), KINDS).to_pylist()
    assert row == dict.fromkeys((*COLUMNS_WITHOUT_SIDE, AMOUNT_FAULT)) | {
        "symbol": "it's",
        "exchange": "x",
        "trade_id": "1",
        "timestamp": 1,
        "price": Decimal("1.5"),
        "quantity": Decimal("1.5"),
    }


def test_the_columns_have_the_types_of_the_contract() -> None:
    found = project(table([1.5], pa.float64()), TradeMapping(SOURCES), KINDS).drop_columns(AMOUNT_FAULT)
    contract = pa.schema([(name, found.schema.field(name).type) for name in COLUMNS_WITHOUT_SIDE])
    kinds = {"exchange_date": pa.date32(), "exchange_hour": pa.int32(), "price": pa.decimal128(18, 8)}
    assert found.schema == contract
    assert {name: contract.field(name).type for name in kinds} == kinds
    assert DEFAULT_MAPPING.columns_read(with_side=False) == tuple(contract.names)


@pytest.mark.parametrize(
    ("condition", "selected"),
    [
        (Filter("c", "=", ("it's",)), {"it's"}),
        (Filter("c", "in", ("a", "it's")), {"a", "it's"}),
        (Filter("c", "is null"), {None}),
        (Filter("c", "is not null"), {"a", "it's"}),
        (Filter("n", "=", (2,)), {"it's"}),
        (Filter("b", "=", (True,)), {"a"}),
        (Filter("d", "in", (date(2026, 1, 1), date(2026, 1, 2))), {"a", "it's"}),
    ],
)
def test_filters_select_rows(condition: Filter, selected: set[str | None]) -> None:
    rows = table([1.0] * 3, pa.float64())
    for name, values in {
        "c": ["a", "it's", None],
        "n": [1, 2, None],
        "b": [True, False, None],
        "d": [date(2026, 1, 1), date(2026, 1, 2), None],
    }.items():
        rows = rows.append_column(name, pa.array(values))
    mapping = TradeMapping({**SOURCES, "exchange": Source("c")}, filters=(condition,))
    assert set(project(rows, mapping, {**KINDS, "c": "string"})["exchange"].to_pylist()) == selected


@pytest.mark.parametrize(
    ("source", "stored", "sides"),
    [
        (Source("taker"), pa.array(["BUY", "SELL", "buy", "", None]), ["BUY", "SELL", None, None, None]),
        (Source("taker", buy="b'", sell="S"), pa.array(["b'", "S", "BUY", "s"]), ["BUY", "SELL", None, None]),
        (Source("taker", buy=False, sell=True), pa.array([False, True, None]), ["BUY", "SELL", None]),
        (Source("taker", buy=1, sell=-1), pa.array([1, -1, 0], pa.int32()), ["BUY", "SELL", None]),
        (Source("taker", buy=2**40, sell=2), pa.array([1, 2, None], pa.int32()), [None, "SELL", None]),
    ],
    ids=["texts of the contract", "texts", "booleans", "whole numbers", "a number that the column cannot hold"],
)
def test_a_side_has_the_values_of_the_mapping(source: Source, stored: pa.Array, sides: list[str | None]) -> None:
    rows = table([1.0] * len(stored), pa.float64()).append_column("taker", stored)
    mapping = TradeMapping({**SOURCES, "side": source})
    assert project(rows, mapping, KINDS, with_side=True)["side"].to_pylist() == sides


def test_a_mapping_without_a_side_has_none() -> None:
    (row,) = project(table([1.0], pa.float64()), TradeMapping(SOURCES), KINDS, with_side=True).to_pylist()
    assert row["side"] is None
