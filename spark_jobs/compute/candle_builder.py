"""TradeTotals to candles: pure functions, exact arithmetic, no floating point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ohlcv.model.intervals import HOUR, MICROSECOND, Range
from ohlcv.model.timeframes import Timeframe
from spark_jobs.compute.fixed_point import amount, exact_volume, notional_units, volume_units, vwap
from spark_jobs.compute.time_predicates import window_start, within
from spark_jobs.compute.trade_aggregation import merge_aggregates
from spark_jobs.compute.trade_columns import SERIES


def common_step(timeframes: Iterable[Timeframe]) -> int:
    """Give the longest time, in microseconds, that divides an hour and all those windows.

    Trades are added up in such steps once; the windows of every timeframe, which may be longer than the hours in
    which trades are counted once, are put together from these exact sums.
    """
    return gcd(HOUR // MICROSECOND, *(timeframe.microseconds for timeframe in timeframes))


def merge_steps(totals: DataFrame, timeframe: Timeframe, ranges: Iterable[Range]) -> DataFrame:
    """Make the totals of longer windows, those in the ranges, from those of steps."""
    window = window_start(timeframe.microseconds, "window")
    return (
        totals.withColumn("step", F.col("window"))
        .withColumn("window", window)
        .where(within("window", ranges))
        .groupBy(*SERIES, "window")
        .agg(*merge_aggregates(F.col("step"), F.col("step")))
    )


def candles(totals: DataFrame, step: int, timeframe: Timeframe, ranges: Sequence[Range], volume_type: str) -> DataFrame:
    """Make the candles of the windows in the ranges from the totals of their steps.

    `volume` or `vwap` is null where the exact value does not fit its column; `exact_volume` says what it is.
    """
    if step == timeframe.microseconds:
        windows = totals.where(within("window", ranges))
    else:
        windows = merge_steps(totals, timeframe, ranges)
    return windows.withColumns({"volume_units": volume_units(), "notional_units": notional_units()}).select(
        *SERIES,
        F.timestamp_micros("window").alias("window_start"),
        F.timestamp_micros(F.col("window") + timeframe.microseconds).alias("window_end"),
        F.timestamp_micros("window").cast("date").alias("window_date"),
        *(amount(name).alias(f"{name}_price") for name in ("open", "high", "low", "close")),
        exact_volume("volume_units").try_cast(volume_type).alias("volume"),
        "trade_count",
        vwap("notional_units", "volume_units").alias("vwap"),
        exact_volume("volume_units").alias("exact_volume"),
    )


def violated_invariant(timeframe: Timeframe) -> Column:
    """Name the first invariant a candle breaks, null for a sound one. Withheld candles are not judged here."""
    start = F.unix_micros("window_start")
    checks = {
        "high_price must be the highest": F.col("high_price") < F.greatest("open_price", "close_price", "low_price"),
        "low_price must be the lowest": F.col("low_price") > F.least("open_price", "close_price"),
        "vwap must lie between low_price and high_price": ~F.col("vwap").between(
            F.col("low_price"), F.col("high_price")
        ),
        "volume must be positive": F.col("volume") <= 0,
        "trade_count must be positive": F.col("trade_count") <= 0,
        "window_start must be aligned": F.pmod(start, F.lit(timeframe.microseconds)) != 0,
        "window_end must be one window later": F.unix_micros("window_end") - start != timeframe.microseconds,
        "window_date must be the UTC date of window_start": F.col("window_date") != F.col("window_start").cast("date"),
    }
    return F.coalesce(*(F.when(fault, name) for name, fault in checks.items()))
