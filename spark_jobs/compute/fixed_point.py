"""Fixed-point arithmetic for prices, quantities and their sums.

An amount is a whole number of units of 10^-8 in 64 bits. Sums are kept in several parts so that no part overflows.

Spark adds decimals of more than 18 digits with Java's BigDecimal, which allocates up to three objects per trade: half
of the time needed to build a candle. 64-bit integers allocate none. A volume is summed in two parts, a notional
(price x quantity) in four. Each part of one trade has at most 32 bits, so a sum has room for two billion trades.
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from ohlcv.model.table_contracts import AMOUNT, AMOUNT_SCALE
from spark_jobs.runtime.py4j_bridge import java_class

# Bits in the lower parts of a quantity and of a notional.
VOLUME_BITS, NOTIONAL_BITS = 32, 30
VOLUME_PARTS = ("volume_0", "volume_1")
NOTIONAL_PARTS = ("notional_0", "notional_1", "notional_2", "notional_3")
# One unit as a SQL decimal literal.
UNIT = f"0.{'1'.zfill(AMOUNT_SCALE)}BD"


def to_units(amount: str) -> Column:
    """Return an amount in units of 10^-8: the unscaled value that Spark stores for a decimal of up to 18 digits.

    No SQL function returns it, and arithmetic that would compute it exceeds 64 bits on the way. Spark's optimizer has
    an internal expression for it (UnscaledValue), which it uses for sums of small decimals.
    """
    expressions = java_class("org.apache.spark.sql.classic.ExpressionUtils")
    decimal = expressions.expression(F.col(amount).cast(AMOUNT)._jc)
    unscaled = java_class("org.apache.spark.sql.catalyst.expressions.UnscaledValue")(decimal)
    return Column(expressions.column(unscaled))


def volume_parts(quantity: str) -> dict[str, Column]:
    """Return the parts of a quantity given in units."""
    return dict(zip(VOLUME_PARTS, _split(F.col(quantity), VOLUME_BITS), strict=True))


def notional_parts(price: str, quantity: str) -> dict[str, Column]:
    """Return the parts of price x quantity, both given in units: long multiplication with 30-bit digits."""
    low_price, high_price = _split(F.col(price), NOTIONAL_BITS)
    low_quantity, high_quantity = _split(F.col(quantity), NOTIONAL_BITS)
    part_0, carry_1 = _split(low_price * low_quantity, NOTIONAL_BITS)
    part_1, carry_2 = _split(low_price * high_quantity + high_price * low_quantity + carry_1, NOTIONAL_BITS)
    part_2, part_3 = _split(high_price * high_quantity + carry_2, NOTIONAL_BITS)
    return dict(zip(NOTIONAL_PARTS, (part_0, part_1, part_2, part_3), strict=True))


def _split(number: Column, bits: int) -> tuple[Column, Column]:
    return number.bitwiseAND(F.lit((1 << bits) - 1)), F.shiftright(number, bits)


def to_amount(units: str) -> Column:
    """Return a number of units as a decimal amount."""
    return F.expr(f"CAST(CAST({units} AS DECIMAL(18, 0)) * {UNIT} AS {AMOUNT})")


def volume_units() -> Column:
    """Return the summed volume in units; decimal(28,0) holds ten billion of the largest quantities."""
    low, high = VOLUME_PARTS
    return F.expr(f"CAST(CAST({high} AS DECIMAL(19, 0)) * {1 << VOLUME_BITS}BD + {low} AS DECIMAL(28, 0))")


def notional_units() -> Column:
    """Return the summed notional in units squared (10^-16); null if it has more than 38 digits."""
    total = "CAST(0 AS DECIMAL(38, 0))"
    for number, part in enumerate(NOTIONAL_PARTS):
        weight = f"{1 << (NOTIONAL_BITS * number)}BD"
        total = f"try_add({total}, try_multiply(CAST({part} AS DECIMAL(19, 0)), {weight}))"
    return F.expr(f"CAST({total} AS DECIMAL(38, 0))")


def exact_volume(units: str) -> Column:
    """Return a volume as a decimal that also holds values too large for the volume column."""
    return F.expr(f"CAST({units} * {UNIT} AS DECIMAL(28, {AMOUNT_SCALE}))")


def vwap(notional: str, volume: str) -> Column:
    """Return notional / volume, exact and rounded half up once.

    Spark's own division rounds to a scale of its own choice first. Notional divided by volume is a number of units:
    the integer quotient, plus one if the remainder is at least half of the volume.
    """
    remainder = f"({notional} % {volume})"
    quotient = f"({notional} div {volume}) + IF({remainder} >= {volume} - {remainder}, 1, 0)"
    return F.expr(f"CAST(CAST({quotient} AS DECIMAL(18, 0)) * {UNIT} AS {AMOUNT})")
