"""Trades to candles: pure functions, exact arithmetic, no floating point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from math import gcd
from operator import or_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ohlcv.schema import AMOUNT, AMOUNT_SCALE
from ohlcv.timeframes import Timeframe
from ohlcv.windows import HOUR, MICROSECOND, Range, to_microseconds
from spark_jobs.trades import order_by_number

# What the sum of a step's quantities has; sums of sums keep to it.
EXACT_VOLUME = f"decimal(28,{AMOUNT_SCALE})"


def window_start(length: int, time: str = "timestamp") -> Column:
    """Give the start of the window of a time; all in microseconds."""
    return F.col(time) - F.pmod(time, F.lit(length))


def within(microseconds: Column, ranges: Iterable[Range]) -> Column:
    """Tell whether a time lies in one of the ranges."""
    return reduce(
        or_,
        ((microseconds >= to_microseconds(span.start)) & (microseconds < to_microseconds(span.end)) for span in ranges),
        F.lit(False),
    )


def trade_order() -> Column:
    """Give the total order of trades: time, source sequence, id; ids that are numbers compare as numbers.

    A number is compared by its length without leading zeros, then as text: exact at any length.
    The price comes last, for ids that repeat from one hour to the next.
    """
    identity = F.coalesce("trade_id", "message_id")
    is_number = identity.rlike("^[0-9]+\\z")
    digits = F.regexp_replace(identity, "^0+", "")
    return F.struct(
        F.col("timestamp"),
        F.col("source_sequence"),
        F.when(is_number, 0).otherwise(1).alias("kind"),
        F.when(is_number, F.length(digits)).otherwise(0).alias("digits"),
        F.when(is_number, digits).otherwise(identity).alias("number"),
        identity.alias("identity"),
        F.col("price"),
    )


def common_step(timeframes: Iterable[Timeframe]) -> int:
    """Give the longest time, in microseconds, that divides an hour and all those windows.

    Trades are added up in such steps once; the windows of every timeframe, which may be longer than the hours in
    which trades are counted once, are put together from these exact sums.
    """
    return gcd(HOUR // MICROSECOND, *(timeframe.microseconds for timeframe in timeframes))


def totals(trades: DataFrame, step: int, ranges: Iterable[Range], *, ordered_by_number: bool) -> DataFrame:
    """Add the trades of the ranges up by series and step, exactly."""
    # min_by and max_by of one number are hashed; of a struct they are sorted.
    order = order_by_number() if ordered_by_number else trade_order()
    return (
        trades.withColumn("window", window_start(step))
        .where(within(F.col("window"), ranges))
        .withColumn("trade_order", order)
        # The hour adds nothing to the window; where an hour is one task, it saves the shuffle.
        .groupBy("exchange_date", "exchange_hour", "symbol", "exchange", "window")
        .agg(
            F.min_by("price", "trade_order").alias("open_price"),
            F.max("price").alias("high_price"),
            F.min("price").alias("low_price"),
            F.max_by("price", "trade_order").alias("close_price"),
            # decimal(28,8): room for ten billion trades of the largest quantity there is.
            F.sum("quantity").alias("exact_volume"),
            F.count("*").alias("trade_count"),
            # decimal(38,16): null where even that is too small, as for the volume.
            F.try_sum(F.col("price") * F.col("quantity")).alias("notional"),
        )
        .drop("exchange_date", "exchange_hour")
    )


def put_together(totals: DataFrame, timeframe: Timeframe, ranges: Iterable[Range]) -> DataFrame:
    """Make the totals of longer windows, those in the ranges, from those of steps."""
    window = window_start(timeframe.microseconds, "window")
    return (
        totals.withColumn("step", F.col("window"))
        .withColumn("window", window)
        .where(within(F.col("window"), ranges))
        .groupBy("symbol", "exchange", "window")
        .agg(
            F.min_by("open_price", "step").alias("open_price"),
            F.max("high_price").alias("high_price"),
            F.min("low_price").alias("low_price"),
            F.max_by("close_price", "step").alias("close_price"),
            F.sum("exact_volume").cast(EXACT_VOLUME).alias("exact_volume"),
            F.sum("trade_count").alias("trade_count"),
            # What overflowed in a step overflows in the window.
            F.when(F.count("notional") == F.count("*"), F.try_sum("notional")).alias("notional"),
        )
    )


def candles(totals: DataFrame, step: int, timeframe: Timeframe, ranges: Sequence[Range], volume_type: str) -> DataFrame:
    """Make the candles of the windows in the ranges from the totals of their steps.

    `volume` or `vwap` is null where the exact value does not fit its column; `exact_volume` says what it is.
    """
    if step == timeframe.microseconds:
        windows = totals.where(within(F.col("window"), ranges))
    else:
        windows = put_together(totals, timeframe, ranges)
    return windows.select(
        "symbol",
        "exchange",
        F.timestamp_micros("window").alias("window_start"),
        F.timestamp_micros(F.col("window") + timeframe.microseconds).alias("window_end"),
        F.timestamp_micros("window").cast("date").alias("window_date"),
        "open_price",
        "high_price",
        "low_price",
        "close_price",
        F.col("exact_volume").try_cast(volume_type).alias("volume"),
        "trade_count",
        vwap("notional", "exact_volume").alias("vwap"),
        "exact_volume",
    )


def vwap(notional: str, volume: str) -> Column:
    """Divide exactly and round half up once, to eight places.

    Spark's own division rounds to a scale of its choosing first. As integers, with notional N / 10^16 and
    volume V / 10^8, the result in units of 10^-8 is N / V: its whole part, plus one where the remainder is
    at least half of V.
    """
    numerator = (
        f"(CAST(floor({notional}) AS DECIMAL(22, 0)) * CAST({10**16} AS DECIMAL(17, 0))"
        f" + CAST({notional} % 1 * CAST({10**16} AS DECIMAL(17, 0)) AS DECIMAL(17, 0)))"
    )
    denominator = f"CAST({volume} * {10**AMOUNT_SCALE} AS DECIMAL(28, 0))"
    remainder = f"({numerator} % {denominator})"
    units = f"({numerator} div {denominator}) + IF({remainder} >= {denominator} - {remainder}, 1, 0)"
    return F.expr(f"CAST(CAST({units} AS DECIMAL(18, 0)) * 0.00000001 AS {AMOUNT})")


def broken_invariant(timeframe: Timeframe) -> Column:
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
