"""What the check after a run costs: the command, in a process of its own as the task is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.harness import Bench, Cost, Grid, Section, median, take_turns
from benchmarks.processes import children_seconds, home_environment, measure_job
from benchmarks.small_runs import BEGIN, END, last_run, small_world
from benchmarks.worlds import World
from ohlcv.errors import OhlcvError
from ohlcv.timeframes import TIMEFRAMES, Timeframe
from ohlcv.windows import iso


def check(world: World, timeframe: Timeframe) -> Cost:
    """Check the candles of a timeframe's lookback, as they should be."""
    span = last_run(world, timeframe).span
    command = [str(Path(sys.executable).with_name("ohlcv")), "validate", "--timeframe", timeframe.name]
    command += ["--start", iso(span.start), "--end", iso(span.end)]
    children, begin = children_seconds(), time.monotonic()
    result = subprocess.run(
        command,
        env={**os.environ, **home_environment(world.settings)},
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.monotonic() - begin
    if result.returncode:
        raise OhlcvError(f"'{' '.join(command[1:])}' failed: {(result.stdout + result.stderr).strip()[-500:]}")
    return Cost(wall, children_seconds() - children)


def measure(bench: Bench) -> Section:
    """Measure the check of every timeframe."""
    section = Section("validation")
    world = small_world(bench)
    before = world.bookmark()
    for timeframe in TIMEFRAMES.values():
        job = last_run(world, timeframe).job()
        measure_job(job, bench.cluster.master, home_environment(world.settings), bench.cluster)
    found = take_turns(
        {name: partial(check, world, timeframe) for name, timeframe in TIMEFRAMES.items()}, bench.repeats, "check of"
    )
    section.keep("check of", found)
    columns = ("timeframe", "runs", "wall s", "cpu s")
    title = f"The check of a run by DuckDB over pyiceberg, {BEGIN:%d} to {END:%d %B}"
    grid = Grid(title, columns)
    for name, costs in found.items():
        cost = median(costs)
        grid.rows.append((name, len(costs), cost.wall, cost.processor))
    section.grids.append(grid)
    world.put_back(before)
    return section
