"""Helpers for tests of table maintenance: candles of many days, maintenance runs, data files."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from pyiceberg.table import Table

from ohlcv.config.maintained_tables import ExpiredPartition, maintained_table
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.timeframes import TIMEFRAMES
from spark_jobs.jobs.table_maintenance import ORPHAN_AGE, Request, maintain
from support.default_tables import NAMESPACE, candles_contract
from support.harness import Harness

TODAY = date(2026, 11, 21)
OTHER_SYMBOL = "z"


def fill(harness: Harness, name: str, first: date, last: date, step: str) -> None:
    """Insert one candle per `step` from the first to the last day, without running the job."""
    end = {"1m": "1 MINUTE", "1d": "1 DAY", "1h": "1 HOUR"}[name]
    harness.sql(
        f"""INSERT INTO iceberg.{NAMESPACE}.gold_ohlcv_{name}
        SELECT 'BTC-USD', 'kraken', t, t + INTERVAL {end}, CAST(t AS DATE), p, p + 1, p, p + 1, 2, 2, p,
            TIMESTAMP '2026-11-21 00:00:00', TIMESTAMP '2026-11-21 00:00:00'
        FROM (SELECT t, CAST(100 + day(t) AS DECIMAL(18, 8)) AS p FROM (SELECT explode(sequence(
            TIMESTAMP '{first} 00:00:00', TIMESTAMP '{last} 23:59:00', INTERVAL {step})) AS t))"""
    )


def run_maintenance(
    harness: Harness,
    name: str,
    *steps: str,
    as_of: date = TODAY,
    days: tuple[date, ...] = (),
    keep_since: datetime | None = None,
    run_id: str = "run",
) -> dict[str, Any]:
    """Run maintenance steps on the candle table of a timeframe and return their reports."""
    expired = tuple(ExpiredPartition(name, day) for day in days)
    table = maintained_table(harness.settings, name)
    request = Request(table, steps, as_of, expired, "dag", run_id, keep_since=keep_since)
    report = maintain(harness.spark, harness.settings, request)
    return {step: report[step] for step in steps}


def data_files(table: Table) -> dict[str, int]:
    """Return the number of rows by data file."""
    return {task.file.file_path: task.file.record_count for task in table.scan().plan_files()}


def latest_summary(harness: Harness, name: str) -> dict[str, str]:
    """Return the summary of the newest snapshot."""
    snapshot = harness.table(name).current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    return snapshot.summary.additional_properties


def make_old(folder: Path) -> None:
    long_ago = (datetime.now(UTC) - ORPHAN_AGE - timedelta(hours=1)).timestamp()
    for path in folder.rglob("*"):
        os.utime(path, (long_ago, long_ago))


def append_small_files(harness: Harness, time: datetime) -> None:
    """Append small files to the partition that the pipeline writes, so that there is something to compact."""
    name = "iceberg.market_data.gold_ohlcv_1m"
    for minute in range(3):
        with write_lock(harness.settings, candles_contract(TIMEFRAMES["1m"])):
            harness.sql(
                f"""INSERT INTO {name} SELECT '{OTHER_SYMBOL}', 'kraken', t, t + INTERVAL 1 MINUTE, CAST(t AS DATE),
                1, 1, 1, 1, 1, 1, 1, t, t FROM (SELECT TIMESTAMP '{time:%F %T}' + INTERVAL {minute} MINUTE AS t)"""
            )


def files_of(folder: Path) -> set[Path]:
    """Return the files in a folder, without checksum files."""
    return {path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".crc")}
