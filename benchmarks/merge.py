"""A design that was rejected: SQL MERGE in place of the upsert by overwrite; the same 1m run, the same candles."""

from __future__ import annotations

import dataclasses
from functools import partial

from benchmarks.asking import ROOT
from benchmarks.harness import Bench, Grid, Section, median, take_turns
from benchmarks.small_runs import last_run, small_world
from ohlcv.model.timeframes import TIMEFRAMES


def measure(bench: Bench) -> Section:
    """Let both write in turns."""
    section = Section("merge")
    contest = last_run(small_world(bench), TIMEFRAMES["1m"])
    ours = contest.job()
    merge = dataclasses.replace(ours, application=str(ROOT / "benchmarks" / "merge_job.py"))
    found = take_turns(
        {
            "MERGE": partial(contest.measure, merge, bench.cluster),
            "overwrite": partial(contest.measure, ours, bench.cluster),
        },
        1,
        "1m by",
    )
    section.keep("1m by", found)
    grid = Grid("A 1m run on a cluster by SQL MERGE and by ours, same settings", ("way", "runs", "wall s", "cpu s"))
    for name, costs in found.items():
        cost = median(costs)
        grid.rows.append((name, len(costs), cost.wall, cost.processor))
    old, new = median(found["MERGE"]), median(found["overwrite"])
    grid.rows.append(("ratio", None, new.wall / old.wall, new.processor / old.processor))
    section.grids.append(grid)
    return section
