"""Aggregation of trades into totals per series and time step. Each valid trade counts once, and all sums are exact.

Most trade ids are numbers that order the trades, and most trades are delivered once. The first pass therefore
aggregates all trades under this assumption, by blocks of ids, and also computes what is needed to detect where the
assumption is wrong. Only those trades are processed again: the second pass compares versions in blocks that contain
duplicate ids, and a last step aggregates the series and hours whose trades the ids do not order. The result is exact in
every case; the cost of exceptions is proportional to their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from ohlcv.model.intervals import Range
from spark_jobs.compute.fixed_point import NOTIONAL_PARTS, VOLUME_PARTS, notional_parts, to_units, volume_parts
from spark_jobs.compute.time_predicates import in_hours, window_start, within
from spark_jobs.compute.trade_columns import (
    BLOCK,
    BLOCK_BITS,
    NUMBER_BITS,
    PARTITION,
    SERIES,
    VERSION_COLUMNS,
    VERSION_ORDER,
    block_key,
    numeric_order,
    partition_hour,
    trade_order,
    valid_trades,
    with_blocks,
)

# The columns that are summed over trades, without and with the number of trades.
SUM_COLUMNS = (*VOLUME_PARTS, *NOTIONAL_PARTS)
ADDITIVE_COLUMNS = ("trade_count", *SUM_COLUMNS)
# The columns of the totals of a series and step; prices are in units.
TOTAL_COLUMNS = (*SERIES, "window", "open", "high", "low", "close", *ADDITIVE_COLUMNS)
# The offset between source sequence and id of a trade without a source sequence.
NO_SEQUENCE_OFFSET = 2**63 - 1
# A broadcast of this many blocks takes about 20 MB of a driver's 512 MB.
MAX_BROADCAST_BLOCKS = 200_000


@dataclass(frozen=True)
class PassSummary:
    """The findings of the first pass."""

    # Number of trades by hour and rejection reason (None: valid).
    counts: Mapping[int, Mapping[str | None, int]]
    # Blocks of ids that may contain duplicates; a block with trades in several windows counts once for each.
    duplicate_blocks: int
    # Number of series and hours whose trades are not ordered by time and numeric id.
    unordered_series: int
    # The hours that need further processing for one of these reasons.
    exceptional_hours: frozenset[int]


@dataclass(frozen=True)
class TradeTotals:
    """Trades aggregated by series and step."""

    totals: DataFrame
    step: int
    summary: PassSummary
    cached: tuple[DataFrame, ...]

    def release(self) -> None:
        """Unpersist the cached frames; the totals must not be used afterwards."""
        for frame in self.cached:
            frame.unpersist()


def aggregate_trades(trades: DataFrame, step: int, ranges: Sequence[Range]) -> TradeTotals:
    """Return the totals of the valid trades in the ranges, by steps in microseconds; a step must divide an hour."""
    first = first_pass(trades, step, ranges).persist(StorageLevel.MEMORY_AND_DISK)
    summary = summarize_pass(first)
    regular = valid_trades(first).where(F.col("window").isNotNull() & F.col("block_key").isNull())
    if not summary.duplicate_blocks and not summary.unordered_series:
        return TradeTotals(regular.select(*TOTAL_COLUMNS), step, summary, (first,))
    exceptional = with_block_key(trades.where(in_hours(summary.exceptional_hours)))
    candidates = duplicate_candidates(first, summary)
    parts, cached = [regular], [first]
    if summary.duplicate_blocks:
        deduplicated = second_pass(exceptional, candidates, step, ranges)
        parts.append(deduplicated.where(F.col("window").isNotNull()))
    if summary.unordered_series:
        series = [*PARTITION, *SERIES]
        unordered = F.broadcast(valid_trades(_summarize_series(first)).where(~F.col("ordered")).select(*series))
        unordered_trades = exceptional.join(unordered, on=series, how="left_semi")
        if summary.duplicate_blocks:
            cached.append(deduplicated.persist(StorageLevel.MEMORY_AND_DISK))
            latest = deduplicated.where(F.col("identity").isNotNull()).join(unordered, on=series, how="left_semi")
            unordered_trades = (
                unordered_trades.join(candidates, on=["hour", "block_key"], how="left")
                .where(~_is_candidate())
                .select(*VERSION_COLUMNS)
                .unionByName(latest.select(*VERSION_COLUMNS))
            )
        parts = [part.join(unordered, on=series, how="left_anti") for part in parts]
        parts.append(_aggregate_by_total_order(unordered_trades, step, ranges))
    totals = _merge_parts(parts).persist(StorageLevel.MEMORY_AND_DISK)
    return TradeTotals(totals, step, summary, (totals, *cached))


def aggregate_every_row(trades: DataFrame, step: int, ranges: Sequence[Range]) -> TradeTotals:
    """Return the totals like `aggregate_trades`, of trades without ids: every row counts."""
    measured = _with_measures(trades.withColumn("number", F.lit(None).cast("bigint")), step, ranges)
    totals = measured.groupBy(*PARTITION, "rejected", *SERIES, "window").agg(*_aggregates(trade_order()))
    totals = totals.persist(StorageLevel.MEMORY_AND_DISK)
    rows = totals.groupBy(*PARTITION, "rejected").agg(F.sum("trade_count").alias("trades"))
    counts = _counts(rows.select(partition_hour().alias("hour"), "rejected", "trades").collect())
    summary = PassSummary(counts, duplicate_blocks=0, unordered_series=0, exceptional_hours=frozenset())
    valid = valid_trades(totals).where(F.col("window").isNotNull())
    return TradeTotals(valid.select(*TOTAL_COLUMNS), step, summary, (totals,))


def first_pass(trades: DataFrame, step: int, ranges: Sequence[Range]) -> DataFrame:
    """Return trades aggregated by hour, rejection reason, series and window; without a shuffle if an hour is one task.

    A block of ids that may contain duplicates has rows of its own. `block_key` is null in all other rows.
    """
    sequence = F.col("source_sequence")
    offset = F.try_subtract(sequence, F.col("number"))
    # Null where the offset cannot be computed: such a trade then counts as the smallest and as the largest offset.
    offset = F.when(sequence.isNull(), NO_SEQUENCE_OFFSET).when(offset < NO_SEQUENCE_OFFSET, offset)
    blocks = (
        _with_measures(with_blocks(trades), step, ranges)
        .withColumn("offset", offset)
        .groupBy(*PARTITION, "rejected", *SERIES, "window", *BLOCK)
        .agg(
            F.bit_or("bit").alias("seen_bits"),
            F.bit_xor("bit").alias("odd_bits"),
            F.min(F.coalesce("offset", F.lit(-NO_SEQUENCE_OFFSET - 1))).alias("min_offset"),
            F.max(F.coalesce("offset", F.lit(NO_SEQUENCE_OFFSET))).alias("max_offset"),
            *_aggregates(F.col("numeric_order")),
        )
    )
    same_block = Window.partitionBy("block_key", "rejected", *PARTITION)
    upper = F.shiftright("block", NUMBER_BITS - BLOCK_BITS)
    # Each as a column of its own: Spark would evaluate every mention of a window expression again.
    block_columns = {
        "block_count": F.sum("trade_count").over(same_block),
        "block_seen_bits": F.bit_or("seen_bits").over(same_block),
        "block_odd_bits": F.bit_xor("odd_bits").over(same_block),
    }
    has_duplicates = F.col("rejected").isNull() & (F.col("block_count") > F.bit_count("block_seen_bits"))
    duplicate_bits = _duplicate_bits("block_count", "block_seen_bits", "block_odd_bits")
    return (
        blocks.withColumn("block_key", block_key())
        .withColumns({**block_columns, "upper": upper})
        .withColumn("duplicate_bits", F.when(has_duplicates, duplicate_bits))
        .withColumn("block_key", F.when(F.col("duplicate_bits").isNotNull(), F.col("block_key")))
        .groupBy(*PARTITION, "rejected", *SERIES, "window", "block_key", "duplicate_bits")
        .agg(
            F.min("min_offset").alias("min_offset"),
            F.max("max_offset").alias("max_offset"),
            F.min("upper").alias("min_upper"),
            F.max("upper").alias("max_upper"),
            *merge_aggregates(F.col("first_order"), F.col("last_order")),
        )
    )


def _duplicate_bits(count: str, seen: str, odd: str) -> Column:
    """Return the bits that occur more than once, from the bits seen and the bits seen an odd number of times.

    If no bit occurs more than twice, these are the bits seen an even number of times. Otherwise all seen bits are
    candidates.
    """
    even = F.col(seen).bitwiseAND(F.bitwise_not(odd))
    return F.when(F.col(count) == F.bit_count(seen) + F.bit_count(even), even).otherwise(F.col(seen))


def summarize_pass(first: DataFrame) -> PassSummary:
    """Return the findings of the first pass."""
    rows = (
        _summarize_series(first)
        .groupBy(*PARTITION, "rejected")
        .agg(
            F.sum("trades").alias("trades"),
            F.sum("duplicate_blocks").alias("duplicate_blocks"),
            F.count_if(~F.col("ordered")).alias("unordered_series"),
        )
        .select(partition_hour().alias("hour"), "rejected", "trades", "duplicate_blocks", "unordered_series")
        .collect()
    )
    valid = [row for row in rows if row.rejected is None]
    return PassSummary(
        counts=_counts(rows),
        duplicate_blocks=sum(row.duplicate_blocks for row in valid),
        unordered_series=sum(row.unordered_series for row in valid),
        exceptional_hours=frozenset(row.hour for row in valid if row.duplicate_blocks or row.unordered_series),
    )


def _counts(rows: Iterable[Row]) -> dict[int, Counter[str | None]]:
    counts: dict[int, Counter[str | None]] = {}
    for row in rows:
        counts.setdefault(row.hour, Counter())[row.rejected] += row.trades
    return counts


def _summarize_series(first: DataFrame) -> DataFrame:
    """Return per hour, rejection reason and series: number of trades, and whether the ids order them.

    They do if all ids are numbers with the same upper bits, and if source sequences, where present, differ from the ids
    by one constant offset.
    """
    ordered = (
        (F.min("min_upper") == F.max("max_upper"))
        & (F.min("min_upper") >= 0)
        & (F.min("min_offset") == F.max("max_offset"))
    )
    return first.groupBy(*PARTITION, "rejected", *SERIES).agg(
        F.sum("trade_count").alias("trades"), F.count("block_key").alias("duplicate_blocks"), ordered.alias("ordered")
    )


def with_block_key(trades: DataFrame) -> DataFrame:
    """Return the valid trades with their hour and the key of their block."""
    return valid_trades(with_blocks(trades)).withColumns({"hour": partition_hour(), "block_key": block_key()})


def duplicate_candidates(first: DataFrame, summary: PassSummary) -> DataFrame:
    """Return the blocks that may contain duplicates, with the bits of the candidate ids."""
    blocks = valid_trades(first).where(F.col("block_key").isNotNull())
    blocks = blocks.select(partition_hour().alias("hour"), "block_key", "duplicate_bits").distinct()
    return F.broadcast(blocks) if summary.duplicate_blocks <= MAX_BROADCAST_BLOCKS else blocks


def _is_candidate() -> Column:
    return F.coalesce(F.col("bit").bitwiseAND(F.col("duplicate_bits")) != 0, F.lit(False))


def second_pass(trades: DataFrame, candidates: DataFrame, step: int, ranges: Sequence[Range]) -> DataFrame:
    """Return the candidate blocks aggregated again, each trade once.

    The latest version of a candidate has a row of its own; `identity` is null in all other rows. Trades are
    hash-aggregated first, so only candidates are sorted.
    """
    names = [name for name in VERSION_COLUMNS if name not in (*PARTITION, *SERIES)]
    delivered = (
        _with_measures(trades.join(candidates, on=["hour", "block_key"]), step, ranges)
        .withColumns({f"candidate_{name}": F.when(_is_candidate(), F.col(name)) for name in names})
        .groupBy(*PARTITION, *SERIES, "window", *(f"candidate_{name}" for name in names))
        .agg(*_aggregates(F.col("numeric_order")))
        .withColumnsRenamed({f"candidate_{name}": name for name in names})
    )
    is_single = F.col("identity").isNull()
    # The comparison covers every field, so that the result does not depend on the order of files. The most selective
    # columns come first, because Spark sorts by the partition columns in this order.
    versions = Window.partitionBy("number", "trade_id", "identity", *SERIES, *PARTITION)
    rank = F.row_number().over(versions.orderBy(*(F.desc_nulls_last(name) for name in VERSION_ORDER)))
    # Deliveries that are equal in every field share a row and count once.
    counted_once = {
        name: F.when(is_single, F.col(name)).otherwise(F.expr(f"{name} div trade_count")) for name in ADDITIVE_COLUMNS
    }
    return delivered.withColumn("rank", rank).where(is_single | (F.col("rank") == 1)).withColumns(counted_once)


def _aggregate_by_total_order(trades: DataFrame, step: int, ranges: Sequence[Range]) -> DataFrame:
    """Return totals of trades whose ids do not order them. Spark sorts to find the minimum of a struct."""
    measured = _with_measures(trades, step, ranges).where(F.col("window").isNotNull())
    return measured.groupBy(*PARTITION, *SERIES, "window").agg(*_aggregates(trade_order()))


def _merge_parts(parts: Sequence[DataFrame]) -> DataFrame:
    """Return the totals of all windows from partial totals of the same windows."""
    return (
        reduce(DataFrame.unionByName, [part.select(*TOTAL_COLUMNS, "first_order", "last_order") for part in parts])
        .groupBy(*SERIES, "window")
        # A window of a series without numeric ids has only one row.
        .agg(*merge_aggregates(F.coalesce("first_order", F.lit(0)), F.coalesce("last_order", F.lit(0))))
        .select(*TOTAL_COLUMNS)
    )


def _with_measures(trades: DataFrame, step: int, ranges: Sequence[Range]) -> DataFrame:
    """Add the columns to aggregate, the numeric order, and the window (null outside the ranges)."""
    return (
        trades.withColumns(
            {
                "step_start": window_start(step),
                "numeric_order": numeric_order(),
                "price_units": to_units("price"),
                "quantity_units": to_units("quantity"),
            }
        )
        .withColumn("window", F.when(within("step_start", ranges), F.col("step_start")))
        .withColumns({**volume_parts("quantity_units"), **notional_parts("price_units", "quantity_units")})
    )


def _aggregates(order: Column) -> list[Column]:
    return [
        F.min_by("price_units", order).alias("open"),
        F.max("price_units").alias("high"),
        F.min("price_units").alias("low"),
        F.max_by("price_units", order).alias("close"),
        F.min("numeric_order").alias("first_order"),
        F.max("numeric_order").alias("last_order"),
        F.count("*").alias("trade_count"),
        *(F.sum(name).alias(name) for name in SUM_COLUMNS),
    ]


def merge_aggregates(first: Column, last: Column) -> list[Column]:
    """Return the expressions that merge totals; the columns give the order of their open and close prices."""
    return [
        F.min_by("open", first).alias("open"),
        F.max("high").alias("high"),
        F.min("low").alias("low"),
        F.max_by("close", last).alias("close"),
        F.min(first).alias("first_order"),
        F.max(last).alias("last_order"),
        F.sum("trade_count").alias("trade_count"),
        *(F.sum(name).alias(name) for name in SUM_COLUMNS),
    ]
