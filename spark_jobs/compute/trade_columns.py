"""Columns derived from each trade: validity, block of identities, order."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ohlcv.model.trade_validity import VALIDITY_CONDITIONS, WRONG_PARTITION

MICROSECONDS_PER_HOUR = 3_600_000_000

# An hour of trades is one partition: what is grouped by it first is not shuffled.
HOUR = ("exchange_date", "exchange_hour")
SERIES = ("symbol", "exchange")
# What tells the blocks of identities of an hour and series apart (`with_blocks`).
BLOCK = ("block", "text")
# A block has as many identities as a number has bits.
BLOCK_BITS = 6
# The block of identities that are no numbers.
TEXT_BLOCK = -1
# Bits of an id beside the microsecond of the hour in one positive number.
NUMBER_BITS = 31
# What tells versions of a trade apart, the first difference that counts first.
VERSION = (
    "ingestion_timestamp",
    "platform_sequence",
    "message_id",
    "timestamp",
    "source_sequence",
    "price",
    "quantity",
)
# What is known of a trade once one version of it is chosen.
VERSIONED = ("number", "trade_id", "identity", *SERIES, *HOUR, *VERSION)
# The least number of each length, from one digit to those of 64 bits.
LEAST_NUMBERS = (0, *(10**digits for digits in range(1, 19)))


def with_rejection_reason(trades: DataFrame) -> DataFrame:
    """Add `rejected`: the first reason why a trade must not reach a candle, null for a valid one."""
    hour_start = F.col("timestamp") - F.pmod("timestamp", F.lit(MICROSECONDS_PER_HOUR))
    is_in_partition = hour_start == partition_hour() * F.lit(MICROSECONDS_PER_HOUR)
    reasons = [
        F.when(~F.coalesce(F.expr(condition.format(identity="identity IS NOT NULL")), F.lit(False)), F.lit(reason))
        for reason, condition in VALIDITY_CONDITIONS.items()
    ]
    return trades.withColumn("rejected", F.coalesce(*reasons, F.when(~is_in_partition, F.lit(WRONG_PARTITION))))


def with_blocks(judged: DataFrame) -> DataFrame:
    """Add where each good trade's identity stands: `number`, or the `text` it is; its `block` and its `bit` there.

    One trade's versions meet in one bit of one block. Numbers that follow each other share a block, some dozens of
    them, and a day's blocks fit into memory where its identities would not. A text has a block of its own.
    """
    parsed = F.col("trade_id").try_cast("bigint")
    # As large as its length makes it: a sign, a space or a zero in front would take a digit's place.
    is_number = parsed >= F.get(F.array(*map(F.lit, LEAST_NUMBERS)), F.octet_length("trade_id") - 1)
    is_good = F.col("rejected").isNull()
    number, one = F.col("number"), F.lit(1).cast("bigint")
    place = number.bitwiseAND(F.lit((1 << BLOCK_BITS) - 1)).cast("int")
    return judged.withColumn("number", F.when(is_good & is_number, parsed)).withColumns(
        {
            "block": F.when(is_good, F.coalesce(F.shiftright(number, BLOCK_BITS), F.lit(TEXT_BLOCK))),
            # Never null in a good trade, as blocks are joined by it.
            "text": F.when(is_good, F.when(number.isNull(), F.col("identity")).otherwise("")),
            "bit": F.coalesce(F.call_function("shiftleft", one, place), one),
        }
    )


def block_key() -> Column:
    """Give a block and series one number: with the hour's beside it, Spark joins by the two as by one long.

    Blocks that meet in one number cost a needless look, no more: what is said of a number is said of all of them.
    """
    return F.hash(*SERIES, *BLOCK)


def valid_trades(judged: DataFrame) -> DataFrame:
    """Leave the rejected ones out."""
    return judged.where(F.col("rejected").isNull())


def trade_order() -> Column:
    """Give the total order of trades: time, source sequence, id; ids that are numbers compare as numbers.

    A number is compared by its length without leading zeros, then as text: exact at any length.
    The price comes last, for ids that repeat from one hour to the next.
    """
    identity = F.col("identity")
    is_number = identity.rlike("^[0-9]+\\z")
    digits = F.regexp_replace(identity, "^0+", "")
    return F.struct(
        F.col("timestamp"),
        F.col("source_sequence"),
        F.when(is_number, 0).otherwise(1).alias("kind"),
        F.when(is_number, F.length(digits)).otherwise(0).alias("digits"),
        F.when(is_number, digits).otherwise(identity).alias("number"),
        identity,
        F.col("price"),
    )


def numeric_order() -> Column:
    """Give the order of trades within an hour in one number, for those whose ids are numbers that order them.

    The microsecond of the hour takes 32 bits; the id's lower 31 fit below it without a sign, if the upper ones are
    the same for all trades of a series and hour. One number keeps the aggregation hashed: ordering by a struct makes
    Spark sort every trade, for twice the time.
    """
    microsecond = F.pmod("timestamp", F.lit(MICROSECONDS_PER_HOUR))
    lower = F.col("number").bitwiseAND(F.lit((1 << NUMBER_BITS) - 1))
    return F.shiftleft(microsecond, NUMBER_BITS).bitwiseOR(lower)


def partition_hour() -> Column:
    """Number the hour of a trade's partition."""
    return F.unix_date("exchange_date") * 24 + F.col("exchange_hour")
