"""Data contract of the tables and the differences reported for a table that does not meet it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from ohlcv.model.table_contracts import (
    CANDLE_COLUMNS,
    KEY,
    MEASURE_COLUMNS,
    VALUES,
    TableContract,
    TableShape,
    contract_differences,
)
from ohlcv.model.timeframes import get_timeframe
from support.default_tables import TRADES, candles_contract, contracts

MINUTE = candles_contract(get_timeframe("1m"))


def shape_of(contract: TableContract) -> TableShape:
    """Return the shape of a table that meets the contract."""
    return TableShape(
        columns=tuple((column.name, column.type) for column in contract.columns),
        partitions=tuple(f"{each.transform}({each.column})" for each in contract.partitions),
        format_version=2,
    )


@pytest.mark.parametrize("contract", list(contracts()), ids=lambda contract: contract.name)
def test_a_table_that_meets_its_contract_has_no_differences(contract: TableContract) -> None:
    assert contract_differences(shape_of(contract), contract) == []


@pytest.mark.parametrize("contract", list(contracts()), ids=lambda contract: contract.name)
def test_additional_columns_and_another_order_are_no_differences(contract: TableContract) -> None:
    shape = shape_of(contract)
    columns = (("note", "string"), *reversed(shape.columns), ("more", "struct<1: a: optional int>"))
    assert contract_differences(replace(shape, columns=columns), contract) == []


def test_key_and_values_are_all_columns_except_the_write_times() -> None:
    assert [*KEY, *VALUES, "created_at", "updated_at"] == [column.name for column in CANDLE_COLUMNS]


def extended_shape() -> TableShape:
    """Return the shape of a table of candles with measures."""
    shape = shape_of(MINUTE)
    return replace(shape, columns=(*shape.columns, *((column.name, column.type) for column in MEASURE_COLUMNS)))


def test_a_table_has_all_measures_or_none() -> None:
    extended = extended_shape()
    assert contract_differences(extended, MINUTE) == []
    for name, kind in extended.columns[len(CANDLE_COLUMNS) :]:
        others = tuple(column for column in extended.columns if column[0] != name)
        assert contract_differences(replace(extended, columns=others), MINUTE) == [f"column {name} is missing"]
        as_double = (*others, (name, "double"))
        assert contract_differences(replace(extended, columns=as_double), MINUTE) == [
            f"column {name} is double, not {kind}"
        ]


def test_a_column_that_differs_from_a_measure_only_in_case_is_a_difference() -> None:
    shape = shape_of(MINUTE)
    columns = (*shape.columns, ("Quote_Volume", "double"))
    assert contract_differences(replace(shape, columns=columns), MINUTE) == ["column Quote_Volume differs only in case"]


def test_only_the_volume_column_may_be_widened() -> None:
    assert contract_differences(_shape_with_type("volume", "decimal(38, 8)"), MINUTE) == []
    assert contract_differences(_shape_with_type("volume", "decimal(28, 8)"), MINUTE) == [
        "column volume is decimal(28, 8), not decimal(18, 8)"
    ]
    assert contract_differences(_shape_with_type("vwap", "decimal(38, 8)"), MINUTE) == [
        "column vwap is decimal(38, 8), not decimal(18, 8)"
    ]
    assert contract_differences(
        replace(shape_of(TRADES), columns=tuple(_columns_with_type(shape_of(TRADES), "price", "decimal(38, 8)"))),
        TRADES,
    ) == ["column price is decimal(38, 8), not decimal(18, 8)"]


def test_the_hour_of_a_trade_may_have_64_bits() -> None:
    columns = tuple(_columns_with_type(shape_of(TRADES), "exchange_hour", "long"))
    assert contract_differences(replace(shape_of(TRADES), columns=columns), TRADES) == []


def _columns_with_type(shape: TableShape, name: str, kind: str) -> list[tuple[str, str]]:
    return [(each, kind if each == name else found) for each, found in shape.columns]


def _shape_with_type(name: str, kind: str) -> TableShape:
    return replace(shape_of(MINUTE), columns=tuple(_columns_with_type(shape_of(MINUTE), name, kind)))


Change = Callable[[TableShape], TableShape]


@pytest.mark.parametrize(
    ("change", "differences"),
    [
        (lambda shape: replace(shape, columns=shape.columns[:-1]), ["column updated_at is missing"]),
        (
            lambda shape: replace(shape, columns=(*shape.columns, ("Symbol", "string"))),
            ["column Symbol differs only in case"],
        ),
        (
            lambda shape: replace(
                shape, columns=tuple(("average", kind) if n == "vwap" else (n, kind) for n, kind in shape.columns)
            ),
            ["column vwap is missing", "unexpected column average"],
        ),
        (lambda shape: replace(shape, partitions=()), ["partitioned by nothing, not day(window_date)"]),
        (
            lambda shape: replace(shape, partitions=("month(window_date)",)),
            ["partitioned by month(window_date), not day(window_date)"],
        ),
        (
            lambda shape: replace(shape, partitions=("day(window_date)", "identity(symbol)")),
            ["partitioned by day(window_date), identity(symbol), not day(window_date)"],
        ),
        (lambda shape: replace(shape, format_version=1), ["format version 1, not 2"]),
        (
            lambda shape: TableShape((), (), 3),
            [
                *(f"column {name} is missing" for name in MINUTE.column_names),
                "partitioned by nothing, not day(window_date)",
                "format version 3, not 2",
            ],
        ),
    ],
)
def test_every_difference_is_reported(change: Change, differences: list[str]) -> None:
    assert contract_differences(change(shape_of(MINUTE)), MINUTE) == differences


def test_every_changed_column_type_is_reported() -> None:
    for contract, kind in product(contracts(), ("string", "double", "timestamp")):
        for column in contract.columns:
            if column.type != kind:
                found = replace(
                    shape_of(contract), columns=tuple(_columns_with_type(shape_of(contract), column.name, kind))
                )
                assert contract_differences(found, contract) == [f"column {column.name} is {kind}, not {column.type}"]
