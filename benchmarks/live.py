"""Time from cron tick to validated candles with all five candle DAGs live, on the services and the feed of the demo.

`make bench-live`, over MINUTES=60. The time of a run starts at the end of its data interval, when it is due, and ends
with its `validate` task. The table also shows the phases of that time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from benchmarks.bench_catalog import BenchCatalog
from benchmarks.harness import Bench, Grid, Section, Verdict, log_progress
from benchmarks.processes import home_environment
from ohlcv.cli.terminal import show_progress
from ohlcv.demo.demo import Demo, demo_services
from ohlcv.model.errors import OhlcvError
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES

TRADES = 636_263
MINUTES, QUICK_MINUTES = 60.0, 6.0
# Airflow has just started during the first runs, so they are not measured.
WARM_UP_MINUTES = 6.0
POLL_SECONDS = 5.0
MEDIAN_SECONDS, MAX_P95_SECONDS = 20.0, 30.0
PHASES = ("due to start", "aggregate", "between", "validate", "due to validated")


def measure(bench: Bench) -> Section:
    """Measure the scheduled runs."""
    minutes = float(os.environ.get("MINUTES") or (QUICK_MINUTES if bench.quick else MINUTES))
    catalog = BenchCatalog(bench.folder_for("live") / "home")
    # The jobs of the demo find the catalog by this environment.
    os.environ.update(home_environment(catalog.settings))
    with demo_services(catalog.settings, TRADES, show_progress, log_progress) as demo:
        demo.airflow.unpause(*(timeframe.dag_id for timeframe in DEFAULT_TIMEFRAMES.values()))
        begin = time.time() + 60 * (0 if bench.quick else WARM_UP_MINUTES)
        end = begin + 60 * minutes
        # Runs that are due in the last minute are included, however long they take. Without them the result would be
        # too good, because slow runs would be left out.
        while time.time() < end or not _all_ended(demo, begin, end):
            demo.airflow.check_alive()
            time.sleep(POLL_SECONDS)
        runs = {
            name: [_phases(run, demo.airflow.tasks(timeframe.dag_id, run["dag_run_id"])) for run in found]
            for name, timeframe in DEFAULT_TIMEFRAMES.items()
            if (found := _due(demo, timeframe.dag_id, begin, end))
        }
    if not runs:
        raise OhlcvError(f"no run was due within {minutes:.0f} minutes: set a larger MINUTES")
    section = Section("live")
    section.grids.append(_grid(runs, minutes))
    section.measured = runs
    seconds = [run[PHASES[-1]] for found in runs.values() for run in found]
    section.verdicts += [
        Verdict("tick to validated candle, median", float(np.median(seconds)), MEDIAN_SECONDS, " s"),
        Verdict("tick to validated candle, 95th percentile", float(np.percentile(seconds, 95)), MAX_P95_SECONDS, " s"),
    ]
    return section


def _due(demo: Demo, dag_id: str, begin: float, end: float) -> list[dict[str, Any]]:
    """Return the scheduled runs that are due between two times."""
    runs = (run for run in demo.airflow.runs(dag_id) if run["run_type"] == "scheduled")
    return [run for run in runs if begin <= _seconds(run["run_after"]) < end]


def _all_ended(demo: Demo, begin: float, end: float) -> bool:
    """Return whether the runs that are due between two times have ended. Raise OhlcvError if one failed."""
    runs = [run for timeframe in DEFAULT_TIMEFRAMES.values() for run in _due(demo, timeframe.dag_id, begin, end)]
    for run in runs:
        if run["state"] == "failed":
            raise OhlcvError(f"{run['dag_id']} {run['dag_run_id']} failed, so the times cannot be evaluated")
    return all(run["state"] == "success" for run in runs)


def _phases(run: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    due = _seconds(run["run_after"])
    aggregate, validate = tasks["aggregate"], tasks["validate"]
    started, built = _seconds(aggregate["start_date"]), _seconds(aggregate["end_date"])
    validating, validated = _seconds(validate["start_date"]), _seconds(validate["end_date"])
    figures = (started - due, built - started, validating - built, validated - validating, validated - due)
    return dict(zip(PHASES, figures, strict=True))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _grid(runs: Mapping[str, list[dict[str, float]]], minutes: float) -> Grid:
    columns = ("timeframe", "runs", *(f"{phase} s" for phase in PHASES), "95th percentile s")
    grid = Grid(f"From tick to validated candle, all five DAGs live, {minutes:.0f} minutes; medians", columns)
    for name, found in [*runs.items(), ("all", [run for each in runs.values() for run in each])]:
        if found:
            medians = (float(np.median([run[phase] for run in found])) for phase in PHASES)
            slowest = float(np.percentile([run[PHASES[-1]] for run in found], 95))
            grid.rows.append((name, len(found), *medians, slowest))
    return grid
