"""Spark session for the comparison of designs: candles from trades, and each timeframe from the finer one."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from benchmarks.warm_session import VOLUME, SessionService, computed_candles, serve_session
from ohlcv.model.intervals import day_range, parse_day
from spark_jobs.compute.candle_builder import vwap
from spark_jobs.compute.time_predicates import window_start
from spark_jobs.iceberg.trades_history import TableHistory
from spark_jobs.jobs.rebuild import read_source


class ChainedService(SessionService):
    """Methods that compute the candles of a day in all timeframes, each in another way."""

    def direct(self, day: str, snapshot: int) -> dict[str, pa.Table]:
        """Return the candles of a day, each timeframe from its own read of the trades, as scheduled jobs do."""
        return {name: self._from_trades([name], day, snapshot)[name] for name in self.settings.tuning}

    def together(self, day: str, snapshot: int) -> dict[str, pa.Table]:
        """Return the candles of a day, all timeframes from one read of the trades, as the reprocessing job does."""
        return self._from_trades(list(self.settings.tuning), day, snapshot)

    def chained(self, day: str, snapshot: int) -> dict[str, pa.Table]:
        """Return the candles of a day in the rejected design: 1m from trades, each other timeframe from the finer."""
        first, *others = self.settings.tuning
        finest, day_span = self.settings.timeframe(first), day_range(parse_day(day))
        history = TableHistory(self.spark, self.settings, snapshot)
        with read_source(self.spark, history, [finest], [day_span]) as source:
            frame = computed_candles(source, finest, day_span).persist()
            cached, results = [frame], {first: frame.toArrow()}
        for name in others:
            frame = roll_up(frame, self.settings.timeframe(name).microseconds).persist()
            cached.append(frame)
            results[name] = frame.toArrow()
        for each in cached:
            each.unpersist()
        return results

    def input_bytes(self) -> int:
        """Return how many bytes of tables all executors have read so far."""
        context: Any = self.spark.sparkContext._jsc.sc()
        context.listenerBus().waitUntilEmpty()
        summaries = context.statusStore().executorList(False)
        return sum(int(summaries.apply(number).totalInputBytes()) for number in range(summaries.size()))

    def _from_trades(self, names: list[str], day: str, snapshot: int) -> dict[str, pa.Table]:
        timeframes, day_span = [self.settings.timeframe(name) for name in names], day_range(parse_day(day))
        history = TableHistory(self.spark, self.settings, snapshot)
        with read_source(self.spark, history, timeframes, [day_span]) as source:
            return {each.name: computed_candles(source, each, day_span).toArrow() for each in timeframes}


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


if __name__ == "__main__":
    serve_session(ChainedService)
