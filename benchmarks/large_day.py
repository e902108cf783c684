"""One simulated day of a large site through the schedule: 1,000 series and 100 million trades in all five timeframes.

Trades arrive every five minutes of simulated time. After each arrival the timeframes that are due are built, with the
range, the options and the audit of a scheduled run, by one warm driver and an executor of one core and 1 GiB, and
validated as after a run. At the end every candle of the day is compared with what numpy computed from the same numbers.
SIGTERM ends the day early, with the comparison and the report.

    make bench-day                              the day (some hours); progress in JSON=file
    ENGINE=native make bench-day                aggregated by the native engine
    TRADES=1000000 SERIES=100 make bench-day    a small day, only to check that it runs
"""

from __future__ import annotations

import json
import os
import resource
import signal
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
from croniter import croniter

from benchmarks.bench_catalog import KEY_ORDER, RESULT_COLUMNS, BenchCatalog
from benchmarks.harness import Cost, log_progress, require_equal
from benchmarks.large_day_trades import TICK, LargeDay
from benchmarks.measured_process import MeasuredProcess
from benchmarks.processes import WORKER
from benchmarks.warm import warm_session
from ohlcv.cli.terminal import new_table, print_table
from ohlcv.config.execution import ENGINES, Engine
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range, iso, scheduled_range
from ohlcv.model.timeframes import Timeframe
from ohlcv.quality.validator import validate
from ohlcv.spark.local_cluster import local_cluster

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TRADES, SERIES = 100_000_000, 1_000
# Trades that arrive after the day are built by so many further runs at most.
MAX_CLOSING_RUNS = 20


@dataclass(frozen=True)
class Run:
    """One run of the schedule and its cost."""

    timeframe: str
    due: str
    # A run without trades is planned for the JVM.
    engine: str
    build: Cost
    validation: Cost
    # Hours that were rebuilt because of late trades, and those left for later runs.
    pending_hours: str
    left_hours: str
    trades: int
    changed: int
    phases: dict[str, float]


class Schedule:
    """The runs of a simulated day."""

    def __init__(self, catalog: BenchCatalog, session: MeasuredProcess) -> None:
        self.catalog = catalog
        self.session = session
        self.runs: list[Run] = []
        self.loading = 0.0
        self.interrupted = False

    def interrupt(self, *_: object) -> None:
        """End the day after the tick that runs."""
        self.interrupted = True
        log_progress("ends after this tick, and compares its candles")

    def load(self, rows: pa.Table) -> None:
        """Append the rows of a tick, as the feed of another system does."""
        begin = time.monotonic()
        self.catalog.append(rows)
        self.loading += time.monotonic() - begin

    def run_due(self, now: datetime) -> None:
        """Run the timeframes that are due at a time, the finest first."""
        for timeframe in self.catalog.settings.timeframes.values():
            if croniter.match(timeframe.cron, now):
                self.run(timeframe, now)

    def run(self, timeframe: Timeframe, now: datetime) -> dict[str, Any]:
        """Run a timeframe as its DAG does, and validate the run's range."""
        span = scheduled_range(timeframe, now)
        run_id = f"scheduled {iso(now)}"
        report, build = self.session.call(
            "build", timeframe=timeframe.name, start=iso(span.start), end=iso(span.end), run_id=run_id
        )
        validation = self._validate(timeframe, span, run_id)
        self.runs.append(
            Run(
                timeframe.name,
                iso(now),
                report["execution"]["engine"],
                build,
                validation,
                report["repaired_hours"],
                report["owed_hours"],
                report["trades_read"],
                total_changes(report["candles"]),
                report["seconds"],
            )
        )
        return dict(report)

    def _validate(self, timeframe: Timeframe, span: Range, run_id: str) -> Cost:
        begin, before = time.monotonic(), _own_seconds()
        result = validate(self.catalog.settings, timeframe, span, run_id)
        if result.failures:
            raise OhlcvError(f"{timeframe} {span}: {result.failures[0]}")
        return Cost(time.monotonic() - begin, _own_seconds() - before)

    def save(self, path: Path) -> None:
        """Write the runs so far to a file."""
        path.write_text(json.dumps([asdict(run) for run in self.runs]) + "\n")


def total_changes(counts: Mapping[str, int]) -> int:
    """Return the number of candles that a run changed."""
    return sum(counts.get(action, 0) for action in ("inserted", "updated", "deleted"))


def _own_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _ticks(day: LargeDay, schedule: Schedule) -> Iterator[datetime]:
    """Load tick by tick, and yield the time at which each tick ends. SIGTERM ends the day early."""
    for number, rows in enumerate(day.ticks(), 1):
        schedule.load(rows)
        yield BEGIN + number * TICK
        if schedule.interrupted:
            break
    for rows in day.late_rows():
        schedule.load(rows)


