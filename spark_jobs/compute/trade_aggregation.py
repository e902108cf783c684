"""Trades to sums, in one pass: each good trade counted once, by series and step of time, exactly.

Most ids are numbers that order their trades, and most trades are delivered once. So everything is added up as if that
were so, by blocks of ids, with what it takes to see where it is not. Only there are trades looked at again: those of
the blocks in which one stands twice, of which versions are compared, and those of a series and hour whose ids do not
order them. The answer is the same either way; what is out of the ordinary costs time in proportion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from ohlcv.model.intervals import Range
from spark_jobs.compute.fixed_point import NOTIONAL_PARTS, VOLUME_PARTS, notional_parts, units, volume_parts
from spark_jobs.compute.time_predicates import in_hours, window_start, within
from spark_jobs.compute.trade_columns import (
    BLOCK,
    BLOCK_BITS,
    HOUR,
    NUMBER_BITS,
    SERIES,
    VERSION,
    VERSIONED,
    block_key,
    numeric_order,
    partition_hour,
    trade_order,
    valid_trades,
    with_blocks,
)

# What is added up of a trade, and further of sums.
SUM_COLUMNS = (*VOLUME_PARTS, *NOTIONAL_PARTS)
ADDED = ("trade_count", *SUM_COLUMNS)
# What there is of a series and step in the end; prices in units.
TOTALS = (*SERIES, "window", "open", "high", "low", "close", *ADDED)
# What stands for no sequence where it is asked how far it is ahead of the id.
NO_LEAD = 2**63 - 1
# A broadcast of as many blocks takes some 20 MB of a driver's 512.
MOST_BLOCKS = 200_000


@dataclass(frozen=True)
class PassSummary:
    """What the hours hold."""

    # Trades of an hour by verdict (None for the good ones).
    counts: Mapping[int, Mapping[str | None, int]]
    # Blocks of ids in which some trade may stand twice; one that reaches over several windows counts as often.
    repeated: int
    # Series and hours whose trades are not ordered by time and the number that is their id.
    unordered: int
    # The hours that have either.
    again: frozenset[int]


@dataclass(frozen=True)
class TradeTotals:
    """Trades added up."""

    totals: DataFrame
    step: int
    found: PassSummary
    kept: tuple[DataFrame, ...]

    def release(self) -> None:
        """Let go of what is kept while questions are asked of the totals."""
        for frame in self.kept:
            frame.unpersist()


def aggregate_trades(judged: DataFrame, step: int, ranges: Sequence[Range]) -> TradeTotals:
    """Add the good trades of the ranges up in steps of so many microseconds; an hour must be whole steps."""
    first = first_pass(judged, step, ranges).persist(StorageLevel.MEMORY_AND_DISK)
    found = survey(first)
    clean = valid_trades(first).where(F.col("window").isNotNull() & F.col("place").isNull())
    if not found.repeated and not found.unordered:
        return TradeTotals(clean.select(*TOTALS), step, found, (first,))
    again, doubts = placed(judged.where(in_hours(found.again))), duplicate_candidates(first, found)
    sums, kept = [clean], [first]
    if found.repeated:
        parted = second_pass(again, doubts, step, ranges)
        sums.append(parted.where(F.col("window").isNotNull()))
    if found.unordered:
        unordered = F.broadcast(valid_trades(_by_series(first)).where(~F.col("ordered")).select(*HOUR, *SERIES))
        others = again.join(unordered, on=[*HOUR, *SERIES], how="left_semi")
        if found.repeated:
            kept.append(parted.persist(StorageLevel.MEMORY_AND_DISK))
            chosen = parted.where(F.col("identity").isNotNull()).join(unordered, on=[*HOUR, *SERIES], how="left_semi")
            others = others.join(doubts, on=["hour", "place"], how="left").where(~_is_doubtful())
            others = others.select(*VERSIONED).unionByName(chosen.select(*VERSIONED))
        sums = [frame.join(unordered, on=[*HOUR, *SERIES], how="left_anti") for frame in sums]
        sums.append(_by_window(others, step, ranges))
    totals = _united(sums).persist(StorageLevel.MEMORY_AND_DISK)
    return TradeTotals(totals, step, found, (totals, *kept))


def first_pass(judged: DataFrame, step: int, ranges: Sequence[Range]) -> DataFrame:
    """Add the trades of each hour up by verdict, series and window; where an hour is one task, nothing is shuffled.

    A block of ids in which some trade may stand twice has rows of its own. Its name is null in all others.
    """
    sequence = F.col("source_sequence")
    lead = F.try_subtract(sequence, F.col("number"))
    # Null where there is one that no number can tell: it counts as the least and as the most there is.
    lead = F.when(sequence.isNull(), NO_LEAD).when(lead < NO_LEAD, lead)
    blocks = (
        _measured(with_blocks(judged), step, ranges)
        .withColumn("lead", lead)
        .groupBy(*HOUR, "rejected", *SERIES, "window", *BLOCK)
        .agg(
            F.bit_or("bit").alias("seen"),
            F.bit_xor("bit").alias("odd"),
            F.min(F.coalesce("lead", F.lit(-NO_LEAD - 1))).alias("least_lead"),
            F.max(F.coalesce("lead", F.lit(NO_LEAD))).alias("most_lead"),
            *_sums(F.col("number_order")),
        )
    )
    place = Window.partitionBy("place", "rejected", *HOUR)
    upper = F.shiftright("block", NUMBER_BITS - BLOCK_BITS)
    # Each asked once of a window, as columns of their own: Spark would work out every mention of them anew.
    of_place = {
        "count_there": F.sum("trade_count").over(place),
        "seen_there": F.bit_or("seen").over(place),
        "odd_there": F.bit_xor("odd").over(place),
    }
    repeated = F.col("rejected").isNull() & (F.col("count_there") > F.bit_count("seen_there"))
    return (
        blocks.withColumn("place", block_key())
        .withColumns({**of_place, "upper": upper})
        .withColumn("twice", F.when(repeated, _seen_twice("count_there", "seen_there", "odd_there")))
        .withColumn("place", F.when(F.col("twice").isNotNull(), F.col("place")))
        .groupBy(*HOUR, "rejected", *SERIES, "window", "place", "twice")
        .agg(
            F.min("least_lead").alias("least_lead"),
            F.max("most_lead").alias("most_lead"),
            F.min("upper").alias("least_upper"),
            F.max("upper").alias("most_upper"),
            *merge_aggregates(F.col("first"), F.col("last")),
        )
    )


def _seen_twice(count: str, seen: str, odd: str) -> Column:
    """Give the bits that more than one trade has, of those seen and those seen an odd number of times.

    If none is seen more than twice, they are those seen an even number of times. Otherwise all are in question.
    """
    even = F.col(seen).bitwiseAND(F.bitwise_not(odd))
    return F.when(F.col(count) == F.bit_count(seen) + F.bit_count(even), even).otherwise(F.col(seen))


def survey(first: DataFrame) -> PassSummary:
    """Look at what the first pass found."""
    rows = (
        _by_series(first)
        .groupBy(*HOUR, "rejected")
        .agg(
            F.sum("trades").alias("trades"),
            F.sum("repeated").alias("repeated"),
            F.count_if(~F.col("ordered")).alias("unordered"),
        )
        .select(partition_hour().alias("hour"), "rejected", "trades", "repeated", "unordered")
        .collect()
    )
    counts: dict[int, Counter[str | None]] = {}
    for row in rows:
        counts.setdefault(row.hour, Counter())[row.rejected] += row.trades
    good = [row for row in rows if row.rejected is None]
    return PassSummary(
        counts,
        sum(row.repeated for row in good),
        sum(row.unordered for row in good),
        frozenset(row.hour for row in good if row.repeated or row.unordered),
    )


def _by_series(first: DataFrame) -> DataFrame:
    """Tell of each hour, verdict and series how many trades there are and whether their numbers order them.

    They do where all ids are numbers with the same upper bits, and sequences, if there are any, count the trades as
    the ids do, from another beginning.
    """
    ordered = (
        (F.min("least_upper") == F.max("most_upper"))
        & (F.min("least_upper") >= 0)
        & (F.min("least_lead") == F.max("most_lead"))
    )
    return first.groupBy(*HOUR, "rejected", *SERIES).agg(
        F.sum("trade_count").alias("trades"), F.count("place").alias("repeated"), ordered.alias("ordered")
    )


def placed(judged: DataFrame) -> DataFrame:
    """Add the place of each good trade's block."""
    return valid_trades(with_blocks(judged)).withColumns({"hour": partition_hour(), "place": block_key()})


