"""Aggregation of trades into totals per series and time step. Each valid trade counts once, and all sums are exact.

Trades are grouped by identity, then by window. Most trades are delivered once, and most ids are numbers that order the
trades: these need one read. Where a trade was delivered more than once, or ids do not order the trades of a series,
the affected trades are read again, with the columns that order their versions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from ohlcv.model.intervals import Range
from spark_jobs.compute.time_predicates import in_hours, window_start, within
from spark_jobs.compute.trade_columns import (
    BUY_SIDE,
    IDENTITY,
    PARTITION,
    SERIES,
    numeric_order,
    partition_hour,
    sequence_offset,
    taker_side,
    timestamp_of_order,
    trade_order,
    upper_id,
    version_order,
    with_number,
)

# The columns of the totals of a series and step.
TOTAL_COLUMNS = (*SERIES, "window", "open", "high", "low", "close", "volume", "notional", "trade_count")
# Their further columns where measures are computed. `lowest_side` is NO_SIDE if a trade has no side.
MEASURE_TOTALS = ("buy_volume", "buy_notional", "lowest_side", "first_trade", "last_trade")
# Type of a sum of quantities: the one that Spark gives to it.
VOLUME = "decimal(28,8)"
# Type of a sum of notionals.
NOTIONAL = "decimal(38,16)"
# A broadcast of this many identities takes about 18 MB of a driver's 512 MB.
MAX_BROADCAST_IDENTITIES = 60_000


@dataclass(frozen=True)
class TradeSummary:
    """The findings of the first read."""

    # Number of deliveries by hour and rejection reason (None: valid).
    counts: Mapping[int, Mapping[str | None, int]]
    # Number of trades of ordered series that were delivered more than once.
    repeated_trades: int
    # Number of series and hours whose trades are not ordered by time and numeric id.
    unordered_series: int
    # The hours with trades to read again.
    exceptional_hours: frozenset[int]


@dataclass(frozen=True)
class TradeTotals:
    """Trades aggregated by series and step."""

    totals: DataFrame
    step: int
    summary: TradeSummary
    # The trades of the first read, aggregated; it is cached.
    first_read: DataFrame
    # Whether the totals have the columns of measures.
    measures: bool = False
    # Further cached frames.
    cached: tuple[DataFrame, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of the totals."""
        return total_columns(measures=self.measures)

    def release(self) -> None:
        """Unpersist the cached frames; the totals must not be used afterwards."""
        for frame in (self.first_read, *self.cached):
            frame.unpersist()


def total_columns(*, measures: bool) -> tuple[str, ...]:
    """Return the columns of totals."""
    return (*TOTAL_COLUMNS, *(MEASURE_TOTALS if measures else ()))


def aggregate_trades(trades: DataFrame, step: int, ranges: Sequence[Range], *, measures: bool = False) -> TradeTotals:
    """Return the totals of the valid trades in the ranges, by steps in microseconds; a step must divide an hour."""
    first = first_totals(trades, step, ranges, measures=measures).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        summary = _summarize(first)
    except BaseException:
        # A cached frame would answer the same query of the next attempt.
        first.unpersist()
        raise
    again = _valid(trades).where(in_hours(summary.exceptional_hours))
    ordered, parts = _valid(first), []
    if summary.unordered_series:
        series = [*PARTITION, *SERIES]
        unordered = F.broadcast(_valid(_by_series(first)).where(~F.col("is_ordered")).select(*series))
        ordered = ordered.join(unordered, series, "left_anti")
        versions = again.join(unordered, series, "left_semi")
        parts.append(_total_versions(versions, step, ranges, trade_order(), measures=measures))
    if summary.repeated_trades:
        keys = [*PARTITION, *SERIES, *IDENTITY]
        repeated = ordered.where(F.col("identity").isNotNull()).select(*keys)
        if summary.repeated_trades <= MAX_BROADCAST_IDENTITIES:
            repeated = F.broadcast(repeated)
        versions = again.join(repeated, keys, "left_semi")
        parts.append(_total_versions(versions, step, ranges, numeric_order(), measures=measures))
    once = ordered.where(F.col("identity").isNull() & F.col("window").isNotNull())
    if measures:
        once = _join_sides(once)
    if not parts:
        return TradeTotals(once.select(*total_columns(measures=measures)), step, summary, first, measures)
    totals = _merge([once, *parts], measures=measures).persist(StorageLevel.MEMORY_AND_DISK)
    return TradeTotals(totals, step, summary, first, measures, (totals,))


