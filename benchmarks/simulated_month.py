"""A simulated month of five-minute commits, then three weeks, each followed by the weekly retention run.

Every commit appends one small file to the 1m table with Iceberg's Java library. Its timestamp is then replaced by the
simulated time. Measured before and after each weekly run: files, snapshots, manifests, size of the table metadata, and
the time to plan a scan of the whole table. The retention is 30 days, so the size of the table should stay constant.

    make bench-maintenance               a month of 8,640 commits, and three weeks of 2,016
    COMMITS=100 make bench-maintenance   the same with fewer commits, only to check that it runs
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from rich import box
from rich.table import Table

from ohlcv.cli.terminal import print_table
from ohlcv.config.maintained_tables import ExpiredPartition
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.retention_plan import measure_table, plan_retention
from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.iceberg.tables import load_table as load_by_python
from ohlcv.spark.jars import jar_paths
from ohlcv.spark.toolchain import spark_environment
from spark_jobs.iceberg.table_metadata import load_table
from spark_jobs.jobs.table_maintenance import Request, maintain
from spark_jobs.runtime.py4j_bridge import java_class
from spark_jobs.runtime.session import catalog_properties

TICK = timedelta(minutes=5)
WEEK = timedelta(days=7)
WEEKS = 3
MONTH = timedelta(days=30)
SERIES = 8
PLANS = 5


@dataclass(frozen=True)
class Measurement:
    """Size of the table at one moment."""

    moment: str
    rows: int
    files: int
    snapshots: int
    manifests: int
    metadata_bytes: int
    plan_milliseconds: float


class Simulation:
    """A 1m candle table and the simulated time."""

    def __init__(self, spark: SparkSession, settings: Settings, begin: datetime) -> None:
        self.spark = spark
        self.settings = settings
        self.timeframe = settings.timeframe("1m")
        self.now = begin
        self.commit_times: dict[int, datetime] = {}
        self.contract = settings.candles_contract(self.timeframe)
        table = load_by_python(open_catalog(settings), self.contract)
        # The schema includes the field ids, as files of Iceberg's writers do.
        self.schema = table.schema().as_arrow()
        self.folder = Path(urlsplit(table.location()).path) / "data"
        self.measurements: list[Measurement] = []

    def commit(self, ticks: int) -> None:
        """Append a file for every tick, then set the times of the commits."""
        table = load_table(self.spark, self.contract)
        data_files = java_class("org.apache.iceberg.DataFiles")
        start = time.monotonic()
        for done in range(1, ticks + 1):
            self.now += TICK
            path, rows = self._write()
            file = (
                data_files.builder(table.spec())
                .withPath(f"file://{path}")
                .withFormat("parquet")
                .withFileSizeInBytes(path.stat().st_size)
                .withRecordCount(rows)
                .withPartitionPath(f"window_date_day={self._window():%F}")
                .build()
            )
            table.newAppend().appendFile(file).commit()
            self.commit_times[int(table.currentSnapshot().snapshotId())] = self.now
            if done % 500 == 0 or done == ticks:
                click.echo(f"  {done:,} of {ticks:,} commits, {time.monotonic() - start:.0f} s", err=True)
        self._set_commit_times()

    def _window(self) -> datetime:
        return self.now - TICK

    def _write(self) -> tuple[Path, int]:
        start = self._window()
        one = Decimal(1)
        rows = [
            {
                "symbol": f"S{series}",
                "exchange": "simulated",
                "window_start": start + timedelta(minutes=minute),
                "window_end": start + timedelta(minutes=minute + 1),
                "window_date": start.date(),
                **dict.fromkeys(("open_price", "high_price", "low_price", "close_price", "volume", "vwap"), one),
                "trade_count": 1,
                "created_at": self.now,
                "updated_at": self.now,
            }
            for series in range(SERIES)
            for minute in range(5)
        ]
        path = self.folder / f"window_date_day={start:%F}" / f"{start:%H%M}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=self.schema), path, compression="zstd")
        return path, len(rows)

    def _set_commit_times(self) -> None:
        """Write the simulated times into the table metadata, because Iceberg records the time of the machine."""
        with sqlite3.connect(str(self.settings.catalog.embedded_database)) as catalog:
            key = (self.contract.name,)
            (location,) = catalog.execute(
                "SELECT metadata_location FROM iceberg_tables WHERE table_name = ?", key
            ).fetchone()
            path = Path(urlsplit(location).path)
            metadata: dict[str, Any] = json.loads(path.read_text())
            for entry in (*metadata["snapshots"], *metadata["snapshot-log"]):
                # Unknown snapshots are commits of the maintenance that has just run.
                commit_time = self.commit_times.setdefault(entry["snapshot-id"], self.now)
                entry["timestamp-ms"] = int(commit_time.timestamp() * 1000)
            metadata["metadata-log"] = []
            metadata["last-updated-ms"] = int(self.now.timestamp() * 1000)
            changed = path.with_name(f"simulated-{time.monotonic_ns()}.metadata.json")
            changed.write_text(json.dumps(metadata, separators=(",", ":")))
            catalog.execute(
                "UPDATE iceberg_tables SET metadata_location = ? WHERE table_name = ?", (f"file://{changed}", *key)
            )

    def run_weekly_maintenance(self) -> None:
        """Run retention and maintenance like the weekly DAG."""
        day = self.now.date()
        plan = plan_retention(self.settings, self.timeframe, day, datetime.now(UTC).date())
        expired = tuple(ExpiredPartition(self.timeframe.name, partition.day) for partition in plan.expired)
        report = maintain(self.spark, self.settings, Request(plan.table, ("delete", "compact", "expire"), day, expired))
        click.echo(f"  seconds: {report['seconds']}", err=True)
        self._set_commit_times()

    def measure(self, moment: str) -> None:
        """Measure the table."""
        found = measure_table(self.settings, self.contract)
        table = load_table(self.spark, self.contract)
        times = []
        for _ in range(PLANS):
            begin = time.perf_counter()
            tasks = table.newScan().planFiles()
            for _task in tasks.iterator():
                pass
            tasks.close()
            times.append((time.perf_counter() - begin) * 1000)
        self.measurements.append(
            Measurement(
                moment,
                found.rows,
                found.files,
                found.snapshots,
                found.manifests,
                found.metadata_size,
                round(statistics.median(times), 1),
            )
        )
        click.echo(str(self.measurements[-1]), err=True)


def main() -> None:
    """Run the simulation and print the measurements."""
    month = int(os.environ.get("COMMITS") or MONTH // TICK)
    week = min(month, WEEK // TICK)
    # The simulation ends before the present, so that no commit is in the future.
    now = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings({"OHLCV_HOME": folder, "OHLCV_1M_RETENTION_DAYS": "30"})
        create_tables(settings)
        os.environ.update(spark_environment())
        builder = SparkSession.builder.master("local[2]").config(
            "spark.driver.extraClassPath", ":".join(str(path) for path in jar_paths())
        )
        spark_settings = {
            **catalog_properties(settings),
            "spark.driver.memory": "2g",
            "spark.ui.enabled": "false",
        }
        spark_settings["spark.ui.showConsoleProgress"] = "false"
        for name, value in spark_settings.items():
            builder = builder.config(name, value)
        spark = builder.config("spark.log.level", "ERROR").config("spark.sql.session.timeZone", "UTC").getOrCreate()
        simulation = Simulation(spark, settings, now - month * TICK - WEEKS * week * TICK)
        simulation.commit(month)
        simulation.measure("a month, before")
        simulation.run_weekly_maintenance()
        simulation.measure("a month, after")
        for number in range(1, WEEKS + 1):
            simulation.commit(week)
            simulation.measure(f"week {number}, before")
            simulation.run_weekly_maintenance()
            simulation.measure(f"week {number}, after")
        spark.stop()
    table = Table(title=f"{month:,} commits, then {WEEKS} x {week:,}", title_justify="left", box=box.SIMPLE_HEAD)
    for name in asdict(simulation.measurements[0]):
        table.add_column(name.replace("_", " "), justify="left" if name == "moment" else "right")
    for measurement in simulation.measurements:
        table.add_row(
            *(f"{value:,}" if isinstance(value, int | float) else value for value in asdict(measurement).values())
        )
    print_table(table)
    click.echo(json.dumps([asdict(measurement) for measurement in simulation.measurements]))


if __name__ == "__main__":
    main()
