"""Damaged data files: one changed bit is found or changes no value, is never written on, and can be repaired."""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from py4j.protocol import Py4JJavaError
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import FileScanTask, Table
from pyspark.errors import PySparkException

from ohlcv.iceberg.tables import open_catalog
from ohlcv.integrity.check import Selection, check_tables
from ohlcv.integrity.data_files import check_content
from ohlcv.integrity.findings import Damage
from ohlcv.integrity.repair import plan_repair, repair
from ohlcv.ledger.recording import record
from ohlcv.model.errors import OhlcvError
from ohlcv.readers.candles import read_candles
from spark_jobs.runtime.spark_errors import find_damage
from support.damaged_files import checksum_file, find_silent_change, flip_bit
from support.default_tables import NAMESPACE
from support.harness import Harness, at, trade
from support.maintenance import run_maintenance

pytestmark = pytest.mark.faults

DAY = at("2026-11-20 00:00")
HOUR = timedelta(hours=1)
SEED = int(os.environ.get("SEED") or 1)
# Changed bits of each file.
BITS = 300


def load_two_hours(harness: Harness) -> None:
    source = random.Random(SEED)
    prices = [f"{source.randrange(10**9) / 1000:.3f}" for _ in range(480)]
    harness.load([trade(DAY + timedelta(seconds=15 * number), price) for number, price in enumerate(prices)])


def path_of(task: FileScanTask) -> Path:
    return Path(task.file.file_path.removeprefix("file:").replace("//", "/"))


def damages(harness: Harness) -> list[Damage]:
    tables = Selection().choose(harness.settings)
    return [damage for report in check_tables(harness.settings, tables, None) for damage in report.damages]


def rows_of(table: Table, task: FileScanTask) -> pa.Table:
    return ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue()).to_table([task])


@pytest.mark.parametrize("kind", ["trades", "candles", "candles without checksum file"])
def test_random_changed_bits_of_a_data_file_are_found_or_change_no_value(harness: Harness, kind: str) -> None:
    load_two_hours(harness)
    harness.build("1m", DAY, DAY + 2 * HOUR)
    table = harness.table(None if kind == "trades" else "1m")
    task = next(iter(table.scan().plan_files()))
    file, rows = path_of(task), rows_of(table, task)
    if kind == "candles without checksum file":
        checksum_file(file).unlink()
    content, source, outcomes = file.read_bytes(), random.Random(SEED), Counter[str]()
    for bit in (source.randrange(len(content) * 8) for _ in range(BITS)):
        file.write_bytes(flip_bit(content, bit))
        try:
            check_content(table.io, table.schema(), table.spec(), task.file)
        except OhlcvError:
            outcomes["found"] += 1
            continue
        try:
            is_same = rows_of(table, task).equals(rows)
        except Exception:
            is_same = False
        assert is_same, f"bit {bit} of {kind} is not found and changes what readers see (SEED={SEED})"
        outcomes["changes no value"] += 1
    print(f"{kind}: {BITS} changed bits: {dict(outcomes)}")
    assert outcomes["found"]
    assert kind != "candles" or outcomes["found"] == BITS


def test_a_changed_value_stops_jobs_and_compaction_and_after_a_repair_the_candles_are_exact(harness: Harness) -> None:
    load_two_hours(harness)
    harness.build("1m", DAY, DAY + 2 * HOUR, rebuild_pending=True)
    record(harness.settings, harness.settings.timeframe("1m"))
    (task,) = harness.table("1m").scan().plan_files()
    # A second file of the day, so that compaction reads both. Its candle is of a symbol without trades.
    table = f"iceberg.{NAMESPACE}.gold_ohlcv_1m"
    schema = harness.spark.table(table).schema
    values = {**harness.table("1m").scan().to_arrow().to_pylist()[0], "symbol": "ZZZ"}
    other = harness.spark.createDataFrame([[values[field.name] for field in schema]], schema)
    other.coalesce(1).writeTo(table).append()
    # A run that rebuilds the hours deletes that candle.
    expected = {key: each for key, each in harness.candles("1m").items() if key[0] != "ZZZ"}
    file = path_of(task)
    # As in an object store, or of a file that pyiceberg wrote: Spark has only the checksums of the pages.
    checksum_file(file).unlink()
    file.write_bytes(find_silent_change(file))

    with pytest.raises((Py4JJavaError, PySparkException)) as raised:
        harness.build("1m", DAY + HOUR, DAY + 2 * HOUR)
    assert str(find_damage(raised.value, "")).startswith("a data file ('ohlcv validate' for the range names it) cannot")
    with pytest.raises((Py4JJavaError, PySparkException, OhlcvError)):
        run_maintenance(harness, "1m", "compact")
    with pytest.raises(OhlcvError, match=f"^{file} cannot be read"):
        read_candles(harness.settings, harness.settings.timeframe("1m"))

    with pytest.raises(OhlcvError, match=f"^{file} cannot be read"):
        record(harness.settings, harness.settings.timeframe("1m"))
    (damage,) = damages(harness)
    assert (damage.kind, damage.path, damage.affects) == ("data file", str(file), "120 candles of 2026-11-20")
    catalog = open_catalog(harness.settings)
    (checked,) = Selection(timeframes=["1m"]).choose(harness.settings)
    repair(harness.settings, catalog, plan_repair(harness.settings, catalog, checked, lambda _: None))
    assert damages(harness) == []
    # The intact file stays. Until the repair, somebody may restore the damaged one, which the ledger needs. Then its
    # unrecorded publication is a gap. A scheduled run rebuilds the hours.
    assert [symbol for symbol, _, _ in harness.candles("1m")] == ["ZZZ"]
    recorded = record(harness.settings, harness.settings.timeframe("1m"))
    assert (recorded.publications, recorded.gap is not None) == (2, True)
    report = harness.build("1m", DAY + 23 * HOUR, DAY + 24 * HOUR, rebuild_pending=True)
    assert report["candles"]["inserted"] == 120
    assert harness.candles("1m") == expected
    assert harness.checkpoint("1m").pending_hours == frozenset()
