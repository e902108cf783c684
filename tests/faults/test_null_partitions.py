"""Rows of mapped tables with null partition values: counted as rejected, and no run fails or misses a late trade."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from ohlcv.model.intervals import Range, from_microseconds
from ohlcv.model.source_hours import format_hours, hour_number
from ohlcv.quality.validator import validate
from support.harness import at, trade
from support.mapped_tables import BY_DAY, BY_HOUR, UNPARTITIONED, MappedHarness, Shape
from support.reading_all import readers_of_trades
from support.reference_model import Trade

pytestmark = pytest.mark.faults
HOUR = timedelta(hours=1)
NOON = at("2026-03-01 12:00")
ONE = NOON + HOUR

# The date and the hour of a trade in columns of their own.
BY_COLUMNS = Shape(
    columns=(
        "pair STRING, venue STRING, id STRING, us BIGINT, price DOUBLE, quantity DOUBLE, seq BIGINT, dt DATE, hr INT"
    ),
    partitions="PARTITIONED BY (dt, hr)",
    mapping="""
timestamp: {column: us, unit: us}
price: price
quantity: quantity
symbol: pair
exchange: venue
trade_id: id
source_sequence: seq
exchange_date: dt
exchange_hour: hr
""",
    row=lambda each: {
        "pair": each.symbol,
        "venue": each.exchange,
        "id": each.trade_id,
        "us": each.timestamp,
        "price": None if each.price is None else float(each.price),
        "quantity": None if each.quantity is None else float(each.quantity),
        "seq": each.source_sequence,
        "dt": each.exchange_date,
        "hr": each.exchange_hour,
    },
)


@dataclass(frozen=True)
class Nulls:
    """Changes of a row that make partition values null, and what runs count for them."""

    shape: Shape
    rows: tuple[dict[str, Any], ...]
    rejected: dict[str, int]


CASES = {
    "hour of the timestamp": Nulls(
        BY_HOUR, ({"ts": None}, {"pair": None, "ts": None}, {"pair": None}), {"no_hour": 2, "null_key": 1}
    ),
    "day of the timestamp": Nulls(BY_DAY, ({"time of trade": None}, {"select": None}), {"no_hour": 1, "null_key": 1}),
    "unpartitioned": Nulls(UNPARTITIONED, ({"ns": None}, {"id": None}), {"no_hour": 1, "null_key": 1}),
    "date and hour": Nulls(
        BY_COLUMNS,
        ({"dt": None}, {"hr": None}, {"dt": None, "hr": None}, {"dt": None, "hr": None, "us": None}, {"us": None}),
        {"no_hour": 4, "null_key": 1},
    ),
}


def some_trades(begin: datetime, first: int = 0) -> list[Trade]:
    return [
        trade(begin + timedelta(minutes=n, seconds=n), f"{100 + n}.5", trade_id=str(n), message_id=None, ingested=ONE)
        for n in range(first, first + 3)
    ]


@pytest.mark.parametrize("nulls", CASES.values(), ids=CASES)
def test_rows_with_null_partition_values_are_rejected_and_late_trades_beside_them_are_built(
    spark: SparkSession, tmp_path: Path, nulls: Nulls
) -> None:
    harness = MappedHarness(spark, tmp_path / "home", nulls.shape)
    old = NOON - 30 * HOUR
    harness.load(some_trades(old), some_trades(NOON))
    harness.build("1m", old, ONE, rebuild_pending=True)
    row = nulls.shape.row(some_trades(NOON, 20)[0])
    wrong = [row | each for each in nulls.rows]
    harness.append_rows(wrong)
    report = harness.build("1m", NOON, ONE, rebuild_pending=True)
    assert (report["rejected"], report["repaired_hours"], report["owed_hours"]) == (nulls.rejected, "", "")

    # In one commit with late trades, and in one file where no partition separates them.
    late = some_trades(old, 10)
    harness.append_rows([*wrong, *map(nulls.shape.row, late)])
    harness.trades += late
    report = harness.build("1m", NOON, ONE, rebuild_pending=True)
    twice = {reason: 2 * count for reason, count in nulls.rejected.items()}
    assert (report["rejected"], report["repaired_hours"]) == (twice, format_hours([hour_number(old)]))
    expected = harness.expected("1m", (old, ONE)).candles
    assert len(expected) == 9
    assert harness.candles("1m") == expected
    # A backfill counts them as well, and every reader leaves them out.
    assert harness.build("1d", at("2026-03-01 00:00"), at("2026-03-02 00:00"))["rejected"] == twice
    results = {name: read() for name, read in readers_of_trades(harness.settings, Range(NOON, ONE)).items()}
    assert results["newest trade"] == from_microseconds(harness.trades[5].timestamp or 0)
    findings = validate(harness.settings, harness.settings.timeframe("1m"), Range(NOON, ONE)).findings
    assert {each.rule for each in findings} <= {"few_trades_are_rejected"}
