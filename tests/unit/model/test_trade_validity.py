"""Conditions of a valid trade, evaluated in DuckDB and parsed by pyiceberg."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import duckdb
import pytest
from pyiceberg.expressions.parser import parse

from ohlcv.model.trade_validity import AMOUNT_FAULTS, NO_HOUR, VALIDITY_CONDITIONS, WRONG_PARTITION, validity_condition

VALID: dict[str, Any] = {
    "symbol": "BTC-USD",
    "exchange": "coinbase",
    "timestamp": 1_772_366_400_000_000,
    "trade_id": "1",
    "message_id": "m1",
    "price": Decimal("0.00000001"),
    "quantity": Decimal("0.00000001"),
}
# Changed fields -> reasons of the conditions that the trade does not meet.
CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"trade_id": None}, []),
    ({"message_id": None}, []),
    ({"trade_id": None, "message_id": None}, ["null_key"]),
    ({"symbol": None}, ["null_key"]),
    ({"exchange": None}, ["null_key"]),
    ({"timestamp": None}, ["null_key"]),
    ({"price": None}, ["bad_price"]),
    ({"price": Decimal(0)}, ["bad_price"]),
    ({"price": Decimal(-1)}, ["bad_price"]),
    ({"quantity": None}, ["bad_quantity"]),
    ({"quantity": Decimal(0)}, ["bad_quantity"]),
    ({"quantity": Decimal("-0.00000001")}, ["bad_quantity"]),
    ({"symbol": None, "price": None, "quantity": Decimal(0)}, ["null_key", "bad_price", "bad_quantity"]),
]
HAS_IDENTITY = "(trade_id IS NOT NULL OR message_id IS NOT NULL)"


def is_met(condition: str, trade: dict[str, Any]) -> bool:
    """Return whether a filter with this condition would select the trade. Unknown (null) counts as not met."""
    columns = (
        "CAST($symbol AS VARCHAR) AS symbol, CAST($exchange AS VARCHAR) AS exchange,"
        "CAST($timestamp AS BIGINT) AS timestamp, CAST($trade_id AS VARCHAR) AS trade_id,"
        "CAST($message_id AS VARCHAR) AS message_id, CAST($price AS DECIMAL(18, 8)) AS price,"
        "CAST($quantity AS DECIMAL(18, 8)) AS quantity"
    )
    return bool(duckdb.execute(f"SELECT 1 FROM (SELECT {columns}) WHERE {condition}", trade).fetchall())


@pytest.mark.parametrize(("changes", "reasons"), CASES, ids=[str(sorted(changes)) for changes, _ in CASES])
def test_each_condition_rejects_its_kind_of_trade(changes: dict[str, Any], reasons: list[str]) -> None:
    trade = {**VALID, **changes}
    failed = [
        reason
        for reason, condition in VALIDITY_CONDITIONS.items()
        if not is_met(condition.format(identity=HAS_IDENTITY), trade)
    ]
    assert failed == reasons
    assert is_met(validity_condition(), trade) == (not reasons)


def test_the_identity_condition_can_be_replaced() -> None:
    without_trade_id = {**VALID, "trade_id": None}
    assert is_met(validity_condition(), without_trade_id)
    assert not is_met(validity_condition("trade_id IS NOT NULL"), without_trade_id)


def test_pyiceberg_parses_the_condition() -> None:
    parse(validity_condition())


def test_the_reasons_in_reports_do_not_change() -> None:
    reasons = [NO_HOUR, *AMOUNT_FAULTS, *VALIDITY_CONDITIONS, WRONG_PARTITION]
    amounts = ["not_a_number", "infinite", "overflow"]
    assert reasons == ["no_hour", *amounts, "null_key", "bad_price", "bad_quantity", "wrong_partition"]
