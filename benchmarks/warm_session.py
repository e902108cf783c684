"""A job's session that stays: it answers questions over a local socket, so that a warm executor can be measured.

Run by spark-submit with the options of a real job, so that its settings are the job's; nothing here sets any.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.asking import serve
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.intervals import Range, day_range, parse_day, parse_time
from ohlcv.model.timeframes import Timeframe
from spark_jobs.compute.candle_builder import candles
from spark_jobs.compute.fixed_point import (
    exact_volume,
    notional_parts,
    notional_units,
    units,
    volume_parts,
    volume_units,
    vwap,
)
from spark_jobs.compute.time_predicates import window_start
from spark_jobs.compute.trade_aggregation import SUM_COLUMNS
from spark_jobs.iceberg.table_metadata import TableHistory
from spark_jobs.jobs.build_candles import Request, Source, build, read_source
from spark_jobs.jobs.reprocess_day import DayRequest, reprocess
from spark_jobs.runtime.parent_watchdog import watch_parents
from spark_jobs.runtime.session import open_session

VOLUME = "decimal(18, 8)"


class Answers:
    """What the session can be asked."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        self.spark = spark
        self.settings = settings

    def candles(self, timeframe: str, day: str, snapshot: int) -> pa.Table:
        """Compute a day's candles as a job does, up to where it would hold them against the stored ones."""
        of, span = self.settings.timeframe(timeframe), day_range(parse_day(day))
        with read_source(self.spark, TableHistory(self.spark, snapshot), [of], [span]) as source:
            return _candles(source, of, span).toArrow()

    def direct(self, day: str, snapshot: int) -> dict[str, pa.Table]:
        """Compute a day's candles as the scheduled jobs do: every timeframe reads the trades."""
        return {name: self.candles(name, day, snapshot) for name in self.settings.tuning}

    def together(self, day: str, snapshot: int) -> dict[str, pa.Table]:
        """Compute a day's candles as the reprocessing job does: one read of the trades for all timeframes."""
        span = day_range(parse_day(day))
        timeframes = [self.settings.timeframe(name) for name in self.settings.tuning]
        with read_source(self.spark, TableHistory(self.spark, snapshot), timeframes, [span]) as source:
            return {each.name: _candles(source, each, span).toArrow() for each in timeframes}

    def chained(self, day: str, snapshot: int) -> dict[str, pa.Table]:
        """Compute a day's candles as the rejected design would: 1m from trades, every other one from the smaller."""
        first, *others = self.settings.tuning
        of, span = self.settings.timeframe(first), day_range(parse_day(day))
        with read_source(self.spark, TableHistory(self.spark, snapshot), [of], [span]) as source:
            frame = _candles(source, of, span).persist()
            kept, answers = [frame], {first: frame.toArrow()}
        for name in others:
            frame = rolled_up(frame, self.settings.timeframe(name).microseconds).persist()
            kept.append(frame)
            answers[name] = frame.toArrow()
        for each in kept:
            each.unpersist()
        return answers

    def build(self, timeframe: str, start: str, end: str) -> dict[str, Any]:
        """Run a scheduled run's job, commit included."""
        span = Range(parse_time(start)[0], parse_time(end)[0])
        return build(self.spark, self.settings, Request(self.settings.timeframe(timeframe), span, repair=True))

    def reprocess(self, day: str) -> dict[str, Any]:
        """Run the reprocessing job, commits included."""
        span = day_range(parse_day(day))
        ranges = {self.settings.timeframe(name): span for name in self.settings.tuning}
        return reprocess(self.spark, self.settings, DayRequest(parse_day(day), ranges))

    def input_bytes(self) -> int:
        """Give the bytes all executors have read of tables so far."""
        context: Any = self.spark.sparkContext._jsc.sc()
        context.listenerBus().waitUntilEmpty()
        summaries = context.statusStore().executorList(False)
        return sum(int(summaries.apply(number).totalInputBytes()) for number in range(summaries.size()))


def _candles(source: Source, timeframe: Timeframe, span: Range) -> DataFrame:
    return candles(source.sums.totals, source.sums.step, timeframe, [span], VOLUME).drop("exact_volume")


def rolled_up(smaller: DataFrame, microseconds: int) -> DataFrame:
    """Make larger candles of smaller ones. The sum of price times quantity is gone: it is guessed from the vwap."""
    return (
        smaller.withColumn("start", F.unix_micros("window_start"))
        .withColumns(
            {
                "window": window_start(microseconds, "start"),
                "price_units": units("vwap"),
                "quantity_units": units("volume"),
            }
        )
        .withColumns({**volume_parts("quantity_units"), **notional_parts("price_units", "quantity_units")})
        .groupBy("symbol", "exchange", "window")
        .agg(
            F.min_by("open_price", "window_start").alias("open_price"),
            F.max("high_price").alias("high_price"),
            F.min("low_price").alias("low_price"),
            F.max_by("close_price", "window_start").alias("close_price"),
            F.sum("trade_count").alias("trade_count"),
            *(F.sum(name).alias(name) for name in SUM_COLUMNS),
        )
        .withColumns({"volume_units": volume_units(), "notional_units": notional_units()})
        .withColumn("volume", exact_volume("volume_units").cast(VOLUME))
        .withColumn("vwap", vwap("notional_units", "volume_units"))
        .withColumn("window_start", F.timestamp_micros("window"))
        .withColumn("window_end", F.timestamp_micros(F.col("window") + microseconds))
        .withColumn("window_date", F.col("window_start").cast("date"))
        .select(*smaller.columns)
    )


def main() -> None:
    """Open the session, and answer."""
    settings = load_settings()
    watch_parents()
    spark = open_session(settings, f"ohlcv benchmark {datetime.now(UTC):%H:%M:%S}")
    serve(Answers(spark, settings), sys.argv[1])
    spark.stop()


if __name__ == "__main__":
    main()
