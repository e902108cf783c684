"""Cost of the validation after a run, measured on `ohlcv validate` in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import Cost
from benchmarks.measured_run import MeasuredRun
from benchmarks.processes import children_seconds, home_environment
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import iso


def measure_validation(measured_run: MeasuredRun, run_id: str = "") -> Cost:
    """Validate the candles of a run's range and return the cost. Raise OhlcvError if the validation fails.

    With the id of the run, do what the validation task of the run does.
    """
    name, span = measured_run.timeframe.name, measured_run.own_range
    start, end = iso(span.start), iso(span.end)
    if run_id:
        arguments = ["--run", run_id, f"--range={name}={start}/{end}"]
    else:
        arguments = ["--timeframe", name, "--start", start, "--end", end]
    command = [str(Path(sys.executable).with_name("ohlcv")), "validate", *arguments]
    children, begin = children_seconds(), time.monotonic()
    result = subprocess.run(
        command,
        env={**os.environ, **home_environment(measured_run.catalog.settings)},
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.monotonic() - begin
    if result.returncode:
        raise OhlcvError(f"'{' '.join(command[1:])}' failed: {(result.stdout + result.stderr).strip()[-500:]}")
    return Cost(wall, children_seconds() - children)