def duplicate_candidates(first: DataFrame, found: PassSummary) -> DataFrame:
    """Name the places at which some trade may stand twice, and the bits it may have there."""
    named = valid_trades(first).where(F.col("place").isNotNull())
    named = named.select(partition_hour().alias("hour"), "place", "twice").distinct()
    return F.broadcast(named) if found.repeated <= MOST_BLOCKS else named


def _is_doubtful() -> Column:
    return F.coalesce(F.col("bit").bitwiseAND(F.col("twice")) != 0, F.lit(False))


def second_pass(again: DataFrame, doubts: DataFrame, step: int, ranges: Sequence[Range]) -> DataFrame:
    """Add the blocks in question up again, each trade once; of those that stood twice, the latest version has a row.

    Its identity is null in all other rows. Trades are added up by hashing first: only what may be one of several
    versions is sorted.
    """
    names = [name for name in VERSIONED if name not in (*HOUR, *SERIES)]
    delivered = (
        _measured(again.join(doubts, on=["hour", "place"]), step, ranges)
        .withColumns({f"its_{name}": F.when(_is_doubtful(), F.col(name)) for name in names})
        .groupBy(*HOUR, *SERIES, "window", *(f"its_{name}" for name in names))
        .agg(*_sums(F.col("number_order")))
        .withColumnsRenamed({f"its_{name}": name for name in names})
    )
    alone = F.col("identity").isNull()
    # The comparison goes on through every field, so that the answer does not depend on the order of files. What tells
    # most trades apart comes first: Spark sorts by these in this order.
    versions = Window.partitionBy("number", "trade_id", "identity", *SERIES, *HOUR)
    latest = F.row_number().over(versions.orderBy(*(F.desc_nulls_last(name) for name in VERSION)))
    # Deliveries that are alike in every field share a row, and count once.
    once = {name: F.when(alone, F.col(name)).otherwise(F.expr(f"{name} div trade_count")) for name in ADDED}
    return delivered.withColumn("rank", latest).where(alone | (F.col("rank") == 1)).withColumns(once)


