"""Schema drift of a mapped trades table: as of the contract's table, for the columns that its mapping names."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range, from_microseconds
from support.harness import at, trade
from support.mapped_tables import BY_HOUR, UNPARTITIONED, MappedHarness, Shape
from support.reading_all import check_readers, readers_of_trades
from support.reference_model import Trade
from support.source_drift import apply

pytestmark = pytest.mark.faults
NOON, ONE = at("2026-03-01 12:00"), at("2026-03-01 13:00")
REMEDY = "correct the mapping"


def some_trades(first: int) -> list[Trade]:
    return [
        trade(NOON + timedelta(minutes=n, seconds=n), f"{100 + n}.5", trade_id=str(n), message_id=None)
        for n in range(first, first + 3)
    ]


def built(spark: SparkSession, home: Path, shape: Shape) -> MappedHarness:
    harness = MappedHarness(spark, home, shape)
    harness.load(some_trades(0))
    run(harness)
    return harness


def run(harness: MappedHarness) -> dict[str, Any]:
    return harness.build("1m", NOON, ONE, rebuild_pending=True)


def check(harness: MappedHarness) -> None:
    """Check that candles are exact, and that every reader agrees."""
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles
    newest = max(each.timestamp or 0 for each in harness.trades)
    # Nanoseconds are cut to microseconds.
    assert check_readers(harness.settings, Range(NOON, ONE)) == from_microseconds(newest)


HARMLESS = {
    "columns added": (BY_HOUR, "ALTER TABLE {trades} ADD COLUMN note STRING FIRST"),
    "column that no mapping names renamed": (
        replace(BY_HOUR, columns=f"{BY_HOUR.columns}, note STRING"),
        "ALTER TABLE {trades} RENAME COLUMN note TO remark",
    ),
    "columns reordered": (BY_HOUR, "ALTER TABLE {trades} ALTER COLUMN px FIRST"),
    "int to bigint": (UNPARTITIONED, "ALTER TABLE {trades} ALTER COLUMN sequence TYPE BIGINT"),
    "decimal widened": (UNPARTITIONED, "ALTER TABLE {trades} ALTER COLUMN quantity TYPE DECIMAL(30, 8)"),
}


@pytest.mark.parametrize(("shape", "change"), HARMLESS.values(), ids=HARMLESS)
def test_a_run_after_a_change_that_the_mapping_can_still_read_is_exact(
    spark: SparkSession, tmp_path: Path, shape: Shape, change: str
) -> None:
    harness = built(spark, tmp_path / "home", shape)
    apply(harness, [change])
    assert run(harness)["candles"]["updated"] == 0
    harness.load(some_trades(30))
    run(harness)
    check(harness)


REFUSED = {
    "price renamed": (
        "ALTER TABLE {trades} RENAME COLUMN px TO price",
        "column px is missing",
        "ALTER TABLE {trades} RENAME COLUMN price TO px",
    ),
    "sequence dropped": (
        "ALTER TABLE {trades} DROP COLUMN seq",
        "column seq is missing",
        "ALTER TABLE {trades} ADD COLUMN seq BIGINT",
    ),
}


@pytest.mark.parametrize(("change", "problem", "repair"), REFUSED.values(), ids=REFUSED)
def test_a_changed_column_of_the_mapping_stops_every_reader_in_one_line_and_the_run_after_the_repair_is_exact(
    spark: SparkSession, tmp_path: Path, change: str, problem: str, repair: str
) -> None:
    harness = built(spark, tmp_path / "home", BY_HOUR)
    check_readers(harness.settings, Range(NOON, ONE))
    harness.load(some_trades(10))
    before = harness.table("1m").metadata_location
    apply(harness, [change])
    attempts = {"run": lambda: run(harness), **readers_of_trades(harness.settings, Range(NOON, ONE))}
    # The ledger reads trades only where a publication changed candles.
    del attempts["ledger"]
    for name, attempt in attempts.items():
        with pytest.raises(OhlcvError) as error:
            attempt()
        assert problem in str(error.value), name
        assert str(error.value).startswith("market_data.gold_crypto_trades does not fit its mapping"), name
        assert str(error.value).endswith(REMEDY), name
        assert "\n" not in str(error.value)
    assert harness.table("1m").metadata_location == before
    apply(harness, [repair])
    run(harness)
    check(harness)
