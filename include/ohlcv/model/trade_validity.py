"""Conditions that a stored trade must meet to reach a candle, as SQL that Spark and pyiceberg both parse.

The DuckDB recomputation (quality.recomputation) states them on its own, so that it can detect a fault here.
"""

from __future__ import annotations

# Reason why a trade is rejected -> condition of a valid trade, in the order in which they are checked. {identity}
# stands for a condition that the trade has an identity. A trade whose timestamp lies outside its partition is
# rejected as well (WRONG_PARTITION); how a partition is known depends on the reader.
VALIDITY_CONDITIONS = {
    "null_key": "symbol IS NOT NULL AND exchange IS NOT NULL AND timestamp IS NOT NULL AND {identity}",
    "bad_price": "price > 0",
    "bad_quantity": "quantity > 0",
}
WRONG_PARTITION = "wrong_partition"


def validity_condition(identity: str = "(trade_id IS NOT NULL OR message_id IS NOT NULL)") -> str:
    """Return the condition of a valid trade in a partition that is known to hold its timestamp."""
    return " AND ".join(condition.format(identity=identity) for condition in VALIDITY_CONDITIONS.values())
