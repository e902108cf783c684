"""Columns derived from each trade: rejection reason, number of its id, order."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ohlcv.model.trade_mapping import BUY, SELL, SIDE
from ohlcv.model.trade_validity import VALIDITY_CONDITIONS, WRONG_PARTITION

MICROSECONDS_PER_HOUR = 3_600_000_000

# An hour of trades is one partition: Spark needs no shuffle to group by these columns first.
PARTITION = ("exchange_date", "exchange_hour")
SERIES = ("symbol", "exchange")
# The columns that identify a trade within an hour and series: its id or that of its message, and which of both it is.
IDENTITY = ("identity", "by_message")
# Ids are compared by their remainder of this number, which fits beside the microsecond of the hour in 64 bits.
ID_RANGE = 2**31
# The offset of a trade without a source sequence.
NO_SEQUENCE = 2**63 - 1
# The columns that order versions of one trade: the first that differs decides.
VERSION_ORDER = (
    "ingestion_timestamp",
    "platform_sequence",
    "message_id",
    "timestamp",
    "source_sequence",
    "price",
    "quantity",
    SIDE,
)
# Values of `taker_side`. A trade without a side has the lowest one.
NO_SIDE, SELL_SIDE, BUY_SIDE = 0, 1, 2


def with_rejection_reason(trades: DataFrame, faults: Sequence[str] = ()) -> DataFrame:
    """Add `rejected`: the first reason why a trade is excluded from candles, null for a valid trade.

    `faults` are columns with reasons that the mapping of the trades found.
    """
    hour_start = partition_hour() * F.lit(MICROSECONDS_PER_HOUR)
    is_in_partition = (F.col("timestamp") >= hour_start) & (F.col("timestamp") < hour_start + MICROSECONDS_PER_HOUR)
    null_key, *reasons = [
        F.when(~F.coalesce(F.expr(condition.format(identity="identity IS NOT NULL")), F.lit(False)), F.lit(reason))
        for reason, condition in VALIDITY_CONDITIONS.items()
    ]
    reasons = [null_key, *map(F.col, faults), *reasons]
    return trades.withColumn("rejected", F.coalesce(*reasons, F.when(~is_in_partition, F.lit(WRONG_PARTITION))))


def with_number(trades: DataFrame) -> DataFrame:
    """Add the trade id as a number, null if the id is any other text, for example 010, or that of a message."""
    parsed = F.col("identity").try_cast("bigint")
    is_number = (parsed >= 0) & (parsed.cast("string") == F.col("identity")) & ~F.col("by_message")
    return trades.withColumn("number", F.when(is_number, parsed))


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

    It is correct only if the upper parts of all ids of the series and hour are equal. One number keeps the aggregation
    hash-based: ordering by a struct makes Spark sort every trade.
    """
    microsecond = F.pmod("timestamp", F.lit(MICROSECONDS_PER_HOUR))
    return microsecond * F.lit(ID_RANGE) + F.col("number") % F.lit(ID_RANGE)


def timestamp_of_order(order: str) -> Column:
    """Return the timestamp of a trade from its `numeric_order` and its partition."""
    return partition_hour() * F.lit(MICROSECONDS_PER_HOUR) + F.expr(f"{order} div {ID_RANGE}")


def upper_id() -> Column:
    """Return the part of a numeric id that `numeric_order` leaves out, -1 if the id is no number."""
    return F.coalesce(F.expr(f"number div {ID_RANGE}"), F.lit(-1))


def sequence_offset(sequence: str, *, if_unknown: int) -> Column:
    """Return by how much a source sequence exceeds the numeric id, one number for all trades without a sequence.

    It is unknown for a trade of which only some deliveries have a sequence, and if it exceeds 64 bits.
    """
    offset = F.when(F.col("sequences") == F.col("deliveries"), F.try_subtract(sequence, "number"))
    known = F.when(F.col("sequences") == 0, NO_SEQUENCE).when(offset < NO_SEQUENCE, offset)
    return F.coalesce(known, F.lit(if_unknown).cast("bigint"))


def taker_side() -> Column:
    """Return the side of a trade as a number, which keeps the aggregation hash-based."""
    return F.when(F.col(SIDE) == BUY, BUY_SIDE).when(F.col(SIDE) == SELL, SELL_SIDE).otherwise(NO_SIDE)


def version_order(*, measures: bool) -> tuple[str, ...]:
    """Return the columns that order versions. Only measures depend on the side, so it is not read for others."""
    return VERSION_ORDER if measures else tuple(name for name in VERSION_ORDER if name != SIDE)


def partition_hour() -> Column:
    """Return the number of a trade's partition hour, counted from the epoch."""
    return F.unix_date("exchange_date") * 24 + F.col("exchange_hour")
