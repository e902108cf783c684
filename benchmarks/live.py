"""From cron tick to validated candle, with all five candle DAGs live: the demo's services and its feed of new trades.

`make bench-live`, for the time of OHLCV's own clock: MINUTES=60 by default. A run's seconds are those from the end of
its data interval, when it was due, to the end of its `validate` task; the rest of the table says where they went.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from benchmarks.harness import Bench, Grid, Section, Verdict, say
from benchmarks.worlds import World
from ohlcv.commands.terminal import working
from ohlcv.demo import Demo, demo_services
from ohlcv.errors import OhlcvError
from ohlcv.timeframes import TIMEFRAMES

TRADES = 636_263
MINUTES = 60.0
# The first runs find an Airflow that has just started.
SETTLING_MINUTES = 6.0
POLL_SECONDS = 5.0
MEDIAN_SECONDS, SLOWEST_SECONDS = 20.0, 30.0
PHASES = ("due to start", "aggregate", "between", "validate", "due to validated")


def measure(bench: Bench) -> Section:
    """Watch the schedule."""
    minutes = float(os.environ.get("MINUTES") or MINUTES)
    world = World(bench.room("live") / "home")
    with demo_services(world.settings, TRADES, working, say) as demo:
        demo.airflow.unpause(*(timeframe.dag_id for timeframe in TIMEFRAMES.values()))
        begin = time.time() + 60 * SETTLING_MINUTES
        end = begin + 60 * minutes
        while time.time() < end:
            demo.airflow.check_alive()
            time.sleep(POLL_SECONDS)
        runs = {name: _runs(demo, timeframe.dag_id, begin) for name, timeframe in TIMEFRAMES.items()}
    section = Section("live")
    section.grids.append(_grid(runs, minutes))
    section.measured = {name: found for name, found in runs.items() if found}
    seconds = [run["due to validated"] for found in runs.values() for run in found]
    if not seconds:
        raise OhlcvError(f"no scheduled run ended within {minutes:.0f} minutes")
    section.verdicts += [
        Verdict("tick to validated candle, median", float(np.median(seconds)), MEDIAN_SECONDS, " s"),
        Verdict("tick to validated candle, 95th percentile", float(np.percentile(seconds, 95)), SLOWEST_SECONDS, " s"),
    ]
    return section


def _runs(demo: Demo, dag_id: str, begin: float) -> list[dict[str, float]]:
    """Give the phases of the scheduled runs due since a time, in seconds; one that failed stops everything."""
    found = []
    for run in demo.airflow.runs(dag_id):
        due = _seconds(run["run_after"])
        if run["run_type"] != "scheduled" or due < begin or run["state"] not in ("success", "failed"):
            continue
        if run["state"] == "failed":
            raise OhlcvError(f"{dag_id} {run['dag_run_id']} failed: the times mean nothing")
        found.append(_phases(due, demo.airflow.tasks(dag_id, run["dag_run_id"])))
    return found


def _phases(due: float, tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    aggregate, validate = tasks["aggregate"], tasks["validate"]
    started, built = _seconds(aggregate["start_date"]), _seconds(aggregate["end_date"])
    checking, validated = _seconds(validate["start_date"]), _seconds(validate["end_date"])
    figures = (started - due, built - started, checking - built, validated - checking, validated - due)
    return dict(zip(PHASES, figures, strict=True))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _grid(runs: Mapping[str, list[dict[str, float]]], minutes: float) -> Grid:
    columns = ("timeframe", "runs", *(f"{phase} s" for phase in PHASES), "95th percentile s")
    grid = Grid(f"From tick to validated candle, all five DAGs live, {minutes:.0f} minutes; medians", columns)
    for name, found in [*runs.items(), ("all", [run for each in runs.values() for run in each])]:
        if found:
            medians = (float(np.median([run[phase] for run in found])) for phase in PHASES)
            slowest = float(np.percentile([run["due to validated"] for run in found], 95))
            grid.rows.append((name, len(found), *medians, slowest))
    return grid
