"""Cost of a scheduled 1m run on growing tables: longer history, more snapshots, more series, more late trades.

The candles of the past are generated. The trades are few per hour, but each hour has a file. For days older than a
month and for old snapshots only the metadata is generated, in the trades table and in the candle table. The run
executes on a cluster of one core. It finds new trades of the last five minutes, so that their hour has changed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.bench_catalog import BenchCatalog, generated_candles, with_series
from benchmarks.harness import Bench, Cost, Grid, Section, Verdict, measure_interleaved, median
from benchmarks.measured_run import MeasuredRun
from ohlcv.ingest.sample_data import Feed
from ohlcv.model import summary_keys
from ohlcv.model.intervals import HOUR, MICROSECOND, Range
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.model.source_hours import parse_hours
from ohlcv.model.timeframes import DAY
from spark_jobs.iceberg.partial_overwrite import MAX_SINGLE_FILE_ROWS

END = datetime(2026, 3, 2, tzinfo=UTC)
LATEST = timedelta(minutes=5)
OLD_TRADES_PER_HOUR = 16
# Of eight series. Each further group of eight series has as many.
TRADES_IN_THE_LAST_HOUR = 4_800
FEW_DAYS, FEW_SNAPSHOTS, FEW_SERIES = 1, 10, 8
# Late trades are up to a month old.
LATE_DAYS = 30
LATE_HOURS = (1, 24, 240)
MAX_GROWTH, MAX_MANY_SERIES_SECONDS = 1.15, 15.0


def build_run(
    bench: Bench, name: str, days: int = FEW_DAYS, snapshots: int = FEW_SNAPSHOTS, series: int = FEW_SERIES
) -> MeasuredRun:
    """Build tables of a size and return the scheduled run at their end."""
    catalog = BenchCatalog(bench.folder_for("growth") / name)
    timeframe = catalog.timeframe("1m")
    real_days = min(days, LATE_DAYS)
    begin, metadata_days = END - real_days * DAY, days - real_days
    past = Feed(begin)
    hours = real_days * (DAY // HOUR) - 1
    catalog.append(past.batch(END - HOUR, hours * OLD_TRADES_PER_HOUR), days_before=metadata_days)
    last = with_series(past.batch(END - LATEST, TRADES_IN_THE_LAST_HOUR), series)
    trades_snapshot = catalog.append(last)
    candles = generated_candles(catalog.table("1m"), Range(begin, END - LATEST), timeframe, last)
    checkpoint = SourceCheckpoint(trades_snapshot, int(END.timestamp() * 1000))
    # The state after a run: a large day has its closed rows in separate files, and the last commit has a checkpoint.
    *closed, rest = _split_as_written_by_runs(candles)
    for part in closed:
        catalog.append(part, "1m")
    catalog.append(rest, "1m", {summary_keys.CHECKPOINT: checkpoint.to_text()}, metadata_days)
    for table in (None, "1m"):
        catalog.lengthen_history(table, snapshots)
    catalog.append(with_series(past.batch(END, TRADES_IN_THE_LAST_HOUR // 12), series))
    return MeasuredRun(catalog, timeframe, Range(END - timeframe.lookback, END))


def _split_as_written_by_runs(candles: pa.Table) -> list[pa.Table]:
    """Split the candles of a large day into parts of whole hours, one for each file (partial_overwrite.py)."""
    starts = pc.cast(candles["window_start"], pa.int64()).to_numpy()
    hours = starts // (HOUR // MICROSECOND)
    first, last = hours.min(), hours.max()
    if last - first >= 24 or len(candles) <= MAX_SINGLE_FILE_ROWS:
        return [candles]
    step = int(np.ceil(MAX_SINGLE_FILE_ROWS / (len(candles) / (last + 1 - first))))
    parts = [(hours >= begin) & (hours < begin + step) for begin in range(first, last + 1, step)]
    return [candles.filter(pa.array(part)) for part in parts]


def add_late_trades(measured_run: MeasuredRun, hours: int) -> MeasuredRun:
    """Append late trades of the given number of old hours and return the run that finds them."""
    measured_run.catalog.restore_state(measured_run.initial_state)
    old = Feed(END - hours * HOUR - HOUR, seed=hours)
    measured_run.catalog.append(old.batch(END - HOUR, hours * OLD_TRADES_PER_HOUR // 2))
    return MeasuredRun(measured_run.catalog, measured_run.timeframe, measured_run.own_range)


def measure(bench: Bench) -> Section:
    """Measure each kind of growth."""
    section = Section("growth")
    many_days, many_snapshots, many_series = (20, 100, 80) if bench.quick else (400, 5_000, 1_000)
    base = build_run(bench, "base")
    month = build_run(bench, "month", days=LATE_DAYS)
    smallest = f"{FEW_DAYS} day, {FEW_SNAPSHOTS} snapshots, {FEW_SERIES} series"
    days, snapshots, series = f"{many_days} days", f"{many_snapshots:,} snapshots", f"{many_series:,} series"
    interleaved = {
        smallest: base,
        days: build_run(bench, "days", days=many_days),
        snapshots: build_run(bench, "snapshots", snapshots=many_snapshots),
    }
    found = _runs(bench, interleaved, bench.repeats)
    once = {
        series: build_run(bench, "series", series=many_series),
        "100 series": build_run(bench, "hundred", series=100),
        f"{LATE_DAYS} days": month,
    }
    found |= _runs(bench, once, 1)
    rebuilt: dict[str, str] = {}
    for hours in LATE_HOURS:
        measured_run = add_late_trades(month, hours)
        name = f"{LATE_DAYS} days, late trades in {hours} old hours"
        found |= _runs(bench, {name: measured_run}, 1)
        rebuilt[name] = measured_run.commit_summary[summary_keys.REBUILT_PENDING_HOURS]
    section.add_measurements("1m", found)
    small = median(found[smallest])
    grid = Grid(
        "A 1m run on a cluster with growing tables",
        ("tables", "runs", "wall s", "cpu s", "wall ratio", "cpu ratio", "pending hours rebuilt"),
    )
    for name, costs in found.items():
        cost = median(costs)
        ratios = cost.wall / small.wall, cost.processor / small.processor
        count = len(parse_hours(rebuilt[name])) if name in rebuilt else None
        grid.rows.append((name, len(costs), cost.wall, cost.processor, *ratios, count))
    section.grids.append(grid)
    section.notes.append("Rows with one run were measured after the others and not alternately with them.")
    section.verdicts += [
        *(
            Verdict(f"{name}, wall time of a 1m run", median(found[name]).wall / small.wall, MAX_GROWTH)
            for name in (days, snapshots)
        ),
        Verdict(f"{series}, wall time of a 1m run", median(found[series]).wall, MAX_MANY_SERIES_SECONDS, " s"),
    ]
    return section


def _runs(bench: Bench, measured_runs: dict[str, MeasuredRun], rounds: int) -> dict[str, list[Cost]]:
    turns = {
        name: partial(measured_run.measure, measured_run.job(), bench.cluster)
        for name, measured_run in measured_runs.items()
    }
    return measure_interleaved(turns, rounds, "1m,")