def aggregate_every_row(
    trades: DataFrame, step: int, ranges: Sequence[Range], *, measures: bool = False
) -> TradeTotals:
    """Return the totals like `aggregate_trades`, of trades without ids: every row counts."""
    rows = _with_window(trades, step, ranges)
    if measures:
        rows = rows.withColumn("taker_side", taker_side())
    aggregates = _aggregates(trade_order(), measures=measures)
    totals = rows.groupBy(*PARTITION, "rejected", *SERIES, "window").agg(*aggregates)
    totals = totals.persist(StorageLevel.MEMORY_AND_DISK)
    counted = totals.groupBy(*PARTITION, "rejected").agg(F.sum("trade_count").alias("deliveries"))
    counts = _counts(counted.select(partition_hour().alias("hour"), "rejected", "deliveries").collect())
    summary = TradeSummary(counts, repeated_trades=0, unordered_series=0, exceptional_hours=frozenset())
    valid = _valid(totals).where(F.col("window").isNotNull())
    return TradeTotals(valid.select(*total_columns(measures=measures)), step, summary, totals, measures)


def first_totals(trades: DataFrame, step: int, ranges: Sequence[Range], *, measures: bool = False) -> DataFrame:
    """Return totals by hour, rejection reason, series and window; without a shuffle if an hour is one task.

    Trades that were delivered more than once have a row each, with their `identity`; it is null in all other rows.
    For measures the two sides of a window have a row each: that costs less than sums over the trades of one side.
    """
    # Each value of a trade that was delivered once is the largest of its deliveries.
    values = ("timestamp", "price", "quantity")
    side = ["taker_side"] if measures else []
    deliveries = trades.groupBy(*PARTITION, "rejected", *SERIES, *IDENTITY).agg(
        *(F.max(name).alias(name) for name in values),
        *(F.max(taker_side()).alias(name) for name in side),
        F.min("source_sequence").alias("min_sequence"),
        F.max("source_sequence").alias("max_sequence"),
        F.count("source_sequence").alias("sequences"),
        F.count("*").alias("deliveries"),
    )
    is_repeated = F.col("rejected").isNull() & (F.col("deliveries") > 1)
    numbered = with_number(_with_window(deliveries, step, ranges)).withColumns(
        {
            "order": numeric_order(),
            "upper_id": upper_id(),
            "min_offset": sequence_offset("min_sequence", if_unknown=-(2**63)),
            "max_offset": sequence_offset("max_sequence", if_unknown=2**63 - 1),
            **{name: F.when(is_repeated, F.col(name)) for name in IDENTITY},
        }
    )
    return numbered.groupBy(*PARTITION, "rejected", *SERIES, "window", *IDENTITY, *side).agg(
        *_aggregates(F.col("order"), measures=False),
        *_order_range(),
        F.sum("deliveries").alias("deliveries"),
        *(F.min(name).alias(f"{name}_low") for name in ("upper_id", "min_offset")),
        *(F.max(name).alias(f"{name}_high") for name in ("upper_id", "max_offset")),
    )


def _join_sides(once: DataFrame) -> DataFrame:
    """Return one row for each window from the rows of its sides, with the columns of measures.

    Only for series that their ids order. A window belongs to one hour, so Spark needs no shuffle.
    """
    is_bought = F.col("taker_side") == BUY_SIDE
    sides = once.withColumns(
        {
            "buy_volume": F.when(is_bought, F.col("volume")).otherwise(F.lit(0).cast(VOLUME)),
            "buy_notional": F.when(is_bought, F.col("notional")).otherwise(F.lit(0).cast(NOTIONAL)),
            "lowest_side": F.col("taker_side"),
            "first_trade": timestamp_of_order("first_order"),
            "last_trade": timestamp_of_order("last_order"),
        }
    )
    return sides.groupBy(*PARTITION, *SERIES, "window").agg(
        *merge_aggregates(F.col("first_order"), F.col("last_order"), measures=True),
        F.min("first_order").alias("first_order"),
        F.max("last_order").alias("last_order"),
    )


def _by_series(first: DataFrame) -> DataFrame:
    """Return per hour, rejection reason and series what was delivered, and whether the ids order the trades.

    They do if all ids are numbers with the same upper part, and if source sequences, where present, differ from the
    ids by one constant offset.
    """
    is_ordered = (
        (F.min("upper_id_low") >= 0)
        & (F.min("upper_id_low") == F.max("upper_id_high"))
        & (F.min("min_offset_low") == F.max("max_offset_high"))
    )
    return first.groupBy(*PARTITION, "rejected", *SERIES).agg(
        F.sum("deliveries").alias("deliveries"), F.count("identity").alias("repeated"), is_ordered.alias("is_ordered")
    )


def _summarize(first: DataFrame) -> TradeSummary:
    rows = (
        _by_series(first)
        .groupBy(*PARTITION, "rejected")
        .agg(
            F.sum("deliveries").alias("deliveries"),
            F.sum(F.when(F.col("is_ordered"), F.col("repeated"))).alias("repeated"),
            F.count_if(~F.col("is_ordered")).alias("unordered"),
        )
        .select(partition_hour().alias("hour"), "rejected", "deliveries", "repeated", "unordered")
        .collect()
    )
    valid = [row for row in rows if row.rejected is None]
    return TradeSummary(
        counts=_counts(rows),
        repeated_trades=sum(row.repeated or 0 for row in valid),
        unordered_series=sum(row.unordered for row in valid),
        exceptional_hours=frozenset(row.hour for row in valid if row.repeated or row.unordered),
    )


