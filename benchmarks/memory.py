"""A day far larger than its executor: fifty million trades, one in a hundred delivered again, in 1 GiB.

The reprocessing job with the options it always has. Shown is the most that the executor ever held in memory;
what does not fit is spilled. The candles of the day must count every trade once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc

from benchmarks.harness import Bench, Grid, Section, same, say
from benchmarks.processes import WORKER, home_environment, measure_job
from benchmarks.worlds import World
from ohlcv.ingest.sample_data import sample_trades
from ohlcv.model.intervals import iso
from ohlcv.spark.processes import descendants
from ohlcv.spark.spark_submit import reprocess_job

TRADES = 50_000_000
DUPLICATES = 0.01
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


class Peak:
    """The most memory that one process below another ever held, as the kernel counts it."""

    def __init__(self, root: int) -> None:
        self._root = root
        self.megabytes = 0

    def look(self) -> None:
        """Read every process's high-water mark; one that has just ended has none."""
        for pid in descendants(self._root):
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        self.megabytes = max(self.megabytes, int(line.split()[1]) // 1024)


@contextmanager
def watched(root: int) -> Iterator[Peak]:
    """Look at a process's descendants every half second; a high-water mark does not fall in between."""
    peak, ended = Peak(root), threading.Event()

    def look() -> None:
        while not ended.wait(0.5):
            peak.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def measure(bench: Bench) -> Section:
    """Make the day hour by hour, and rebuild it."""
    section = Section("memory")
    world = World(bench.room("memory") / "home")
    trades = TRADES // (50 if bench.quick else 1)
    for hour in range(1, 25):
        world.append(sample_trades(trades // 24, 1, BEGIN + timedelta(hours=hour), duplicates=DUPLICATES))
        say(f"hour {hour} of 24 made")
    job = reprocess_job(
        world.settings,
        day=f"{BEGIN:%F}",
        until=iso(BEGIN + timedelta(days=1)),
        timeframes=",".join(world.settings.tuning),
        prune="no",
        dry_run="no",
    )
    cluster = bench.cluster
    with watched(cluster.processes[WORKER].pid) as peak:
        cost = measure_job(job, cluster.master, home_environment(world.settings), cluster)
    counted = pc.sum(world.table("1d").scan(selected_fields=("trade_count",)).to_arrow()["trade_count"]).as_py()
    same("trades counted in the candles of the day", trades // 24 * 24, counted)
    delivered = world.table().scan().count()
    grid = Grid(
        "A day rebuilt in all timeframes, on one core",
        ("deliveries", "executor memory", "wall s", "cpu s", "trades/s per core", "executor's most MB"),
    )
    grid.rows.append(
        (delivered, job.executor_memory, cost.wall, cost.processor, round(delivered / cost.wall), peak.megabytes)
    )
    section.grids.append(grid)
    section.keep("a day", {"rebuilt": [cost]})
    return section
