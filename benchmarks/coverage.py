"""Recordings of the coverage, each in a process of its own: hours of ten million trades, and usual hours."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from benchmarks.bench_catalog import BenchCatalog
from benchmarks.harness import Bench, Cost, Grid, Section, Verdict, log_progress, median, require_equal
from benchmarks.hours import spread_evenly
from benchmarks.processes import home_environment
from ohlcv.config.settings import load_settings
from ohlcv.coverage.recording import record_coverage
from ohlcv.ingest.sample_data import Feed, sample_trades
from ohlcv.model.intervals import HOUR

TRADES = 10_000_000
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
MAX_SECONDS, MAX_MEGABYTES = 15.0, 1_024.0
# Trades of a usual hour, of 8 series.
USUAL_TRADES = 30_000
RUNS_PER_DAY = 24
# Processor time of all scheduled runs of a day in seconds (docs/performance.md), and the share of the recordings.
SCHEDULE_SECONDS, MAX_SHARE = 4_260, 0.05
KINDS: dict[str, Callable[[pa.Table], list[pa.Table]]] = {
    "8 series": lambda trades: [trades],
    "1,000 series": lambda trades: [spread_evenly(trades, 1_000)],
    "1 % delivered again": lambda trades: [trades, trades.slice(0, len(trades) // 100)],
}


def measure(bench: Bench) -> Section:
    """Measure large hours and a usual recording."""
    section = Section("coverage")
    grid = Grid("Recordings in processes of their own", ("trades", "runs", "wall s", "process cpu s", "peak MiB"))
    for number, (name, parts) in enumerate(KINDS.items()):
        trades = TRADES // (50 if bench.quick else 1)
        catalog = BenchCatalog(bench.folder_for("coverage") / str(number))
        for part in parts(sample_trades(trades, 1, BEGIN + HOUR)):
            catalog.append(part)
        log_progress(f"hour with {name} generated")
        costs, peak = _measure(catalog, bench.repeats, trades)
        section.add_measurements(name, {"recording": costs})
        cost = median(costs)
        grid.rows.append((f"{trades:,} in an hour, {name}", len(costs), cost.wall, cost.processor, peak))
        section.verdicts += [
            Verdict(f"{name}, an hour, wall time", cost.wall, MAX_SECONDS, " s"),
            Verdict(f"{name}, an hour, memory of the process", peak, MAX_MEGABYTES, " MiB"),
        ]
    costs, peak = _measure(_usual_catalog(bench), bench.repeats)
    section.add_measurements("usual", {"recording": costs})
    cost = median(costs)
    grid.rows.append((f"{USUAL_TRADES:,} in each of two changed hours", len(costs), cost.wall, cost.processor, peak))
    share = cost.processor * RUNS_PER_DAY / SCHEDULE_SECONDS
    section.verdicts.append(Verdict("processor time of a day, relative to the schedule", share, MAX_SHARE))
    section.grids.append(grid)
    return section


def _usual_catalog(bench: Bench) -> BenchCatalog:
    """Build a catalog in which two of 24 recorded hours have changed."""
    catalog = BenchCatalog(bench.folder_for("coverage") / "usual")
    feed = Feed(BEGIN)
    middle = BEGIN + 22 * HOUR + HOUR / 2
    catalog.append(feed.batch(middle, 22 * USUAL_TRADES + USUAL_TRADES // 2))
    record_coverage(catalog.settings, middle)
    catalog.append(feed.batch(middle + HOUR, USUAL_TRADES))
    catalog.append(feed.batch(middle + HOUR / 2 + HOUR, USUAL_TRADES // 2))
    return catalog


def _measure(catalog: BenchCatalog, runs: int, trades: int | None = None) -> tuple[list[Cost], float]:
    """Return the cost of each recording from the same state, and the largest peak of memory in MiB."""
    state = catalog.save_state()
    costs, peaks = [], []
    for _ in range(runs):
        catalog.restore_state(state)
        result = subprocess.run(
            [sys.executable, "-m", "benchmarks.coverage"],
            env={**os.environ, **home_environment(catalog.settings)},
            cwd=Path(__file__).parent.parent,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = json.loads(result.stdout)
        if trades is not None:
            require_equal("accepted trades", trades, found["accepted"])
        else:
            require_equal("changed hours", 2, found["hours"])
        costs.append(Cost(found["seconds"], found["processor"]))
        peaks.append(found["peak"])
    return costs, max(peaks)


def main() -> None:
    """Record the coverage, and write what was counted and what the process used as JSON."""
    report = record_coverage(load_settings(), BEGIN + 48 * HOUR)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    # The peak of getrusage also has that of the process that started this one.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    used = {"processor": usage.ru_utime + usage.ru_stime, "peak": int(peak) / 1024}
    sys.stdout.write(json.dumps(report.to_json() | used))


if __name__ == "__main__":
    main()
