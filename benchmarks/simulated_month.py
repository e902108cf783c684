"""A month of five-minute commits, then three more weeks, with the weekly retention run as it would come.

Every commit appends one small file to the 1m table through Iceberg's own Java library, and is then given the time it
would have had. Shown are files, snapshots, manifests, the size of the table's metadata and how long a scan of the
whole table takes to plan: before and after each weekly run. 30 days are kept, so that the table should stay level.

    make bench-maintenance            the month, 8,640 commits, and three weeks of 2,016
    COMMITS=100 make bench-maintenance   the same with fewer commits, to see that it runs
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
from ohlcv.config.catalog_properties import spark_properties
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.retention_plan import measure_table, plan_retention
from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.iceberg.tables import load_table as load_by_python
from ohlcv.model.table_contracts import candles_contract
from ohlcv.spark.toolchain import jar_paths, spark_environment
from spark_jobs.iceberg.table_metadata import load_table
from spark_jobs.jobs.table_maintenance import Request, maintain
from spark_jobs.runtime.py4j_bridge import java_class

TICK = timedelta(minutes=5)
WEEK = timedelta(days=7)
WEEKS = 3
MONTH = timedelta(days=30)
SERIES = 8
PLANS = 5


@dataclass(frozen=True)
class Point:
    """The table at one moment."""

    moment: str
    rows: int
    files: int
    snapshots: int
    manifests: int
    metadata_bytes: int
    plan_milliseconds: float


class Simulation:
    """The table, and the time it is there."""

    def __init__(self, spark: SparkSession, settings: Settings, begin: datetime) -> None:
        self.spark = spark
        self.settings = settings
        self.timeframe = settings.timeframe("1m")
        self.now = begin
        self.stamps: dict[int, datetime] = {}
        table = load_by_python(open_catalog(settings), candles_contract(self.timeframe))
        # With the ids of the columns, as Iceberg's own writers leave them.
        self.schema = table.schema().as_arrow()
        self.folder = Path(urlsplit(table.location()).path) / "data"
        self.points: list[Point] = []

    def commit(self, ticks: int) -> None:
        """Append a file for every tick, then give each commit its time."""
        table = load_table(self.spark, candles_contract(self.timeframe))
        data_files = java_class("org.apache.iceberg.DataFiles")
        began = time.monotonic()
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
            self.stamps[int(table.currentSnapshot().snapshotId())] = self.now
            if done % 500 == 0 or done == ticks:
                click.echo(f"  {done:,} of {ticks:,} commits, {time.monotonic() - began:.0f} s", err=True)
        self._stamp()

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

    def _stamp(self) -> None:
        """Write the simulated times into the table's metadata, for Iceberg stamps by the machine's clock."""
        with sqlite3.connect(self.settings.catalog.database) as catalog:
            key = (self.timeframe.table,)
            (location,) = catalog.execute(
                "SELECT metadata_location FROM iceberg_tables WHERE table_name = ?", key
            ).fetchone()
            path = Path(urlsplit(location).path)
            metadata: dict[str, Any] = json.loads(path.read_text())
            for entry in (*metadata["snapshots"], *metadata["snapshot-log"]):
                # What is not known yet are the commits of the maintenance that has just run.
                stamp = self.stamps.setdefault(entry["snapshot-id"], self.now)
                entry["timestamp-ms"] = int(stamp.timestamp() * 1000)
            metadata["metadata-log"] = []
            metadata["last-updated-ms"] = int(self.now.timestamp() * 1000)
            stamped = path.with_name(f"stamped-{time.monotonic_ns()}.metadata.json")
            stamped.write_text(json.dumps(metadata, separators=(",", ":")))
            catalog.execute(
                "UPDATE iceberg_tables SET metadata_location = ? WHERE table_name = ?", (f"file://{stamped}", *key)
            )

    def week_ends(self) -> None:
        """Run retention and maintenance as on a Sunday."""
        day = self.now.date()
        plan = plan_retention(self.settings, self.timeframe, day, datetime.now(UTC).date())
        days = tuple(partition.day for partition in plan.expired)
        report = maintain(self.spark, Request(self.timeframe, ("delete", "compact", "expire"), day, days))
        click.echo(f"  seconds: {report['seconds']}", err=True)
        self._stamp()

    def look(self, moment: str) -> None:
        """Measure the table."""
        found = measure_table(self.settings, self.timeframe)
        table = load_table(self.spark, candles_contract(self.timeframe))
        times = []
        for _ in range(PLANS):
            begin = time.perf_counter()
            tasks = table.newScan().planFiles()
            for _task in tasks.iterator():
                pass
            tasks.close()
            times.append((time.perf_counter() - begin) * 1000)
        self.points.append(
            Point(
                moment,
                found.rows,
                found.files,
                found.snapshots,
                found.manifests,
                found.metadata_size,
                round(statistics.median(times), 1),
            )
        )
        click.echo(str(self.points[-1]), err=True)


def main() -> None:
    """Play the weeks, and show them."""
    month = int(os.environ.get("COMMITS") or MONTH // TICK)
    week = min(month, WEEK // TICK)
    # Everything ends before the present, so that nothing is younger than now.
    now = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings({"OHLCV_HOME": folder, "OHLCV_1M_RETENTION_DAYS": "30"})
        create_tables(settings)
        os.environ.update(spark_environment())
        builder = SparkSession.builder.master("local[2]").config(
            "spark.driver.extraClassPath", ":".join(str(path) for path in jar_paths())
        )
        settings_of_spark = {**spark_properties(settings), "spark.driver.memory": "2g", "spark.ui.enabled": "false"}
        settings_of_spark["spark.ui.showConsoleProgress"] = "false"
        for name, value in settings_of_spark.items():
            builder = builder.config(name, value)
        spark = builder.config("spark.log.level", "ERROR").config("spark.sql.session.timeZone", "UTC").getOrCreate()
        simulation = Simulation(spark, settings, now - month * TICK - WEEKS * week * TICK)
        simulation.commit(month)
        simulation.look("a month, before")
        simulation.week_ends()
        simulation.look("a month, after")
        for number in range(1, WEEKS + 1):
            simulation.commit(week)
            simulation.look(f"week {number}, before")
            simulation.week_ends()
            simulation.look(f"week {number}, after")
        spark.stop()
    table = Table(title=f"{month:,} commits, then {WEEKS} x {week:,}", title_justify="left", box=box.SIMPLE_HEAD)
    for name in asdict(simulation.points[0]):
        table.add_column(name.replace("_", " "), justify="left" if name == "moment" else "right")
    for point in simulation.points:
        table.add_row(*(f"{value:,}" if isinstance(value, int | float) else value for value in asdict(point).values()))
    print_table(table)
    click.echo(json.dumps([asdict(point) for point in simulation.points]))


if __name__ == "__main__":
    main()
