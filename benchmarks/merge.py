"""SQL MERGE, a rejected design, compared with the upsert by overwrite in the same 1m run."""

from __future__ import annotations

import dataclasses
from functools import partial

from benchmarks.harness import Bench, Grid, Section, measure_interleaved, median
from benchmarks.measured_process import ROOT
from benchmarks.small_runs import build_small_catalog, newest_scheduled_run
from ohlcv.model.timeframes import TIMEFRAMES


def measure(bench: Bench) -> Section:
    """Measure both kinds of writes alternately."""
    section = Section("merge")
    measured_run = newest_scheduled_run(build_small_catalog(bench), TIMEFRAMES["1m"])
    ours = measured_run.job()
    merge = dataclasses.replace(ours, application=str(ROOT / "benchmarks" / "merge_job.py"))
    found = measure_interleaved(
        {
            "MERGE": partial(measured_run.measure, merge, bench.cluster),
            "overwrite": partial(measured_run.measure, ours, bench.cluster),
        },
        1,
        "1m by",
    )
    section.add_measurements("1m by", found)
    grid = Grid(
        "A 1m run on a cluster by SQL MERGE and by overwrite, same settings", ("way", "runs", "wall s", "cpu s")
    )
    for name, costs in found.items():
        cost = median(costs)
        grid.rows.append((name, len(costs), cost.wall, cost.processor))
    old, new = median(found["MERGE"]), median(found["overwrite"])
    grid.rows.append(("ratio", None, new.wall / old.wall, new.processor / old.processor))
    section.grids.append(grid)
    return section
