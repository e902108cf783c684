"""Candles from trade totals: pure functions, exact arithmetic, no floating point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ohlcv.model.intervals import HOUR, MICROSECOND, Range
from ohlcv.model.table_contracts import AMOUNT, AMOUNT_SCALE, MEASURE_COLUMNS
from ohlcv.model.timeframes import Timeframe
from spark_jobs.compute.time_predicates import window_start, within
from spark_jobs.compute.trade_aggregation import merge_aggregates
from spark_jobs.compute.trade_columns import NO_SIDE, SERIES

# Types of the measures in Spark.
MEASURE_TYPES = {column.name: column.spark_type for column in MEASURE_COLUMNS}


def common_step(timeframes: Iterable[Timeframe]) -> int:
    """Return the longest step, in microseconds, that divides an hour and the windows of all timeframes.

    Trades are aggregated once, by this step. The windows of every timeframe are merged from these exact totals; they
    may be longer than an hour, the period within which trades are deduplicated.
    """
    return gcd(HOUR // MICROSECOND, *(timeframe.microseconds for timeframe in timeframes))


def merge_steps(totals: DataFrame, timeframe: Timeframe, ranges: Iterable[Range], *, measures: bool) -> DataFrame:
    """Return the totals of the timeframe's windows in the ranges, merged from the totals of shorter steps."""
    window = window_start(timeframe.microseconds, "window")
    return (
        totals.withColumn("step", F.col("window"))
        .withColumn("window", window)
        .where(within("window", ranges))
        .groupBy(*SERIES, "window")
        .agg(*merge_aggregates(F.col("step"), F.col("step"), measures=measures))
    )


def candles_from_totals(
    totals: DataFrame,
    step: int,
    timeframe: Timeframe,
    ranges: Sequence[Range],
    volume_type: str,
    *,
    measures: bool = False,
) -> DataFrame:
    """Return the candles of the windows in the ranges, computed from the totals of their steps.

    `volume` or `vwap` is null if the exact value does not fit its column; `exact_volume` holds the exact volume.
    """
    if step == timeframe.microseconds:
        windows = totals.where(within("window", ranges))
    else:
        windows = merge_steps(totals, timeframe, ranges, measures=measures)
    return windows.select(
        *SERIES,
        F.timestamp_micros("window").alias("window_start"),
        F.timestamp_micros(F.col("window") + timeframe.microseconds).alias("window_end"),
        F.timestamp_micros("window").cast("date").alias("window_date"),
        *(F.col(name).alias(f"{name}_price") for name in ("open", "high", "low", "close")),
        F.col("volume").try_cast(volume_type).alias("volume"),
        "trade_count",
        vwap("notional", "volume").alias("vwap"),
        F.col("volume").alias("exact_volume"),
        *(_measures() if measures else ()),
    )


def _measures() -> list[Column]:
    have_sides = F.col("lowest_side") > NO_SIDE
    values = {
        "quote_volume": F.col("notional"),
        "taker_buy_volume": F.when(have_sides, F.col("buy_volume")),
        "taker_buy_quote_volume": F.when(have_sides, F.col("buy_notional")),
        "first_trade_at": F.timestamp_micros("first_trade"),
        "last_trade_at": F.timestamp_micros("last_trade"),
    }
    return [values[name].cast(kind).alias(name) for name, kind in MEASURE_TYPES.items()]


def vwap(notional: str, volume: str) -> Column:
    """Return notional / volume, exact and rounded half up once. Spark's own division rounds to another scale first.

    The quotient is counted in units of the last digit: the whole units, plus one if the remainder is at least half.
    """
    unit = f"0.{'1'.zfill(AMOUNT_SCALE)}BD"
    divisor = f"({volume} * {unit})"
    remainder = f"({notional} % {divisor})"
    units = f"({notional} div {divisor}) + IF({remainder} >= {divisor} - {remainder}, 1, 0)"
    return F.expr(f"CAST(CAST({units} AS DECIMAL(18, 0)) * {unit} AS {AMOUNT})")


def violated_invariant(timeframe: Timeframe) -> Column:
    """Return the first invariant that a candle violates, null if there is none. Not meant for withheld candles."""
    start = F.unix_micros("window_start")
    violations = {
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
    return F.coalesce(*(F.when(is_violated, name) for name, is_violated in violations.items()))
