"""The demo: the whole pipeline on sample trades, on this machine, from nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ohlcv.errors import OhlcvError
from ohlcv.local_cluster import local_cluster
from ohlcv.sample import load_sample
from ohlcv.schema import CANDLES_VIEW
from ohlcv.settings import Settings
from ohlcv.submit import LOCAL_MASTER, SparkJob, build_job, run, views_job
from ohlcv.timeframes import TIMEFRAMES, Timeframe
from ohlcv.validation import Verdict, validate
from ohlcv.warehouse import create_tables, has_view
from ohlcv.windows import Range, ceil_time, floor_time

Working = Callable[[str], AbstractContextManager[None]]
SAMPLE_HOURS = 13


@dataclass(frozen=True)
class Built:
    """One timeframe of the demo: what its job reported, and whether the table holds what it should."""

    timeframe: Timeframe
    report: dict[str, Any]
    seconds: float
    verdict: Verdict

    @property
    def sound(self) -> bool:
        return self.verdict.candles > 0 and not self.verdict.findings


def run_demo(settings: Settings, today: datetime, trades: int, working: Working) -> list[Built]:
    """Load sample trades of yesterday, build every timeframe on a cluster of its own, check what came out."""
    with working("creating the tables"):
        create_tables(settings)
    if not has_view(settings, CANDLES_VIEW):
        with working("creating the views"):
            _run(views_job(), LOCAL_MASTER)
    # Ending at midnight, the sample fills complete windows of every timeframe, the day's included.
    span = Range(today - timedelta(hours=SAMPLE_HOURS), today)
    with working(f"loading {trades:,} sample trades {span}"):
        load_sample(settings, trades=trades, hours=SAMPLE_HOURS, end=today)
    results = []
    with working("starting a Spark master and a worker on 127.0.0.1"):
        cluster = local_cluster(settings.home / "spark")
        running = cluster.__enter__()
    try:
        for name in TIMEFRAMES:
            timeframe = settings.timeframe(name)
            own = Range(floor_time(span.start, timeframe.length), ceil_time(span.end, timeframe.length))
            with working(f"building {name}"):
                begin = time.monotonic()
                report = json.loads(_run(build_job(settings, name, own), running.master))
                seconds = time.monotonic() - begin
            with working(f"checking {name} by another engine"):
                verdict = validate(settings, timeframe, own)
            results.append(Built(timeframe, report, seconds, verdict))
    finally:
        with working("stopping Spark"):
            cluster.__exit__(None, None, None)
    return results


def _run(job: SparkJob, master: str) -> str:
    outcome = run(job, master)
    if outcome.exit_code:
        raise OhlcvError(outcome.error)
    return outcome.last_line
