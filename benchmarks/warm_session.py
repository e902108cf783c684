"""Spark session that executes requests over a local socket, so that a warm executor can be measured.

It is started by spark-submit with the options of a real job and sets none itself.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.measured_process import serve
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.intervals import Range, day_range, parse_day, parse_time
from ohlcv.model.timeframes import Timeframe
from spark_jobs.compute.candle_builder import candles_from_totals, vwap
from spark_jobs.compute.time_predicates import window_start
from spark_jobs.iceberg.trades_history import TableHistory
from spark_jobs.jobs.build_candles import build
from spark_jobs.jobs.rebuild import Request, Source, read_source
from spark_jobs.jobs.reprocess_day import DayRequest, reprocess
from spark_jobs.runtime.parent_watchdog import watch_parents
from spark_jobs.runtime.session import open_session

VOLUME = "decimal(18, 8)"


class SessionService:
    """Methods that can be called over the socket."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        self.spark = spark
        self.settings = settings

    def candles(self, timeframe: str, day: str, snapshot: int) -> pa.Table:
        """Return the candles of a day as a job computes them, before the comparison with the stored ones."""
        chosen, day_span = self.settings.timeframe(timeframe), day_range(parse_day(day))
        with read_source(self.spark, TableHistory(self.spark, self.settings, snapshot), [chosen], [day_span]) as source:
            return _candles(source, chosen, day_span).toArrow()

    def direct(self, day: str, snapshot: int) -> dict[str, pa.Table]:
        """Return the candles of a day, each timeframe from its own read of the trades, as scheduled jobs do."""
        return {name: self.candles(name, day, snapshot) for name in self.settings.tuning}

    def together(self, day: str, snapshot: int) -> dict[str, pa.Table]:
        """Return the candles of a day, all timeframes from one read of the trades, as the reprocessing job does."""
        day_span = day_range(parse_day(day))
        timeframes = [self.settings.timeframe(name) for name in self.settings.tuning]
        with read_source(
            self.spark, TableHistory(self.spark, self.settings, snapshot), timeframes, [day_span]
        ) as source:
            return {each.name: _candles(source, each, day_span).toArrow() for each in timeframes}

    def chained(self, day: str, snapshot: int) -> dict[str, pa.Table]:
        """Return the candles of a day in the rejected design: 1m from trades, each other timeframe from the finer."""
        first, *others = self.settings.tuning
        finest, day_span = self.settings.timeframe(first), day_range(parse_day(day))
        with read_source(self.spark, TableHistory(self.spark, self.settings, snapshot), [finest], [day_span]) as source:
            frame = _candles(source, finest, day_span).persist()
            cached, results = [frame], {first: frame.toArrow()}
        for name in others:
            frame = roll_up(frame, self.settings.timeframe(name).microseconds).persist()
            cached.append(frame)
            results[name] = frame.toArrow()
        for each in cached:
            each.unpersist()
        return results

    def build(self, timeframe: str, start: str, end: str) -> dict[str, Any]:
        """Run the job of a scheduled run, including the commit."""
        own_range = Range(parse_time(start)[0], parse_time(end)[0])
        request = Request(self.settings.timeframe(timeframe), own_range, rebuild_pending=True)
        return build(self.spark, self.settings, request)

    def reprocess(self, day: str) -> dict[str, Any]:
        """Run the reprocessing job, including its commits."""
        day_span = day_range(parse_day(day))
        ranges = {self.settings.timeframe(name): day_span for name in self.settings.tuning}
        return reprocess(self.spark, self.settings, DayRequest(parse_day(day), ranges))

    def input_bytes(self) -> int:
        """Return how many bytes of tables all executors have read so far."""
        context: Any = self.spark.sparkContext._jsc.sc()
        context.listenerBus().waitUntilEmpty()
        summaries = context.statusStore().executorList(False)
        return sum(int(summaries.apply(number).totalInputBytes()) for number in range(summaries.size()))


def _candles(source: Source, timeframe: Timeframe, span: Range) -> DataFrame:
    return candles_from_totals(source.trade_totals.totals, source.trade_totals.step, timeframe, [span], VOLUME).drop(
        "exact_volume"
    )


def roll_up(finer: DataFrame, microseconds: int) -> DataFrame:
    """Build candles from finer ones. The notional is not stored, so it is estimated from the rounded vwap."""
    return (
        finer.withColumn("start", F.unix_micros("window_start"))
        .withColumn("window", window_start(microseconds, "start"))
        .groupBy("symbol", "exchange", "window")
        .agg(
            F.min_by("open_price", "window_start").alias("open_price"),
            F.max("high_price").alias("high_price"),
            F.min("low_price").alias("low_price"),
            F.max_by("close_price", "window_start").alias("close_price"),
            F.sum("trade_count").alias("trade_count"),
            F.sum(F.col("vwap") * F.col("volume")).alias("notional"),
            F.sum("volume").cast(VOLUME).alias("volume"),
        )
        .withColumn("vwap", vwap("notional", "volume"))
        .withColumn("window_start", F.timestamp_micros("window"))
        .withColumn("window_end", F.timestamp_micros(F.col("window") + microseconds))
        .withColumn("window_date", F.col("window_start").cast("date"))
        .select(*finer.columns)
    )


def main() -> None:
    """Open the session and serve requests."""
    settings = load_settings()
    watch_parents()
    spark = open_session(settings, f"ohlcv benchmark {datetime.now(UTC):%H:%M:%S}")
    serve(SessionService(spark, settings), sys.argv[1])
    spark.stop()


if __name__ == "__main__":
    main()
