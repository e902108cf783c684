"""A scheduled run whose candles are audited before they are published, and one that is validated afterwards."""

from __future__ import annotations

from functools import partial

from benchmarks.harness import Bench, Cost, Grid, Section, Verdict, measure_interleaved, median
from benchmarks.measured_run import MeasuredRun
from benchmarks.small_runs import build_small_catalog, newest_scheduled_run
from benchmarks.validation_cost import measure_validation
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.spark.local_cluster import LocalCluster

RUN = "measured"
# Largest ratios to a run that is validated after it is published.
MAX_WALL_RATIO, MAX_CPU_RATIO = 1.05, 1.05


def measure(bench: Bench) -> Section:
    """Measure the time until candles are visible and trusted, and the processor time of a run with its validation."""
    section = Section("audited runs")
    catalog = build_small_catalog(bench)
    grid = Grid(
        "Start of the job until validated candles (after) and until published candles (before), with the validation",
        (
            "timeframe",
            "runs",
            "after wall s",
            "before wall s",
            "wall ratio",
            "after cpu s",
            "before cpu s",
            "cpu ratio",
        ),
    )
    section.grids.append(grid)
    for name, rounds in (("1m", 2 * bench.repeats + 1), ("1d", 1)):
        run = newest_scheduled_run(catalog, TIMEFRAMES[name])
        jobs: dict[str, list[Cost]] = {"after": [], "before": []}
        turns = {audit: partial(_measure, run, bench.cluster, audit, jobs[audit]) for audit in jobs}
        total = {audit: median(found) for audit, found in measure_interleaved(turns, rounds, name).items()}
        section.add_measurements(f"{name} job", jobs)
        # A published candle is visible when the job ends, a validated one when the validation ends.
        after, before = total["after"].wall, median(jobs["before"]).wall
        cpu = total["after"].processor, total["before"].processor
        grid.rows.append((name, rounds, after, before, before / after, *cpu, cpu[1] / cpu[0]))
        if name == "1m":
            section.verdicts += [
                Verdict("1m: published compared with validated, wall time", before / after, MAX_WALL_RATIO),
                Verdict("1m: with its validation, processor time", cpu[1] / cpu[0], MAX_CPU_RATIO),
            ]
    return section


def _measure(run: MeasuredRun, cluster: LocalCluster | None, audit: str, jobs: list[Cost]) -> Cost:
    """Run the job and its validation task, and return the cost of both."""
    validations: list[Cost] = []
    job = run.measure(
        run.job(RUN),
        cluster,
        lambda: validations.append(measure_validation(run, RUN)),
        {"OHLCV_AUDIT": audit},
    )
    jobs.append(job)
    [validation] = validations
    return Cost(job.wall + validation.wall, job.processor + validation.processor)
