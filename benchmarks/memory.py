"""Reprocessing of days far larger than their executor: fifty million deliveries of trades, in 1 GiB.

One day has one repeated delivery in a hundred; on the other one every trade is delivered twice, so that nothing can be
taken as it is. The reprocessing job runs on each engine with its normal options: one core, 512 MB for the driver and
1 GiB for the executor, which spills what does not fit. The results are the peaks of both Java processes; the executor
must stay within the limit of a worker's container. The candles of a day must count every trade once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.bench_catalog import BenchCatalog, delivered_again
from benchmarks.harness import Bench, Grid, Section, Verdict, log_progress, require_equal
from benchmarks.processes import WORKER, home_environment, measure_job
from ohlcv.config.execution import ENGINES
from ohlcv.config.settings import Settings, load_settings
from ohlcv.ingest.sample_data import sample_trades
from ohlcv.model import summary_keys
from ohlcv.model.intervals import iso
from ohlcv.spark.processes import descendants
from ohlcv.spark.spark_submit import SparkJob, reprocess_job

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
# SPARK_WORKER_LIMIT of docker-compose.yaml.
WORKER_LIMIT_MB = 1536


@dataclass(frozen=True)
class Day:
    """A day of trades and their repeated deliveries."""

    name: str
    trades: int
    # Share of the trades that are delivered again in the same file.
    duplicates: float = 0.0
    # Every trade is delivered again in another file.
    all_twice: bool = False

    def hour(self, trades: int, end: datetime) -> list[pa.Table]:
        """Return the rows of the files of one hour."""
        first = sample_trades(trades, 1, end, duplicates=self.duplicates)
        return [first, delivered_again(first)] if self.all_twice else [first]


DAYS = (
    Day("1 % delivered twice", 50_000_000, duplicates=0.01),
    Day("all delivered twice", 25_000_000, all_twice=True),
)


class PeakMemory:
    """Largest peak of resident memory (VmHWM) of the descendants of a process."""

    def __init__(self, root: int, program: str = "", without: Iterable[int] = ()) -> None:
        """Read only processes of a program, if it is given, and none that descends from the others."""
        self._root, self._program, self._without = root, program, tuple(without)
        self.megabytes = 0

    def update(self) -> None:
        """Read the peak of every descendant. A process that has just ended has none."""
        excluded = {pid for root in self._without for pid in (root, *descendants(root))}
        for pid in set(descendants(self._root)) - excluded:
            with suppress(OSError):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
                if "VmHWM" in status and self._program in ("", status["Name"]):
                    self.megabytes = max(self.megabytes, int(status["VmHWM"].split()[0]) // 1024)


@contextmanager
def watch_peak_memory(*peaks: PeakMemory) -> Iterator[None]:
    """Read the peaks every half second. A peak never decreases, so nothing is missed between two reads."""
    ended = threading.Event()

    def poll() -> None:
        while not ended.wait(0.5):
            for peak in peaks:
                peak.update()

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def measure(bench: Bench) -> Section:
    """Generate the days and reprocess them."""
    section = Section("memory")
    grid = Grid(
        "A day reprocessed in all timeframes, on one core",
        (
            *("day", "engine", "ran on", "deliveries", "driver memory", "executor memory"),
            *("wall s", "cpu s", "deliveries/s per core", "driver peak MB", "executor peak MB"),
        ),
    )
    for number, day in enumerate(DAYS):
        catalog = BenchCatalog(bench.folder_for("memory") / f"home-{number}")
        trades = day.trades // (50 if bench.quick else 1) // 24
        _generate(catalog, day, trades)
        delivered, state = catalog.table().scan().count(), catalog.save_state()
        for engine in ENGINES:
            catalog.restore_state(state)
            environment = {**home_environment(catalog.settings), "OHLCV_REPROCESS_EXECUTION": engine}
            job = _job(load_settings(environment))
            daemons = [process.pid for process in bench.cluster.processes.values()]
            executor = PeakMemory(bench.cluster.processes[WORKER].pid)
            driver = PeakMemory(os.getpid(), "java", without=daemons)
            with watch_peak_memory(executor, driver):
                cost = measure_job(job, bench.cluster.master, environment, bench.cluster)
            ran_on, counted = _candles_of_day(catalog)
            require_equal(f"{day.name}, {engine}: trades counted in the day", trades * 24, counted)
            log_progress(f"{day.name}, {ran_on}: {cost}, peaks {driver.megabytes} and {executor.megabytes} MB")
            grid.rows.append(
                (
                    *(day.name, engine, ran_on, delivered, job.driver_memory, job.executor_memory),
                    *(cost.wall, cost.processor, round(delivered / cost.wall), driver.megabytes, executor.megabytes),
                )
            )
            section.add_measurements(f"{day.name}, {engine}", {"rebuilt": [cost]})
            section.verdicts.append(
                Verdict(f"memory of the executor, {day.name}, {engine}", executor.megabytes, WORKER_LIMIT_MB, " MB")
            )
    section.grids.append(grid)
    return section


def _generate(catalog: BenchCatalog, day: Day, trades: int) -> None:
    """Append the rows of a day with this number of trades in each hour."""
    for hour in range(1, 25):
        for rows in day.hour(trades, BEGIN + timedelta(hours=hour)):
            catalog.append(rows)
        log_progress(f"{day.name}: hour {hour} of 24 generated")


def _candles_of_day(catalog: BenchCatalog) -> tuple[str, int]:
    """Return the engine that computed the stored candles of the day, and the number of their trades."""
    table = catalog.table("1d")
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    trades = pc.sum(table.scan(selected_fields=("trade_count",)).to_arrow()["trade_count"]).as_py()
    return str(snapshot.summary.additional_properties[summary_keys.EXECUTION]), int(trades)


def _job(settings: Settings) -> SparkJob:
    return reprocess_job(
        settings,
        day=f"{BEGIN:%F}",
        until=iso(BEGIN + timedelta(days=1)),
        timeframes=",".join(settings.tuning),
        prune="no",
        dry_run="no",
    )
