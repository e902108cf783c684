"""Schema drift of the trades table: runs go on with exact candles, or stop in one line and are exact after the repair.

Spark reads a snapshot with the schema of its commit, so each change is followed by a run before any further commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog

from ohlcv.iceberg.tables import open_catalog
from ohlcv.ingest.loader import load_trades
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range, from_microseconds
from ohlcv.readers.latest import newest_trade
from support.harness import Harness, at, trade
from support.reading_all import check_readers, readers_of_trades
from support.reference_model import Trade
from support.source_drift import Drift, append_drifted, apply
from support.trade_files import write_generic

pytestmark = pytest.mark.faults
DAY = at("2026-03-01 00:00")
NOON = at("2026-03-01 12:00")
ONE = at("2026-03-01 13:00")
HOUR = timedelta(hours=1)
TABLE = "market_data.gold_crypto_trades"
REMEDY = "undo this change, or map other columns (OHLCV_TRADES_MAPPING)"

HARMLESS = {
    "column added": Drift(("ALTER TABLE {trades} ADD COLUMN note STRING",)),
    "column added in front": Drift(("ALTER TABLE {trades} ADD COLUMN fees DECIMAL(30, 4) FIRST",)),
    "columns reordered": Drift(
        (
            "ALTER TABLE {trades} ALTER COLUMN price FIRST",
            "ALTER TABLE {trades} ALTER COLUMN exchange_hour AFTER price",
            "ALTER TABLE {trades} ALTER COLUMN quantity AFTER vendor_data",
        )
    ),
    "int to bigint": Drift(("ALTER TABLE {trades} ALTER COLUMN exchange_hour TYPE BIGINT",)),
    "comment": Drift(("ALTER TABLE {trades} ALTER COLUMN price COMMENT 'in dollars'",)),
}


def renaming(name: str, other: str) -> Drift:
    return Drift(
        (f"ALTER TABLE {{trades}} RENAME COLUMN {name} TO {other}",),
        f"column {name} is missing; unexpected column {other}",
        (f"ALTER TABLE {{trades}} RENAME COLUMN {other} TO {name}",),
        {name: other},
    )


def copying(name: str, kind: str, value: str) -> tuple[str, ...]:
    """Return the repair of a column whose type cannot be changed back: a copy in a column of the contract."""
    return (
        f"ALTER TABLE {{trades}} RENAME COLUMN {name} TO other_{name}",
        f"ALTER TABLE {{trades}} ADD COLUMN {name} {kind}",
        f"UPDATE {{trades}} SET {name} = {value}",
    )


REFUSED = {
    "price renamed": renaming("price", "px"),
    "timestamp renamed": renaming("timestamp", "time_us"),
    "optional column renamed": renaming("vendor_data", "vendor"),
    "side renamed": renaming("side", "taker"),
    "optional column dropped": Drift(
        ("ALTER TABLE {trades} DROP COLUMN trade_conditions",),
        "column trade_conditions is missing",
        ("ALTER TABLE {trades} ADD COLUMN trade_conditions ARRAY<STRING>",),
    ),
    "decimal widened": Drift(
        ("ALTER TABLE {trades} ALTER COLUMN price TYPE DECIMAL(20, 8)",),
        "column price is decimal(20, 8), not decimal(18, 8)",
        copying("price", "DECIMAL(18, 8)", "CAST(other_price AS DECIMAL(18, 8))"),
    ),
    "scale of a decimal changed": Drift(
        (
            "ALTER TABLE {trades} RENAME COLUMN quantity TO old_quantity",
            "ALTER TABLE {trades} ADD COLUMN quantity DECIMAL(18, 4)",
            "UPDATE {trades} SET quantity = old_quantity",
        ),
        "column quantity is decimal(18, 4), not decimal(18, 8)",
        copying("quantity", "DECIMAL(18, 8)", "other_quantity"),
    ),
    "microseconds replaced by timestamps": Drift(
        (
            "ALTER TABLE {trades} RENAME COLUMN timestamp TO old_time",
            "ALTER TABLE {trades} ADD COLUMN timestamp TIMESTAMP",
            "UPDATE {trades} SET timestamp = timestamp_micros(old_time)",
        ),
        "column timestamp is timestamptz, not long",
        copying("timestamp", "BIGINT", "unix_micros(other_timestamp)"),
    ),
}


def some_trades(begin: datetime = NOON, count: int = 5, symbol: str = "BTC-USD") -> list[Trade]:
    return [
        trade(begin + timedelta(minutes=2 * n, seconds=n), f"{100 + n}.5", side="BUY", symbol=symbol)
        for n in range(count)
    ]


def built(harness: Harness) -> Harness:
    """Return the harness with an hour of candles of a scheduled run."""
    harness.load(some_trades(), some_trades(symbol="ETH-USD"))
    run(harness)
    return harness


def run(harness: Harness) -> dict[str, Any]:
    return harness.build("1m", NOON, ONE, rebuild_pending=True)


def check(harness: Harness) -> None:
    """Check that candles are exact, and that every reader agrees."""
    for timeframe, span in (("1m", (NOON, ONE)), ("1d", (DAY, DAY + 24 * HOUR))):
        assert harness.candles(timeframe) == harness.expected(timeframe, span).candles
    newest = max(each.timestamp or 0 for each in harness.trades)
    assert check_readers(harness.settings, Range(NOON, ONE)) == from_microseconds(newest)


@pytest.mark.parametrize("drift", HARMLESS.values(), ids=HARMLESS)
def test_a_run_after_a_change_that_keeps_all_columns_is_exact(harness: Harness, tmp_path: Path, drift: Drift) -> None:
    built(harness)
    apply(harness, drift.change)
    assert run(harness)["candles"] == dict.fromkeys(
        ("inserted", "updated", "deleted", "filled", "unchanged", "kept", "withheld"), 0
    )
    append_drifted(harness, drift, *some_trades(NOON + timedelta(minutes=31)))
    report = load_trades(harness.settings, [write_generic(tmp_path, "kraken,SOL-USD,1772368200000000,5,1,77")])
    assert report.loaded == 1
    harness.trades.append(trade(from_microseconds(1_772_368_200_000_000), "5", trade_id="77", symbol="SOL-USD"))
    assert run(harness)["repaired_hours"] == ""
    harness.build("1d", DAY, DAY + 24 * HOUR)
    check(harness)


@pytest.mark.parametrize("drift", REFUSED.values(), ids=REFUSED)
def test_a_changed_column_stops_every_reader_in_one_line_and_the_run_after_the_repair_is_exact(
    harness: Harness, tmp_path: Path, drift: Drift
) -> None:
    built(harness)
    check_readers(harness.settings, Range(NOON, ONE))
    before = states(open_catalog(harness.settings))
    apply(harness, drift.change)
    problem = f"{TABLE} does not match its contract: {drift.problem}: {REMEDY}"
    file = write_generic(tmp_path, "kraken,SOL-USD,1772368200000000,5,1,77")
    attempts = {
        "run": lambda: run(harness),
        "build": lambda: harness.build("1d", DAY, DAY + 24 * HOUR),
        "load": lambda: load_trades(harness.settings, [file]),
        **readers_of_trades(harness.settings, Range(NOON, ONE)),
    }
    # The ledger reads trades only where a publication changed candles.
    del attempts["ledger"]
    for name, attempt in attempts.items():
        with pytest.raises(OhlcvError) as error:
            attempt()
        assert str(error.value) == problem, name
    assert states(open_catalog(harness.settings)) == before

    if drift.renamed:
        # The owner goes on writing under the new name.
        append_drifted(harness, drift, *some_trades(NOON + timedelta(minutes=31)))
    apply(harness, drift.repair)
    run(harness)
    harness.build("1d", DAY, DAY + 24 * HOUR)
    check(harness)
    harness.load(some_trades(NOON + timedelta(minutes=43), 3))
    run(harness)
    harness.build("1d", DAY, DAY + 24 * HOUR)
    check(harness)


def states(catalog: Catalog) -> dict[str, str]:
    """Return the metadata file of every table but that of the trades."""
    tables = [catalog.load_table(name) for name in catalog.list_tables("market_data")]
    return {str(table.name()): table.metadata_location for table in tables if table.name()[-1] != TABLE.split(".")[1]}


UNITS = {
    "milliseconds": lambda microseconds: microseconds // 1_000,
    "seconds": lambda microseconds: microseconds // 1_000_000,
    "nanoseconds": lambda microseconds: microseconds * 1_000,
}


@pytest.mark.parametrize(("unit", "converted"), UNITS.items(), ids=UNITS)
def test_times_of_another_unit_change_no_candle_and_are_built_after_their_correction(
    harness: Harness, unit: str, converted: Callable[[int], int]
) -> None:
    built(harness)
    harness.build("1d", DAY, DAY + 24 * HOUR)
    good = some_trades(NOON + timedelta(minutes=31))
    wrong = [replace(each, timestamp=converted(each.timestamp or 0)) for each in good]
    # One writer computes the partition from the correct time, another one from the wrong number.
    harness.load(wrong)
    if unit != "nanoseconds":
        moved = [(each, from_microseconds(each.timestamp or 0)) for each in wrong]
        harness.load(
            replace(each, message_id=f"-{each.message_id}", exchange_date=time.date(), exchange_hour=time.hour)
            for each, time in moved
        )
    report = run(harness)
    assert report["rejected"] == {"wrong_partition": len(wrong)}
    if unit != "nanoseconds":
        assert report["notes"] == ["1 changed hours are older than the retention and are not built"]
    # The wrong trades are in the year 1970 or 58,000: they are no candle of this range.
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles
    assert newest_trade(harness.settings) == NOON + timedelta(minutes=8, seconds=4)
    check_readers(harness.settings, Range(NOON, ONE))

    harness.sql("DELETE FROM {trades} WHERE timestamp < 1000000000000000 OR timestamp > 4000000000000000")
    harness.trades = [
        each for each in harness.trades if each not in wrong and not (each.message_id or "").startswith("-")
    ]
    harness.load(good)
    assert run(harness)["rejected"] == {}
    harness.build("1d", DAY, DAY + 24 * HOUR)
    check(harness)


def test_a_column_that_allows_no_null_is_read_and_written_as_before(harness: Harness) -> None:
    built(harness)
    table = open_catalog(harness.settings).load_table(TABLE)
    with table.update_schema(allow_incompatible_changes=True) as update:
        for name in ("trade_id", "price", "exchange_hour"):
            update.update_column(name, required=True)
    assert run(harness)["rejected"] == {}
    harness.load(some_trades(NOON + timedelta(minutes=31)))
    run(harness)
    apply(harness, ["ALTER TABLE {trades} ALTER COLUMN price DROP NOT NULL"])
    run(harness)
    harness.build("1d", DAY, DAY + 24 * HOUR)
    check(harness)
