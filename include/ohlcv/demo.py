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
from ohlcv.schema import CANDLES_VIEW, TRADES, candles_contract
from ohlcv.settings import Settings
from ohlcv.submit import LOCAL_MASTER, SparkJob, build_job, run, views_job
from ohlcv.timeframes import TIMEFRAMES, Timeframe
from ohlcv.warehouse import create_tables, has_view, load_table, open_catalog
from ohlcv.windows import MICROSECOND, Range, ceil_time, floor_time, to_microseconds

Working = Callable[[str], AbstractContextManager[None]]
SAMPLE_HOURS = 13


@dataclass(frozen=True)
class Built:
    """One timeframe of the demo: what its job reported, and whether the table holds what it should."""

    timeframe: Timeframe
    report: dict[str, Any]
    seconds: float
    rows: int
    rows_expected: int

    @property
    def sound(self) -> bool:
        return self.rows == self.rows_expected and not self.report["candles"]["withheld"]


def run_demo(settings: Settings, today: datetime, trades: int, working: Working) -> list[Built]:
    """Load sample trades of yesterday, build every timeframe on a cluster of its own, count what came out."""
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
            rows, expected = count_rows(settings, timeframe, own)
            results.append(Built(timeframe, report, seconds, rows, expected))
    finally:
        with working("stopping Spark"):
            cluster.__exit__(None, None, None)
    return results


def _run(job: SparkJob, master: str) -> str:
    outcome = run(job, master)
    if outcome.exit_code:
        raise OhlcvError(outcome.error)
    return outcome.last_line


def count_rows(settings: Settings, timeframe: Timeframe, span: Range) -> tuple[int, int]:
    """Count the stored candles of a range, and by another engine those its trades call for."""
    import duckdb

    catalog = open_catalog(settings)
    first, last = to_microseconds(span.start), to_microseconds(span.end)
    days = f"exchange_date >= '{span.start.date()}' AND exchange_date <= '{(span.end - MICROSECOND).date()}'"
    trades = load_table(catalog, TRADES).scan(
        row_filter=days, selected_fields=("symbol", "exchange", "timestamp", "price", "quantity")
    )
    bounds = f"window_start >= '{span.start.isoformat()}' AND window_start < '{span.end.isoformat()}'"
    candles = load_table(catalog, candles_contract(timeframe)).scan(row_filter=bounds, selected_fields=("symbol",))
    with duckdb.connect() as connection:
        connection.register("trades", trades.to_arrow())
        row = connection.execute(
            """
            SELECT count(DISTINCT (symbol, exchange, "timestamp" // $length))
            FROM trades
            WHERE "timestamp" >= $first AND "timestamp" < $last AND price > 0 AND quantity > 0
            """,
            {"length": timeframe.microseconds, "first": first, "last": last},
        ).fetchone()
    assert row is not None
    return candles.count(), int(row[0])