def _counts(rows: Iterable[Row]) -> dict[int, Counter[str | None]]:
    counts: dict[int, Counter[str | None]] = {}
    for row in rows:
        counts.setdefault(row.hour, Counter())[row.rejected] += row.deliveries
    return counts


def _total_versions(
    trades: DataFrame, step: int, ranges: Sequence[Range], order: Column, *, measures: bool
) -> DataFrame:
    """Return the totals of the latest version of each trade, with its open and close in an order of the trades."""
    versions = Window.partitionBy(*PARTITION, *SERIES, *IDENTITY)
    # Every field is part of the comparison, so that the result does not depend on the order of files.
    rank = F.row_number().over(
        versions.orderBy(*(F.desc_nulls_last(name) for name in version_order(measures=measures)))
    )
    latest = with_number(_with_window(trades.withColumn("rank", rank).where("rank = 1"), step, ranges))
    if measures:
        latest = latest.withColumn("taker_side", taker_side())
    return (
        latest.where(F.col("window").isNotNull())
        .withColumn("order", numeric_order())
        .groupBy(*PARTITION, *SERIES, "window")
        .agg(*_aggregates(order, measures=measures), *_order_range())
    )


def _merge(parts: Sequence[DataFrame], *, measures: bool) -> DataFrame:
    """Return the totals of all windows from the totals of parts of their trades."""
    columns = total_columns(measures=measures)
    rows = reduce(DataFrame.unionByName, [part.select(*columns, "first_order", "last_order") for part in parts])
    # A series that ids do not order is one part, so its order does not matter here.
    first, last = (F.coalesce(name, F.lit(0)) for name in ("first_order", "last_order"))
    return rows.groupBy(*SERIES, "window").agg(*merge_aggregates(first, last, measures=measures)).select(*columns)


def _valid(trades: DataFrame) -> DataFrame:
    return trades.where(F.col("rejected").isNull())


def _with_window(trades: DataFrame, step: int, ranges: Sequence[Range]) -> DataFrame:
    """Add the start of a trade's step, null for a rejected trade and outside the ranges."""
    # The time of a rejected trade can be so early that its step would begin before the first 64-bit number.
    start = trades.withColumn("step_start", F.when(F.col("rejected").isNull(), window_start(step)))
    return start.withColumn("window", F.when(within("step_start", ranges), F.col("step_start")))


def _aggregates(order: Column, *, measures: bool) -> list[Column]:
    aggregates = [
        F.min_by("price", order).alias("open"),
        F.max("price").alias("high"),
        F.min("price").alias("low"),
        F.max_by("price", order).alias("close"),
        F.sum("quantity").alias("volume"),
        # Null if it has more digits than a decimal can have.
        F.try_sum(F.col("price") * F.col("quantity")).alias("notional"),
        F.count("*").alias("trade_count"),
    ]
    if measures:
        is_bought = F.col("taker_side") == BUY_SIDE
        zero = F.lit(Decimal(0))
        aggregates += [
            F.sum(F.when(is_bought, F.col("quantity")).otherwise(zero)).cast(VOLUME).alias("buy_volume"),
            F.try_sum(F.when(is_bought, F.col("price") * F.col("quantity")).otherwise(zero)).alias("buy_notional"),
            F.min("taker_side").alias("lowest_side"),
            F.min("timestamp").alias("first_trade"),
            F.max("timestamp").alias("last_trade"),
        ]
    return aggregates


def _order_range() -> list[Column]:
    """Return the numeric order of the first and of the last trade, with which `_merge` orders parts of a window."""
    return [F.min("order").alias("first_order"), F.max("order").alias("last_order")]


def merge_aggregates(first: Column, last: Column, *, measures: bool) -> list[Column]:
    """Return the expressions that merge totals; the columns give the order of their open and close prices."""
    is_known = F.count("notional") == F.count("*")
    aggregates = [
        F.min_by("open", first).alias("open"),
        F.max("high").alias("high"),
        F.min("low").alias("low"),
        F.max_by("close", last).alias("close"),
        F.sum("volume").cast(VOLUME).alias("volume"),
        F.when(is_known, F.try_sum("notional")).alias("notional"),
        F.sum("trade_count").alias("trade_count"),
    ]
    if measures:
        aggregates += [
            F.sum("buy_volume").cast(VOLUME).alias("buy_volume"),
            # Null only where the notional is null, too.
            F.try_sum("buy_notional").alias("buy_notional"),
            F.min("lowest_side").alias("lowest_side"),
            F.min("first_trade").alias("first_trade"),
            F.max("last_trade").alias("last_trade"),
        ]
    return aggregates
