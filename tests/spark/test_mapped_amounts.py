"""Doubles as amounts: the shortest decimal text, rounded half up to 8 places, as Python computes it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from spark_jobs.compute.mapped_trades import mapped_amount

# Enough for the digits of the largest double.
EXACT = Context(prec=400)
LIMIT = Decimal(10) ** 10
PYTHON_SAMPLE = 20_000


def doubles(seed: int, count: int) -> Iterator[float]:
    """Yield doubles of all magnitudes: random ones, short decimals, ties, and the neighbours of each."""
    chosen = random.Random(seed)
    for _ in range(count):
        whole = int(10 ** chosen.uniform(0, 10))
        digits = chosen.randrange(10)
        for number in (
            10 ** chosen.uniform(-10, 10),
            float(f"{whole}.{chosen.randrange(10**9):09}"),
            # The shortest text ends half way between two amounts.
            float(f"{whole}.{chosen.randrange(10**8):08}5"),
            float(f"{chosen.randrange(10**10)}.{chosen.randrange(10**digits):0{digits + 1}}"),
            # Doubles that are half way between two decimals.
            whole + (2 * chosen.randrange(2**12) + 1) / 2 ** chosen.randrange(1, 25),
            chosen.uniform(0, 1e-7),
        ):
            yield from (number, math.nextafter(number, math.inf), -math.nextafter(number, 0))


SPECIAL = [
    *(2.0**exponent for exponent in range(-1074, 60)),
    *(digit * 10.0**exponent for exponent in range(-12, 12) for digit in range(1, 1000)),
    *(0.0, -0.0, 5e-9, 4.999999999999999e-9, 5e-324, 9999999999.999998, 1e10, -1e10, 1e300),
    *(math.inf, -math.inf, math.nan),
]


def amount_by_python(number: float) -> Decimal | None:
    if not math.isfinite(number):
        return None
    amount = Decimal(repr(number)).quantize(Decimal("1e-8"), ROUND_HALF_UP, EXACT)
    return amount if abs(amount) < LIMIT else None


def amounts_by_arrow(numbers: pa.Array) -> pa.Array:
    """Return the amounts of millions of doubles; the text of Arrow is the shortest one, too."""
    exact = numbers.cast(pa.string()).cast(pa.decimal256(60, 45))
    return pc.round(exact, 8, round_mode="half_towards_infinity").cast(pa.decimal128(18, 8), safe=False)


def test_spark_converts_doubles_like_python(spark: SparkSession, tmp_path: Path) -> None:
    numbers = [*doubles(7, 115_000)]
    python = numbers[:PYTHON_SAMPLE] + SPECIAL
    by_arrow = pa.array([number for number in numbers[PYTHON_SAMPLE:] if abs(number) < 9e9])
    expected = pa.chunked_array(
        [pa.array(map(amount_by_python, python), pa.decimal128(18, 8)), amounts_by_arrow(by_arrow)]
    )
    table = pa.table({"number": pa.chunked_array([pa.array(python, pa.float64()), by_arrow]), "expected": expected})
    pq.write_table(table, tmp_path / "numbers.parquet")
    assert len(table) > 2_000_000
    rows = spark.read.parquet(str(tmp_path / "numbers.parquet")).withColumn("amount", mapped_amount("number", "double"))
    different = rows.where(~F.col("amount").eqNullSafe(F.col("expected")))
    assert [(row.number, row.amount, row.expected) for row in different.limit(5).collect()] == []
