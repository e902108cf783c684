"""Conditions that a stored trade must meet to be used in a candle, as SQL that Spark and pyiceberg both parse.

The DuckDB recomputation (quality.recomputation) defines the same conditions separately, so that it detects errors here.
"""

from __future__ import annotations

# Rejection reason -> condition that a valid trade meets, in the order in which they are checked. {identity} is
# replaced by the condition that the trade has an identity.
VALIDITY_CONDITIONS = {
    "null_key": "symbol IS NOT NULL AND exchange IS NOT NULL AND timestamp IS NOT NULL AND {identity}",
    "bad_price": "price > 0",
    "bad_quantity": "quantity > 0",
}
# Rejection reasons of a trade whose price or quantity has no value in the type of the contract, in the order in which
# they are checked; the price is checked first. They are checked after null_key and before bad_price, and exist only
# in tables of other types (trade_mapping). Overflow is judged after rounding.
NOT_A_NUMBER, INFINITE, OVERFLOW = "not_a_number", "infinite", "overflow"
AMOUNT_FAULTS = (NOT_A_NUMBER, INFINITE, OVERFLOW)
# Rejection reason, checked last, of a trade whose timestamp is outside its partition. Spark computes it from the
# partition columns; a reader that selects one partition limits the timestamp instead.
WRONG_PARTITION = "wrong_partition"
# Rejection reason of a trade whose partition is no hour (source_hours.partition_hour). No range contains it, so no job
# reads it. Every run counts all such trades of the table, from the manifests.
NO_HOUR = "no_hour"
# Rejection reasons of the trades of an hour, in the order in which they are checked.
ROW_REJECTIONS = ("null_key", *AMOUNT_FAULTS, "bad_price", "bad_quantity", WRONG_PARTITION)


# Condition that a trade has an identity.
HAS_IDENTITY = "(trade_id IS NOT NULL OR message_id IS NOT NULL)"


def validity_condition(identity: str = HAS_IDENTITY) -> str:
    """Return the condition of a valid trade. The reader must check that the timestamp is within the partition."""
    return " AND ".join(condition.format(identity=identity) for condition in VALIDITY_CONDITIONS.values())
