"""Columns derived from each trade: rejection reason, block of ids, order."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ohlcv.model.trade_validity import VALIDITY_CONDITIONS, WRONG_PARTITION

MICROSECONDS_PER_HOUR = 3_600_000_000

# An hour of trades is one partition: Spark needs no shuffle to group by these columns first.
PARTITION = ("exchange_date", "exchange_hour")
SERIES = ("symbol", "exchange")
# The columns that identify a block of trade ids within an hour and series, see `with_blocks`.
BLOCK = ("block", "text_id")
# A block has 2^6 ids: one for each bit of a 64-bit number.
BLOCK_BITS = 6
# The block number of ids that are not numbers.
TEXT_BLOCK = -1
# Bits of the id that fit beside the microsecond of the hour in one positive 64-bit number.
NUMBER_BITS = 31
# The columns that order versions of one trade: the first that differs decides.
VERSION_ORDER = (
    "ingestion_timestamp",
    "platform_sequence",
    "message_id",
    "timestamp",
    "source_sequence",
    "price",
    "quantity",
)
# All columns of one version of a trade that later steps need.
VERSION_COLUMNS = ("number", "trade_id", "identity", *SERIES, *PARTITION, *VERSION_ORDER)
# The smallest number with 1, 2, ..., 19 digits.
SMALLEST_BY_DIGITS = (0, *(10**digits for digits in range(1, 19)))


def with_rejection_reason(trades: DataFrame, faults: Sequence[str] = ()) -> DataFrame:
    """Add `rejected`: the first reason why a trade is excluded from candles, null for a valid trade.

    `faults` are columns with reasons that the mapping of the trades found.
    """
    hour_start = F.col("timestamp") - F.pmod("timestamp", F.lit(MICROSECONDS_PER_HOUR))
    is_in_partition = hour_start == partition_hour() * F.lit(MICROSECONDS_PER_HOUR)
    null_key, *reasons = [
        F.when(~F.coalesce(F.expr(condition.format(identity="identity IS NOT NULL")), F.lit(False)), F.lit(reason))
        for reason, condition in VALIDITY_CONDITIONS.items()
    ]
    reasons = [null_key, *map(F.col, faults), *reasons]
    return trades.withColumn("rejected", F.coalesce(*reasons, F.when(~is_in_partition, F.lit(WRONG_PARTITION))))


def with_blocks(trades: DataFrame) -> DataFrame:
    """Add the position of each valid trade's id: `number` or `text_id`, its `block`, and its `bit` in the block.

    All versions of one trade have the same bit of the same block. Consecutive numbers share a block, so the blocks of
    a day fit into memory, although its ids would not. An id that is not a number has a block of its own.
    """
    parsed = F.col("trade_id").try_cast("bigint")
    # The number must have as many digits as the id has characters: this excludes signs, spaces and leading zeros.
    is_number = parsed >= F.get(F.array(*map(F.lit, SMALLEST_BY_DIGITS)), F.octet_length("trade_id") - 1)
    is_valid = F.col("rejected").isNull()
    number, one = F.col("number"), F.lit(1).cast("bigint")
    position = number.bitwiseAND(F.lit((1 << BLOCK_BITS) - 1)).cast("int")
    return trades.withColumn("number", F.when(is_valid & is_number, parsed)).withColumns(
        {
            "block": F.when(is_valid, F.coalesce(F.shiftright(number, BLOCK_BITS), F.lit(TEXT_BLOCK))),
            # Never null for a valid trade, because blocks are joined on it.
            "text_id": F.when(is_valid, F.when(number.isNull(), F.col("identity")).otherwise("")),
            "bit": F.coalesce(F.call_function("shiftleft", one, position), one),
        }
    )


def block_key() -> Column:
    """Return a 32-bit hash of series and block.

    Spark joins on this hash and the 32-bit number of the hour as on one 64-bit number. Blocks with equal hashes are
    treated as one block: the result stays exact, but some trades are compared needlessly.
    """
    return F.hash(*SERIES, *BLOCK)


def valid_trades(trades: DataFrame) -> DataFrame:
    """Return the trades that are not rejected."""
    return trades.where(F.col("rejected").isNull())


def trade_order() -> Column:
    """Return the total order of trades: time, source sequence, id; numeric ids compare as numbers.

    A number compares by its length without leading zeros, then as text, which is exact for any length. The price comes
    last, because an id may occur again in another hour.
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
    """Return one number that orders the trades of a series and hour by time and numeric id.

    The microsecond of the hour takes 32 bits; the lower 31 bits of the id fit below it without the sign bit. The order
    is correct only if the upper bits of all ids of the series and hour are equal. One number keeps the aggregation
    hash-based: ordering by a struct makes Spark sort every trade, which takes twice as long.
    """
    microsecond = F.pmod("timestamp", F.lit(MICROSECONDS_PER_HOUR))
    lower = F.col("number").bitwiseAND(F.lit((1 << NUMBER_BITS) - 1))
    return F.shiftleft(microsecond, NUMBER_BITS).bitwiseOR(lower)


def partition_hour() -> Column:
    """Return the number of a trade's partition hour, counted from the epoch."""
    return F.unix_date("exchange_date") * 24 + F.col("exchange_hour")
