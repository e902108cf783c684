"""Reprocessing of a day far larger than its executor: fifty million trades, one percent duplicates, in 1 GiB.

The reprocessing job runs with its normal options. The result is the peak memory of the executor, which spills what
does not fit. The candles of the day must count every trade once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc

from benchmarks.bench_catalog import BenchCatalog
from benchmarks.harness import Bench, Grid, Section, log_progress, require_equal
from benchmarks.processes import WORKER, home_environment, measure_job
from ohlcv.ingest.sample_data import sample_trades
from ohlcv.model.intervals import iso
from ohlcv.spark.processes import descendants
from ohlcv.spark.spark_submit import reprocess_job

TRADES = 50_000_000
DUPLICATES = 0.01
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


class PeakMemory:
    """Largest peak of resident memory (VmHWM) of all descendants of a process."""

    def __init__(self, root: int) -> None:
        self._root = root
        self.megabytes = 0

    def update(self) -> None:
        """Read the peak of every descendant. A process that has just ended has none."""
        for pid in descendants(self._root):
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        self.megabytes = max(self.megabytes, int(line.split()[1]) // 1024)


@contextmanager
def watch_peak_memory(root: int) -> Iterator[PeakMemory]:
    """Read the peaks every half second. A peak never decreases, so nothing is missed between two reads."""
    peak, ended = PeakMemory(root), threading.Event()

    def poll() -> None:
        while not ended.wait(0.5):
            peak.update()

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def measure(bench: Bench) -> Section:
    """Generate the day hour by hour and reprocess it."""
    section = Section("memory")
    catalog = BenchCatalog(bench.folder_for("memory") / "home")
    trades = TRADES // (50 if bench.quick else 1)
    for hour in range(1, 25):
        catalog.append(sample_trades(trades // 24, 1, BEGIN + timedelta(hours=hour), duplicates=DUPLICATES))
        log_progress(f"hour {hour} of 24 generated")
    job = reprocess_job(
        catalog.settings,
        day=f"{BEGIN:%F}",
        until=iso(BEGIN + timedelta(days=1)),
        timeframes=",".join(catalog.settings.tuning),
        prune="no",
        dry_run="no",
    )
    cluster = bench.cluster
    with watch_peak_memory(cluster.processes[WORKER].pid) as peak:
        cost = measure_job(job, cluster.master, home_environment(catalog.settings), cluster)
    counted = pc.sum(catalog.table("1d").scan(selected_fields=("trade_count",)).to_arrow()["trade_count"]).as_py()
    require_equal("trades counted in the candles of the day", trades // 24 * 24, counted)
    delivered = catalog.table().scan().count()
    grid = Grid(
        "A day reprocessed in all timeframes, on one core",
        ("deliveries", "executor memory", "wall s", "cpu s", "trades/s per core", "executor peak MB"),
    )
    grid.rows.append(
        (delivered, job.executor_memory, cost.wall, cost.processor, round(delivered / cost.wall), peak.megabytes)
    )
    section.grids.append(grid)
    section.add_measurements("a day", {"rebuilt": [cost]})
    return section
