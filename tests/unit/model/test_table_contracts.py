"""The data contract, written out once more, and what is said about a table that differs from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from ohlcv.model.table_contracts import (
    CANDLE_COLUMNS,
    CANDLES_VIEW,
    KEY,
    LATEST_VIEW,
    TRADES,
    VALUES,
    TableContract,
    TableShape,
    candles_contract,
    contract_differences,
    contracts,
    view_statements,
)
from ohlcv.model.timeframes import TIMEFRAMES, get_timeframe

MINUTE = candles_contract(get_timeframe("1m"))


def shape(contract: TableContract) -> TableShape:
    """Give the shape of a table made by the contract."""
    return TableShape(
        columns=tuple((column.name, column.type) for column in contract.columns),
        partitions=tuple(f"{each.transform}({each.column})" for each in contract.partitions),
        format_version=2,
    )


@pytest.mark.parametrize("contract", list(contracts()), ids=lambda contract: contract.name)
def test_a_table_as_agreed_has_no_differences(contract: TableContract) -> None:
    assert contract_differences(shape(contract), contract) == []


def test_key_and_values_are_all_columns_but_the_write_times() -> None:
    assert [*KEY, *VALUES, "created_at", "updated_at"] == [column.name for column in CANDLE_COLUMNS]


def test_a_widened_volume_is_as_agreed_and_no_other_column_is() -> None:
    assert contract_differences(_retyped("volume", "decimal(38, 8)"), MINUTE) == []
    assert contract_differences(_retyped("volume", "decimal(28, 8)"), MINUTE) == [
        "column volume is decimal(28, 8), not decimal(18, 8)"
    ]
    assert contract_differences(_retyped("vwap", "decimal(38, 8)"), MINUTE) == [
        "column vwap is decimal(38, 8), not decimal(18, 8)"
    ]
    assert contract_differences(
        replace(shape(TRADES), columns=tuple(_with(shape(TRADES), "price", "decimal(38, 8)"))), TRADES
    ) == ["column price is decimal(38, 8), not decimal(18, 8)"]


def _with(of: TableShape, name: str, kind: str) -> list[tuple[str, str]]:
    return [(each, kind if each == name else found) for each, found in of.columns]


def _retyped(name: str, kind: str) -> TableShape:
    return replace(shape(MINUTE), columns=tuple(_with(shape(MINUTE), name, kind)))


Change = Callable[[TableShape], TableShape]


@pytest.mark.parametrize(
    ("change", "differences"),
    [
        (lambda of: replace(of, columns=of.columns[:-1]), ["column updated_at is missing"]),
        (
            lambda of: replace(of, columns=(*of.columns, ("note", "string"), ("more", "int"))),
            ["unexpected column note, more"],
        ),
        (
            lambda of: replace(
                of, columns=tuple(("average", kind) if n == "vwap" else (n, kind) for n, kind in of.columns)
            ),
            ["column vwap is missing", "unexpected column average"],
        ),
        (
            lambda of: replace(of, columns=(of.columns[1], of.columns[0], *of.columns[2:])),
            ["the columns stand in the order exchange, symbol, " + ", ".join(MINUTE.column_names[2:])],
        ),
        (lambda of: replace(of, partitions=()), ["partitioned by nothing, not day(window_date)"]),
        (
            lambda of: replace(of, partitions=("month(window_date)",)),
            ["partitioned by month(window_date), not day(window_date)"],
        ),
        (
            lambda of: replace(of, partitions=("day(window_date)", "identity(symbol)")),
            ["partitioned by day(window_date), identity(symbol), not day(window_date)"],
        ),
        (lambda of: replace(of, format_version=1), ["format version 1, not 2"]),
        (
            lambda of: TableShape((), (), 3),
            [
                *(f"column {name} is missing" for name in MINUTE.column_names),
                "partitioned by nothing, not day(window_date)",
                "format version 3, not 2",
            ],
        ),
    ],
)
def test_every_difference_is_named(change: Change, differences: list[str]) -> None:
    assert contract_differences(change(shape(MINUTE)), MINUTE) == differences


def test_every_single_change_of_a_column_is_found() -> None:
    for contract, kind in product(contracts(), ("string", "double", "timestamp")):
        for column in contract.columns:
            if column.type != kind:
                found = replace(shape(contract), columns=tuple(_with(shape(contract), column.name, kind)))
                assert contract_differences(found, contract) == [f"column {column.name} is {kind}, not {column.type}"]


def test_the_views_read_every_timeframe_and_stay_valid_when_one_volume_is_widened() -> None:
    statements = view_statements("iceberg")
    assert list(statements) == [CANDLES_VIEW, LATEST_VIEW]
    parts = statements[CANDLES_VIEW].split(" UNION ALL ")
    assert len(parts) == len(TIMEFRAMES)
    for of, part in zip(TIMEFRAMES.values(), parts, strict=True):
        assert part.startswith(f"SELECT '{of.name}' AS timeframe, symbol, exchange, window_start,")
        assert part.endswith(f" FROM iceberg.market_data.{of.table}")
        assert "CAST(volume AS decimal(38, 8)) AS volume" in part
    assert f"FROM iceberg.market_data.{CANDLES_VIEW})" in statements[LATEST_VIEW]