def _close(schedule: Schedule, timeframe: Timeframe) -> None:
    """Run a timeframe after the day until a run finds nothing to change."""
    due = BEGIN + DAY
    for _ in range(MAX_CLOSING_RUNS):
        due = croniter(timeframe.cron, due).get_next(datetime)
        schedule.run(timeframe, due)
        if not schedule.runs[-1].changed:
            return
    raise OhlcvError(f"{timeframe}: {MAX_CLOSING_RUNS} runs after the day have not built everything")


def _compare(catalog: BenchCatalog, day: LargeDay, timeframe: Timeframe) -> int:
    """Compare every candle of a timeframe with the expected one, and return their number."""
    stored = catalog.candles(timeframe.name, Range(BEGIN, BEGIN + DAY)).select(RESULT_COLUMNS).combine_chunks()
    expected = day.candles(timeframe, stored.schema).sort_by(KEY_ORDER).select(RESULT_COLUMNS)
    expected = expected.cast(stored.schema).combine_chunks()
    require_equal(f"number of {timeframe} candles", len(expected), len(stored))
    for name in RESULT_COLUMNS:
        require_equal(f"{name} of {timeframe}", expected[name], stored[name])
    log_progress(f"{timeframe}: {len(stored):,} candles are equal in every column")
    return len(stored)


def _show(runs: Sequence[Run], hours: float) -> None:
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        found[run.timeframe].append(run)
    names = ("runs", "median s", "p95 s", "largest s", "cpu s", "validation s", "cpu s an hour", "busy s an hour")
    table = new_table("Cost of the day", "timeframe", *names)
    for name, each in [*found.items(), ("all", list(runs))]:
        walls = [run.build.wall for run in each]
        cpu = sum(run.build.processor + run.validation.processor for run in each)
        busy = sum(run.build.wall + run.validation.wall for run in each)
        figures = (
            *(float(np.median(walls)), float(np.percentile(walls, 95)), max(walls)),
            *(cpu / len(each), sum(run.validation.wall for run in each) / len(each), cpu / hours, busy / hours),
        )
        table.add_row(name, str(len(each)), *(f"{figure:,.1f}" for figure in figures))
    print_table(table)


@click.command(help=__doc__)
@click.option("--trades", type=click.IntRange(min=1_000), default=int(os.environ.get("TRADES") or TRADES))
@click.option("--series", type=click.IntRange(min=8), default=int(os.environ.get("SERIES") or SERIES))
@click.option("--engine", type=click.Choice(ENGINES), default=os.environ.get("ENGINE") or "jvm")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write every run to this file.")
@click.option("--folder", type=click.Path(path_type=Path), help="Folder of the tables, by default a temporary one.")
def main(trades: int, series: int, engine: Engine, path: Path | None, folder: Path | None) -> None:
    """Run the day, compare its candles and print its cost."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary, local_cluster(Path(temporary) / "spark") as cluster:
        home = Path(temporary)
        catalog = BenchCatalog(home / "home")
        day = LargeDay(BEGIN, trades, series)
        with warm_session(catalog, cluster, home, engine, {"OHLCV_EXECUTION": engine}) as session:
            schedule = Schedule(catalog, session)
            signal.signal(signal.SIGTERM, schedule.interrupt)
            now = BEGIN
            for now in _ticks(day, schedule):
                schedule.run_due(now)
                if path:
                    schedule.save(path)
                if now.minute == 0:
                    last = schedule.runs[-1]
                    log_progress(f"{now:%H:%M}: {day.rows:,} rows, {len(schedule.runs)} runs, last {last.build}")
            hours = (now - BEGIN) / timedelta(hours=1)
            of_day = len(schedule.runs)
            # The largest runs come last.
            candles = 0
            for timeframe in catalog.settings.timeframes.values():
                _close(schedule, timeframe)
                candles += _compare(catalog, day, timeframe)
        if path:
            schedule.save(path)
        _show(schedule.runs[:of_day], hours)
        engines = Counter(run.engine for run in schedule.runs if run.trades)
        size = sum(file.stat().st_size for file in (home / "home").rglob("*") if file.is_file())
        click.echo(
            f"{hours:g} hours, {day.rows:,} rows of {series:,} series; {candles:,} candles, 0 lost, "
            f"0 duplicated, 0 wrong; {len(schedule.runs) - of_day} runs after it; {size / 1e9:.1f} GB; "
            f"runs with trades by engine: {dict(engines)}; worker {WORKER}"
        )


if __name__ == "__main__":
    main()
