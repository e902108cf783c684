"""Spark session that executes requests over a local socket, so that a warm executor can be measured.

It is started by spark-submit with the options of a real job and sets none itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from benchmarks.measured_process import serve
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.build_planner import BuildPlan
from ohlcv.model.intervals import Range, day_range, parse_day, parse_time
from ohlcv.model.source_hours import hours_overlapping
from ohlcv.model.timeframes import Timeframe
from spark_jobs.iceberg.trades_history import TableHistory
from spark_jobs.jobs.build_candles import build
from spark_jobs.jobs.rebuild import Request, Source, compute, read_source
from spark_jobs.jobs.reprocess_day import DayRequest, reprocess
from spark_jobs.runtime.execution import Execution, run_on_engine
from spark_jobs.runtime.parent_watchdog import watch_parents
from spark_jobs.runtime.session import open_session

VOLUME = "decimal(18,8)"


class SessionService:
    """Methods that can be called over the socket."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        self.spark = spark
        self.settings = settings

    def candles(self, timeframe: str, start: str, end: str, snapshot: int) -> dict[str, Any]:
        """Return the candles of a range as a job computes them, and the execution, on the engine of reprocessing."""
        chosen, own_range = self.settings.timeframe(timeframe), _range(start, end)

        def work(execution: Execution) -> dict[str, Any]:
            history = TableHistory(self.spark, self.settings, snapshot)
            with read_source(self.spark, history, [chosen], [own_range], execution) as source:
                found = computed_candles(source, chosen, own_range).toArrow()
                return {"candles": found, "execution": source.execution.to_json()}

        return run_on_engine(self.spark, self.settings, self.settings.reprocess_tuning, work)

    def build(self, timeframe: str, start: str, end: str, run_id: str = "") -> dict[str, Any]:
        """Run the job of a scheduled run, including the commit."""
        request = Request(self.settings.timeframe(timeframe), _range(start, end), rebuild_pending=True, run_id=run_id)
        return build(self.spark, self.settings, request)

    def reprocess(self, day: str) -> dict[str, Any]:
        """Run the reprocessing job, including its commits."""
        day_span = day_range(parse_day(day))
        ranges = {self.settings.timeframe(name): day_span for name in self.settings.tuning}
        return reprocess(self.spark, self.settings, DayRequest(parse_day(day), ranges))


def computed_candles(source: Source, timeframe: Timeframe, own_range: Range) -> DataFrame:
    """Return the candles of a range without the columns that only the job uses."""
    plan = BuildPlan(timeframe, own_range, [own_range], hours_overlapping([own_range]))
    return compute(source, plan, VOLUME).drop("exact_volume", "withheld", "violation")


def _range(start: str, end: str) -> Range:
    return Range(parse_time(start)[0], parse_time(end)[0])


def serve_session(service: Callable[[SparkSession, Settings], SessionService]) -> None:
    """Open the session and serve requests."""
    settings = load_settings()
    watch_parents()
    spark = open_session(settings, f"ohlcv benchmark {datetime.now(UTC):%H:%M:%S}")
    serve(service(spark, settings), sys.argv[1])
    spark.stop()


if __name__ == "__main__":
    serve_session(SessionService)
