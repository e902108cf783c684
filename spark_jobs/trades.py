"""Read the trades of whole hours, and judge each one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from operator import or_

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.catalog import CATALOG_NAME
from ohlcv.schema import NAMESPACE, TRADES_TABLE
from ohlcv.windows import runs_of_hours

MICROSECONDS_PER_HOUR = 3_600_000_000
_EPOCH = date(1970, 1, 1)

# What a candle needs of a trade: all that is read of the files.
COLUMNS = (
    "symbol",
    "exchange",
    "trade_id",
    "message_id",
    "timestamp",
    "price",
    "quantity",
    "source_sequence",
    "ingestion_timestamp",
    "platform_sequence",
    "exchange_date",
    "exchange_hour",
)


# What tells the blocks of identities of an hour apart (`_blocks`).
BLOCK = ("symbol", "exchange", "block", "text")
# A broadcast of as many blocks takes some 20 MB of a driver's 512.
MOST_BLOCKS = 200_000
# The furthest that a sequence may be ahead of the ids; one more stands for no sequence.
MOST_LEAD = 2**63 - 2
# Bits of an id beside the microsecond of the hour in one positive number.
NUMBER_BITS = 31


def read_trades(spark: SparkSession, snapshot: int | None, hours: Iterable[int]) -> DataFrame:
    """Read the trades of those hours as they stood at a snapshot (None: the table never had a trade)."""
    reader = spark.read if snapshot is None else spark.read.option("versionAsOf", str(snapshot))
    return reader.table(f"{CATALOG_NAME}.{NAMESPACE}.{TRADES_TABLE}").where(partitions_of(hours)).select(*COLUMNS)


def partitions_of(hours: Iterable[int]) -> Column:
    """Give the condition on the partition columns that selects exactly those hours."""
    return reduce(or_, (_run_condition(first, last) for first, last in runs_of_hours(hours)), F.lit(False))


def _run_condition(first: int, last: int) -> Column:
    (first_day, first_hour), (last_day, last_hour) = divmod(first, 24), divmod(last, 24)
    day = F.col("exchange_date")
    hour = F.col("exchange_hour")
    if first_day == last_day:
        return (day == _day(first_day)) & hour.between(first_hour, last_hour)
    return (
        ((day == _day(first_day)) & (hour >= first_hour))
        | ((day > _day(first_day)) & (day < _day(last_day)))
        | ((day == _day(last_day)) & (hour <= last_hour))
    )


def _day(number: int) -> Column:
    return F.lit(_EPOCH + timedelta(days=number))


def with_verdict(trades: DataFrame) -> DataFrame:
    """Add `rejected`: the first reason why a trade must not reach a candle, null for a good one."""
    hour_start = F.col("timestamp") - F.pmod("timestamp", F.lit(MICROSECONDS_PER_HOUR))
    no_identity = F.col("trade_id").isNull() & F.col("message_id").isNull()
    null_key = F.col("symbol").isNull() | F.col("exchange").isNull() | F.col("timestamp").isNull() | no_identity
    return trades.withColumn(
        "rejected",
        F.when(null_key, "null_key")
        .when(F.col("price").isNull() | (F.col("price") <= 0), "bad_price")
        .when(F.col("quantity").isNull() | (F.col("quantity") <= 0), "bad_quantity")
        .when(hour_start != hour_of_partition() * F.lit(MICROSECONDS_PER_HOUR), "wrong_partition"),
    )


@dataclass(frozen=True)
class Survey:
    """What the hours hold."""

    # Trades of an hour by verdict (None for the good ones).
    counts: Mapping[int, Mapping[str | None, int]]
    # Blocks of identities in which some trade may stand twice, by hour; hours without any are left out.
    repeated: Mapping[int, int]
    # Whether trades that share a time stand in the order of their ids, and these are numbers (`order_by_number`).
    ordered_by_number: bool


def survey(judged: DataFrame) -> Survey:
    """Count the trades of each hour by verdict, find where one may have several versions, and how ids are ordered."""
    counts: dict[int, Counter[str | None]] = {}
    repeated: Counter[int] = Counter()
    ordered = True
    for row in tally(judged).collect():
        counts.setdefault(row.hour, Counter())[row.rejected] += row.trades
        if row.rejected is None:
            ordered = ordered and row.ordered
            if row.repeated:
                repeated[row.hour] += row.repeated
    return Survey(counts, repeated, ordered)


def tally(judged: DataFrame) -> DataFrame:
    """Give what the survey asks of each hour, verdict and series. Where an hour is one task, nothing is shuffled."""
    number, sequence = F.col("number"), F.col("source_sequence")
    # A sequence that counts the trades as their ids do, from another beginning, orders them as the ids do.
    lead = F.try_subtract(sequence, number)
    orders = (number >= 0) & (number.cast("string") == F.col("trade_id")) & (sequence.isNull() | lead.isNotNull())
    # No sequence counts as a lead that none can have, so that a series with some and without some is found out.
    lead_or_none = F.when(sequence.isNull(), MOST_LEAD + 1).otherwise(F.least(lead, F.lit(MOST_LEAD)))
    upper = F.shiftright(number, NUMBER_BITS)
    blocks = _blocks(
        judged,
        F.min(F.coalesce(orders, F.lit(False))).alias("orders"),
        F.min(lead_or_none).alias("least_lead"),
        F.max(lead_or_none).alias("most_lead"),
        F.min(upper).alias("least_upper"),
        F.max(upper).alias("most_upper"),
    )
    return (
        blocks.groupBy("exchange_date", "exchange_hour", "rejected", "symbol", "exchange")
        .agg(
            F.sum("trades").alias("trades"),
            F.count_if(F.col("trades") > F.bit_count("seen")).alias("repeated"),
            (
                F.min("orders")
                & (F.min("least_lead") == F.max("most_lead"))
                & (F.min("least_upper") == F.max("most_upper"))
            ).alias("ordered"),
        )
        .select(hour_of_partition().alias("hour"), "rejected", "trades", "repeated", "ordered")
    )


def _blocks(judged: DataFrame, *more: Column) -> DataFrame:
    """Sum the identities of each hour's trades up in blocks of 64: `seen` has a bit for each.

    One trade's versions meet in one bit of one block, so that none is missed. Other trades may meet there too
    ('9' and '09', an id and a message's), which only causes a needless look. Ids that are numbers mostly follow each
    other: some dozens share a block, and a day's blocks fit into memory where its identities would not.
    """
    number = F.col("number")
    is_good = F.col("rejected").isNull()
    text = F.when(number.isNull(), F.coalesce("trade_id", "message_id"))
    return (
        judged.withColumn("number", F.col("trade_id").try_cast("bigint"))
        .withColumn("block", F.when(is_good, F.coalesce(F.shiftright(number, 6), F.lit(-1))))
        .withColumn("text", F.when(is_good, F.coalesce(text, F.lit(""))))
        .withColumn("bit", _bit(number))
        .groupBy("exchange_date", "exchange_hour", "rejected", *BLOCK)
        .agg(F.count("*").alias("trades"), F.bit_or("bit").alias("seen"), *more)
    )


def _bit(number: Column) -> Column:
    return F.when(number.isNull(), F.lit(1).cast("bigint")).otherwise(
        F.call_function("shiftleft", F.lit(1).cast("bigint"), number.bitwiseAND(F.lit(63)).cast("int"))
    )


def good_trades(judged: DataFrame) -> DataFrame:
    """Leave the rejected ones out."""
    return judged.where(F.col("rejected").isNull())


def counted_once(good: DataFrame, repeated: Mapping[int, int]) -> DataFrame:
    """Give each trade once: only those that share their place in a block with another are looked at closely."""
    if not repeated:
        return good
    if sum(repeated.values()) > MOST_BLOCKS:
        in_question = F.when(partitions_of(repeated), True)
    else:
        suspects = F.broadcast(_suspects(good, repeated))
        number = F.col("trade_id").try_cast("bigint")
        good = good.withColumns(
            {
                "block": F.coalesce(F.shiftright(number, 6), F.lit(-1)),
                "text": F.when(number.isNull(), F.coalesce("trade_id", "message_id")).otherwise(""),
            }
        ).join(suspects, on=["exchange_date", "exchange_hour", *BLOCK], how="left")
        in_question = F.when(F.col("shared").bitwiseAND(_bit(number)) != 0, True)
    latest = latest_versions(good.where(in_question))
    return good.where(in_question.isNull()).select(*latest.columns).unionByName(latest)


def _suspects(good: DataFrame, hours: Iterable[int]) -> DataFrame:
    """Give the blocks of those hours in which a bit stands for more than one trade, and those bits (`shared`).

    Bits set an even number of times cancel out in `odd`. Where the trades are as many as the bits, plus one for each
    that cancelled out, those are pairs and the others single. Otherwise every bit of the block is in question.
    """
    pairs = F.col("seen").bitwiseAND(F.bitwise_not("odd"))
    only_pairs = F.col("trades") == F.bit_count("seen") + F.bit_count(pairs)
    return (
        _blocks(good.where(partitions_of(hours)), F.bit_xor("bit").alias("odd"))
        .where(F.col("trades") > F.bit_count("seen"))
        .select("exchange_date", "exchange_hour", *BLOCK, F.when(only_pairs, pairs).otherwise(-1).alias("shared"))
    )


def latest_versions(good: DataFrame) -> DataFrame:
    """Keep one version of each trade of an hour: the latest ingested.

    The comparison goes on through every field it can differ in, so that the answer does not depend on
    the order of files.
    """
    version = F.struct(
        "ingestion_timestamp",
        "platform_sequence",
        "message_id",
        "timestamp",
        "source_sequence",
        "price",
        "quantity",
    )
    return (
        good.withColumn("message_identity", message_identity())
        .groupBy("exchange_date", "exchange_hour", "symbol", "exchange", "trade_id", "message_identity")
        .agg(F.max(version).alias("latest"))
        .select("exchange_date", "exchange_hour", "symbol", "exchange", "trade_id", "latest.*")
    )


def message_identity() -> Column:
    """A trade without an id of its own is known by its message; the two kinds of id never meet."""
    return F.when(F.col("trade_id").isNull(), F.col("message_id"))


def order_by_number() -> Column:
    """Give the order of trades within an hour in one number, where the survey found that their ids order them.

    The microsecond of the hour takes 32 bits; the id's lower 31 fit below it without a sign, and the upper ones are
    the same for all trades of a series and hour. One number keeps the aggregation hashed: ordering by a struct makes
    Spark sort every trade, for twice the time.
    """
    microsecond = F.pmod("timestamp", F.lit(MICROSECONDS_PER_HOUR))
    lower = F.col("trade_id").try_cast("bigint").bitwiseAND(F.lit((1 << NUMBER_BITS) - 1))
    return F.shiftleft(microsecond, NUMBER_BITS).bitwiseOR(lower)


def hour_of_partition() -> Column:
    """Number the hour of a trade's partition."""
    return F.unix_date("exchange_date") * 24 + F.col("exchange_hour")
