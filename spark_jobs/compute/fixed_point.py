"""Amounts as whole numbers: hundred-millionths in 64 bits, added up in parts that no sum makes too large.

Spark adds decimals of more than 18 digits up as Java's BigDecimal, an object or three for every trade: half the time
that a candle took. Whole numbers of 64 bits take none. A volume is added up in two parts, a turnover (prices times
quantities) in four; each part of one trade has at most 32 bits, so that two thousand million trades fit into a sum.
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from ohlcv.model.table_contracts import AMOUNT, AMOUNT_SCALE
from spark_jobs.runtime.py4j_bridge import java_class

# The bits that a part takes off a quantity, and off a turnover.
VOLUME_BITS, NOTIONAL_BITS = 32, 30
VOLUME_PARTS = ("volume_0", "volume_1")
NOTIONAL_PARTS = ("turnover_0", "turnover_1", "turnover_2", "turnover_3")
# One unit, as a decimal.
UNIT = f"0.{'1'.zfill(AMOUNT_SCALE)}BD"


def units(amount: str) -> Column:
    """Give an amount as a whole number of hundred-millionths: what Spark holds of a decimal of up to 18 digits.

    No SQL function gives it: arithmetic that would, leaves the 64 bits on its way. Spark's optimiser has an
    expression for it, which it puts into sums of small decimals.
    """
    expressions = java_class("org.apache.spark.sql.classic.ExpressionUtils")
    decimal = expressions.expression(F.col(amount).cast(AMOUNT)._jc)
    unscaled = java_class("org.apache.spark.sql.catalyst.expressions.UnscaledValue")(decimal)
    return Column(expressions.column(unscaled))


def volume_parts(quantity: str) -> dict[str, Column]:
    """Take a quantity in units apart."""
    return dict(zip(VOLUME_PARTS, _split(F.col(quantity), VOLUME_BITS), strict=True))


def notional_parts(price: str, quantity: str) -> dict[str, Column]:
    """Multiply a price and a quantity, both in units, by halves of 30 bits, as on paper."""
    low_price, high_price = _split(F.col(price), NOTIONAL_BITS)
    low_quantity, high_quantity = _split(F.col(quantity), NOTIONAL_BITS)
    part_0, carried_1 = _split(low_price * low_quantity, NOTIONAL_BITS)
    part_1, carried_2 = _split(low_price * high_quantity + high_price * low_quantity + carried_1, NOTIONAL_BITS)
    part_2, part_3 = _split(high_price * high_quantity + carried_2, NOTIONAL_BITS)
    return dict(zip(NOTIONAL_PARTS, (part_0, part_1, part_2, part_3), strict=True))


def _split(number: Column, bits: int) -> tuple[Column, Column]:
    return number.bitwiseAND(F.lit((1 << bits) - 1)), F.shiftright(number, bits)


def amount(units: str) -> Column:
    """Give a number of units as the decimal it is."""
    return F.expr(f"CAST(CAST({units} AS DECIMAL(18, 0)) * {UNIT} AS {AMOUNT})")


def volume_units() -> Column:
    """Put the sums of a volume's parts together, in units: decimal(28,0), enough for ten billion of the largest."""
    low, high = VOLUME_PARTS
    return F.expr(f"CAST(CAST({high} AS DECIMAL(19, 0)) * {1 << VOLUME_BITS}BD + {low} AS DECIMAL(28, 0))")


def notional_units() -> Column:
    """Put the sums of a turnover's parts together, in units of units; null where that has more than 38 digits."""
    total = "CAST(0 AS DECIMAL(38, 0))"
    for number, part in enumerate(NOTIONAL_PARTS):
        place = f"{1 << (NOTIONAL_BITS * number)}BD"
        total = f"try_add({total}, try_multiply(CAST({part} AS DECIMAL(19, 0)), {place}))"
    return F.expr(f"CAST({total} AS DECIMAL(38, 0))")


def exact_volume(units: str) -> Column:
    """Give a volume in units as the decimal it is, however large."""
    return F.expr(f"CAST({units} * {UNIT} AS DECIMAL(28, {AMOUNT_SCALE}))")


def vwap(turnover: str, volume: str) -> Column:
    """Divide exactly and round half up once: Spark's own division rounds to a scale of its choosing first.

    Turnover by volume is units: its whole part, plus one where the remainder is at least half of the volume.
    """
    remainder = f"({turnover} % {volume})"
    whole = f"({turnover} div {volume}) + IF({remainder} >= {volume} - {remainder}, 1, 0)"
    return F.expr(f"CAST(CAST({whole} AS DECIMAL(18, 0)) * {UNIT} AS {AMOUNT})")
