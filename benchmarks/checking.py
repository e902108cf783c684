"""The check after a run: the command, in a process of its own as the task is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.contest import Contest
from benchmarks.harness import Cost
from benchmarks.processes import children_seconds, home_environment
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import iso


def check(contest: Contest) -> Cost:
    """Check the candles of a run's range, which must be right."""
    command = [str(Path(sys.executable).with_name("ohlcv")), "validate", "--timeframe", contest.timeframe.name]
    command += ["--start", iso(contest.span.start), "--end", iso(contest.span.end)]
    children, begin = children_seconds(), time.monotonic()
    result = subprocess.run(
        command,
        env={**os.environ, **home_environment(contest.world.settings)},
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.monotonic() - begin
    if result.returncode:
        raise OhlcvError(f"'{' '.join(command[1:])}' failed: {(result.stdout + result.stderr).strip()[-500:]}")
    return Cost(wall, children_seconds() - children)
