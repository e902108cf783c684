"""A run of extended tables compared with the same run of tables without measures, in alternating pairs.

The small run is the newest scheduled 1m run. The large one reprocesses a day of ten million trades in all timeframes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from benchmarks.bench_catalog import BenchCatalog
from benchmarks.harness import Bench, Cost, Grid, Section, Verdict, log_progress, measure_interleaved, median
from benchmarks.measured_run import MeasuredRun
from benchmarks.small_runs import BEGIN, build_small_catalog, newest_scheduled_run
from ohlcv.iceberg.tables import extend
from ohlcv.ingest.sample_data import sample_trades
from ohlcv.model.intervals import Range, iso
from ohlcv.model.timeframes import DAY, DEFAULT_TIMEFRAMES, Timeframe
from ohlcv.spark.spark_submit import SparkJob, reprocess_job

MINUTE = DEFAULT_TIMEFRAMES["1m"]
TRADES = 10_000_000
PAIRS = 5
# Maximum processor time of a run of an extended table, relative to one that is not extended.
MAX_RATIO = 1.10


def measure(bench: Bench) -> Section:
    """Measure both runs, with their audits."""
    section = Section("measures")
    grid = Grid(
        "A run of tables without measures (plain) and of extended ones",
        ("run", "pairs", "plain wall s", "extended wall s", "plain cpu s", "extended cpu s", "cpu ratio"),
    )
    section.grids.append(grid)
    small = build_small_catalog(bench)
    _measure_pairs(bench, section, grid, "small", lambda: newest_scheduled_run(small, MINUTE), [MINUTE])
    large = _build_large_catalog(bench)
    day = Range(BEGIN, BEGIN + DAY)
    timeframes = DEFAULT_TIMEFRAMES.values()
    _measure_pairs(bench, section, grid, "large", lambda: MeasuredRun(large, MINUTE, day), timeframes, _reprocessing)
    return section


def _build_large_catalog(bench: Bench) -> BenchCatalog:
    catalog = BenchCatalog(bench.folder_for("measures") / "home")
    catalog.append(sample_trades(TRADES // (20 if bench.quick else 1), DAY // MINUTE.length // 60, BEGIN + DAY))
    log_progress("day of trades generated")
    return catalog


def _reprocessing(run: MeasuredRun) -> SparkJob:
    span, names = run.own_range, ",".join(DEFAULT_TIMEFRAMES)
    day, until = f"{span.start:%F}", iso(span.end)
    return reprocess_job(run.catalog.settings, day=day, until=until, timeframes=names, prune="no", dry_run="no")


def _measure_pairs(
    bench: Bench,
    section: Section,
    grid: Grid,
    name: str,
    new_run: Callable[[], MeasuredRun],
    timeframes: Iterable[Timeframe],
    job: Callable[[MeasuredRun], SparkJob] = MeasuredRun.job,
) -> None:
    plain = new_run()
    settings = plain.catalog.settings
    for timeframe in timeframes:
        extend(settings, settings.candles_contract(timeframe))
    # A run restores the state of the tables that it found first.
    runs = {"plain": plain, "extended": new_run()}
    pairs = 1 if bench.quick else PAIRS
    turns = {kind: partial(_measure, bench, each, job) for kind, each in runs.items()}
    found = measure_interleaved(turns, pairs, name)
    plain.catalog.restore_state(plain.initial_state)
    section.add_measurements(name, found)
    before, after = (median(found[kind]) for kind in runs)
    ratio = after.processor / before.processor
    grid.rows.append((name, pairs, before.wall, after.wall, before.processor, after.processor, ratio))
    section.verdicts.append(Verdict(f"{name} run, processor time of an extended table", ratio, MAX_RATIO))


def _measure(bench: Bench, run: MeasuredRun, job: Callable[[MeasuredRun], SparkJob]) -> Cost:
    run.catalog.restore_state(run.initial_state)
    return run.measure(job(run), bench.cluster)
