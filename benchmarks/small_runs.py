"""A scheduled run of each timeframe with this project's settings and with a plain spark-submit, and its validation.

The tables contain two days of trades, and candles of all but the last half of the lookback.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal

from croniter import croniter_range

from benchmarks.bench_catalog import BenchCatalog, generated_candles
from benchmarks.harness import Bench, Cost, Grid, Section, Verdict, measure_interleaved, median
from benchmarks.measured_run import MeasuredRun
from benchmarks.processes import as_stock_job
from benchmarks.validation_cost import measure_validation
from benchmarks.warm import warm_session
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.intervals import HOUR, Range, iso
from ohlcv.model.timeframes import DAY, DEFAULT_TIMEFRAMES, TIMEFRAMES, Timeframe
from ohlcv.setup.class_data_sharing import is_current

TRADES = 636_263
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
END = BEGIN + 2 * DAY
# Maximum ratios to a plain spark-submit for the 1m run on a cluster, and the maximum share of a run's time target.
MAX_CPU_RATIO, MAX_WALL_RATIO, MAX_TARGET_SHARE = 0.40, 0.50, 0.50


def build_small_catalog(bench: Bench) -> BenchCatalog:
    """Build two days of trades and all candles but the last. Candles that no run and no validation reads are random.

    The validation compares candles with the next finer timeframe, so 1d needs two days of real 1h candles.
    """
    folder = bench.folder_for("small")
    exists = (folder / "home").exists()
    catalog = BenchCatalog(folder / "home")
    if exists:
        return catalog
    trades = Feed(BEGIN).batch(END, TRADES // (20 if bench.quick else 1))
    catalog.append(trades)
    with warm_session(catalog, bench.cluster, folder) as session:
        for name, timeframe in DEFAULT_TIMEFRAMES.items():
            until = END - timeframe.lookback / 2
            begin = END - TIMEFRAMES["1h"].lookback if timeframe.length < HOUR else BEGIN
            if begin > BEGIN:
                catalog.append(generated_candles(catalog.table(name), Range(BEGIN, begin), timeframe, trades), name)
            session.call("build", timeframe=name, start=iso(begin), end=iso(until))
    return catalog


def newest_scheduled_run(catalog: BenchCatalog, timeframe: Timeframe) -> MeasuredRun:
    """Return the scheduled run that is due at the end of the trades."""
    return MeasuredRun(catalog, timeframe, Range(END - timeframe.lookback, END))


def measure(bench: Bench) -> Section:
    """Measure the scheduled run of every timeframe on a cluster."""
    section = Section("small runs")
    if not is_current():
        section.notes.append(
            "There are no CDS archives for this machine, so runs are slower: 'make setup' creates them."
        )
    validations: dict[str, list[Cost]] = {name: [] for name in DEFAULT_TIMEFRAMES}
    slow, fast = _compare_with_stock(bench, section, "cluster", validations)
    checks = Grid("Validation of the same run by DuckDB and pyiceberg", ("timeframe", "runs", "wall s", "cpu s"))
    for name, costs in validations.items():
        cost = median(costs)
        checks.rows.append((name, len(costs), cost.wall, cost.processor))
    section.add_measurements("validation of", validations)
    section.grids += [checks, schedule(slow, fast)]
    ours, theirs = fast["1m"], slow["1m"]
    section.verdicts += [
        Verdict("1m on a cluster, CPU time relative to stock", ours.processor / theirs.processor, MAX_CPU_RATIO),
        Verdict("1m on a cluster, wall time relative to stock", ours.wall / theirs.wall, MAX_WALL_RATIO),
        *(
            Verdict(
                f"{name} on a cluster, wall time relative to half its target",
                cost.wall,
                MAX_TARGET_SHARE * TIMEFRAMES[name].time_target.total_seconds(),
                " s",
            )
            for name, cost in fast.items()
        ),
    ]
    return section


def measure_local(bench: Bench) -> Section:
    """Measure every timeframe in local mode, where the driver also does the work of the executor."""
    section = Section("small runs without a cluster")
    _compare_with_stock(bench, section, "local", {})
    return section


def _compare_with_stock(
    bench: Bench, section: Section, where: Literal["cluster", "local"], validations: dict[str, list[Cost]]
) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """Measure the job of every timeframe alternately with the stock job. Return the median costs of both."""
    catalog = build_small_catalog(bench)
    columns = ("timeframe", "runs", "stock wall s", "stock cpu s", "wall s", "cpu s", "wall ratio", "cpu ratio")
    grid = Grid(f"A small run, {where}: {TRADES:,} trades stored, the timeframe's lookback", columns)
    section.grids.append(grid)
    theirs, ours = (bench.stock_cluster, bench.cluster) if where == "cluster" else (None, None)
    slow, fast = {}, {}
    for timeframe in DEFAULT_TIMEFRAMES.values():
        measured_run = newest_scheduled_run(catalog, timeframe)
        job, name = measured_run.job(), timeframe.name
        afterwards = partial(_validate, measured_run, validations[name]) if name in validations else lambda: None
        turns = {
            "stock": partial(measured_run.measure, as_stock_job(job), theirs),
            "ours": partial(measured_run.measure, job, ours, afterwards),
        }
        # The limits apply to the 1m run on a cluster, which is the most frequent. Each other run is measured once.
        rounds = bench.repeats if (name, where) == ("1m", "cluster") else 1
        found = measure_interleaved(turns, rounds, f"{name} {where}")
        section.add_measurements(f"{name} {where}", found)
        slow[name], fast[name] = median(found["stock"]), median(found["ours"])
        ratios = fast[name].wall / slow[name].wall, fast[name].processor / slow[name].processor
        figures = slow[name].wall, slow[name].processor, fast[name].wall, fast[name].processor
        grid.rows.append((name, rounds, *figures, *ratios))
    return slow, fast


def _validate(measured_run: MeasuredRun, found: list[Cost]) -> None:
    found.append(measure_validation(measured_run))


def runs_a_day(timeframe: Timeframe) -> int:
    """Return the number of scheduled runs of a timeframe in a day."""
    return len(list(croniter_range(BEGIN, BEGIN + DAY - timedelta(seconds=1), timeframe.cron)))


def schedule(slow: dict[str, Cost], fast: dict[str, Cost]) -> Grid:
    """Compute the cost of a day's schedule from one run of each timeframe."""
    columns = ("timeframe", "runs a day", "stock cpu s", "cpu s", "stock busy s", "busy s")
    grid = Grid("A day's schedule, computed from the runs on a cluster", columns)
    total = [0.0] * 4
    for name, timeframe in DEFAULT_TIMEFRAMES.items():
        runs = runs_a_day(timeframe)
        figures = slow[name].processor, fast[name].processor, slow[name].wall, fast[name].wall
        days = [runs * figure for figure in figures]
        total = [before + figure for before, figure in zip(total, days, strict=True)]
        grid.rows.append((name, runs, *days))
    grid.rows.append(("all", sum(map(runs_a_day, DEFAULT_TIMEFRAMES.values())), *total))
    return grid
