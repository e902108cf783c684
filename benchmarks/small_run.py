"""What a small run costs: the 1m job on a standalone cluster of one core, with the archives of classes and without.

Both kinds alternate within one run of this script, each builds ten minutes nobody has built before, and the stored
candles are counted at the end, so that a time counts only where the work was done. Wall seconds are those from the
submit to its end; processor seconds are those of spark-submit, the driver and the executor.

    make bench-small
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich import box
from rich.table import Table

from ohlcv.commands.terminal import print_table
from ohlcv.faststart import is_current
from ohlcv.loading import append_trades
from ohlcv.local_cluster import LocalCluster, local_cluster
from ohlcv.local_process import descendants
from ohlcv.sample import Feed
from ohlcv.schema import candles_contract
from ohlcv.settings import Settings, load_settings
from ohlcv.submit import SparkJob, build_job, run
from ohlcv.toolchain import ROLES
from ohlcv.warehouse import create_tables, load_table, open_catalog
from ohlcv.windows import Range

TRADES = 636_263
HOURS = 48
REPEATS = 5
SERIES = 8
LOOKBACK = timedelta(minutes=10)
TICKS = os.sysconf("SC_CLK_TCK")


def without_archives(job: SparkJob) -> SparkJob:
    """Give the same job as it would run without archives."""
    conf = dict(job.conf)
    for role in ROLES:
        name = f"spark.{role}.extraJavaOptions"
        conf[name] = " ".join(word for word in conf[name].split() if not word.startswith("-XX:SharedArchiveFile"))
    return dataclasses.replace(job, conf=conf)


def reaped_seconds(pid: int) -> float:
    """Give the processor seconds of a process's children that have ended and been waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / TICKS


def measure(job: SparkJob, cluster: LocalCluster, home: dict[str, str]) -> tuple[float, float]:
    """Run a job; give wall and processor seconds."""
    worker = cluster.processes["worker-1"].pid
    children, executors = resource.getrusage(resource.RUSAGE_CHILDREN), reaped_seconds(worker)
    begin = time.monotonic()
    outcome = run(job, cluster.master, home)
    wall = time.monotonic() - begin
    if outcome.exit_code:
        raise SystemExit(f"error: {outcome.error}")
    # The executor ends a moment after its driver.
    while descendants(worker):
        time.sleep(0.05)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    return wall, processor + reaped_seconds(worker) - executors


def main() -> None:
    """Alternate both kinds, and show them."""
    if not is_current():
        raise SystemExit("error: there are no archives for this machine: run 'make setup'")
    with tempfile.TemporaryDirectory() as folder:
        home = {"OHLCV_HOME": f"{folder}/home"}
        settings = load_settings(home)
        begin = datetime(2026, 3, 1, tzinfo=UTC)
        create_tables(settings)
        append_trades(settings, Feed(begin).batch(begin + timedelta(hours=HOURS), TRADES))
        found: dict[str, list[tuple[float, float]]] = {"without archives": [], "with archives": []}
        with local_cluster(Path(folder) / "spark") as cluster:
            for number in range(2 * REPEATS):
                name = list(found)[number % 2]
                start = begin + timedelta(hours=1) + number * LOOKBACK
                job = build_job(settings, "1m", Range(start, start + LOOKBACK), repair=True)
                seconds = measure(job if name == "with archives" else without_archives(job), cluster, home)
                found[name].append(seconds)
                click.echo(f"  {name}: {seconds[0]:.1f} s wall, {seconds[1]:.1f} s processor", err=True)
        _check(settings)
    _show(found)


def _check(settings: Settings) -> None:
    stored = load_table(open_catalog(settings), candles_contract(settings.timeframe("1m"))).scan().count()
    wanted = 2 * REPEATS * SERIES * (LOOKBACK // timedelta(minutes=1))
    if stored != wanted:
        raise SystemExit(f"error: {stored} candles are stored, not {wanted}: the times mean nothing")


def _show(found: dict[str, list[tuple[float, float]]]) -> None:
    title = f"1m run, {TRADES:,} trades stored; {platform.machine()}, {os.cpu_count()} cores, medians of {REPEATS}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("", "wall s", "processor s"):
        table.add_column(name, justify="left" if not name else "right")
    medians = {
        name: tuple(statistics.median(each) for each in zip(*times, strict=True)) for name, times in found.items()
    }
    for name, (wall, processor) in medians.items():
        table.add_row(name, f"{wall:.1f}", f"{processor:.1f}")
    slow, fast = medians.values()
    table.add_row("ratio", *(f"{after / before:.2f}" for before, after in zip(slow, fast, strict=True)))
    print_table(table)
    click.echo(json.dumps(found))


if __name__ == "__main__":
    main()