def _by_window(trades: DataFrame, step: int, ranges: Sequence[Range]) -> DataFrame:
    """Add up trades whose ids do not order them. Spark finds the least of a struct by sorting."""
    measured = _measured(trades, step, ranges).where(F.col("window").isNotNull())
    return measured.groupBy(*HOUR, *SERIES, "window").agg(*_sums(trade_order()))


def _united(sums: Sequence[DataFrame]) -> DataFrame:
    """Put sums of the same windows together."""
    return (
        reduce(DataFrame.unionByName, [frame.select(*TOTALS, "first", "last") for frame in sums])
        .groupBy(*SERIES, "window")
        # A window of a series without such numbers has but one row.
        .agg(*merge_aggregates(F.coalesce("first", F.lit(0)), F.coalesce("last", F.lit(0))))
        .select(*TOTALS)
    )


def _measured(trades: DataFrame, step: int, ranges: Sequence[Range]) -> DataFrame:
    """Add what is added up of each trade, its place in the order, and its window if that is in the ranges."""
    return (
        trades.withColumns(
            {
                "step_start": window_start(step),
                "number_order": numeric_order(),
                "price_units": units("price"),
                "quantity_units": units("quantity"),
            }
        )
        .withColumn("window", F.when(within("step_start", ranges), F.col("step_start")))
        .withColumns({**volume_parts("quantity_units"), **notional_parts("price_units", "quantity_units")})
    )


def _sums(order: Column) -> list[Column]:
    return [
        F.min_by("price_units", order).alias("open"),
        F.max("price_units").alias("high"),
        F.min("price_units").alias("low"),
        F.max_by("price_units", order).alias("close"),
        F.min("number_order").alias("first"),
        F.max("number_order").alias("last"),
        F.count("*").alias("trade_count"),
        *(F.sum(name).alias(name) for name in SUM_COLUMNS),
    ]


def merge_aggregates(first: Column, last: Column) -> list[Column]:
    """Add sums up further, given what orders their openings and closings."""
    return [
        F.min_by("open", first).alias("open"),
        F.max("high").alias("high"),
        F.min("low").alias("low"),
        F.max_by("close", last).alias("close"),
        F.min(first).alias("first"),
        F.max(last).alias("last"),
        F.sum("trade_count").alias("trade_count"),
        *(F.sum(name).alias(name) for name in SUM_COLUMNS),
    ]
