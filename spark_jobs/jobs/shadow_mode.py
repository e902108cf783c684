"""Shadow mode: a run aggregates its trades on both engines, compares the totals, and publishes those of the JVM."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyspark.sql import functions as F

from ohlcv.config.execution import Engine
from ohlcv.model.intervals import HOUR, MICROSECOND, from_microseconds, iso
from spark_jobs.compute.time_predicates import window_start
from spark_jobs.compute.trade_aggregation import TOTAL_COLUMNS, TradeTotals
from spark_jobs.compute.trade_columns import SERIES

# A report lists at most this many differences; their total number is always reported.
MAX_LISTED = 20


@dataclass(frozen=True)
class ShadowComparison:
    """The series and hours that were compared, and those that differ."""

    compared: int
    differing: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the report."""
        first = list(self.differing[:MAX_LISTED])
        return {"series_hours": self.compared, "differing": len(self.differing), "first": first}

    def __str__(self) -> str:
        if not self.differing:
            return f"both engines agree in all {self.compared:,} series and hours"
        return f"the engines differ in {len(self.differing):,} of {self.compared:,} series and hours"


def aggregate_in_shadow(aggregate: Callable[[Engine], TradeTotals]) -> tuple[TradeTotals, ShadowComparison]:
    """Return the totals of the JVM, and their comparison with those of the native engine."""
    native_totals = aggregate("native")
    native = _digests(native_totals)
    # Spark would answer the same query from these cached totals.
    native_totals.release()
    totals = aggregate("jvm")
    jvm = _digests(totals)
    differing = sorted(name for name in native.keys() | jvm.keys() if native.get(name) != jvm.get(name))
    comparison = ShadowComparison(len(native.keys() | jvm.keys()), tuple(differing))
    print(f"shadow: {comparison}", *differing[:MAX_LISTED], sep="\nshadow: differs: ", file=sys.stderr, flush=True)
    return totals, comparison


def _digests(totals: TradeTotals) -> dict[str, object]:
    """Return a digest of all totals by hour and series, and the number of deliveries by hour and rejection reason."""
    hour = window_start(HOUR // MICROSECOND, "window").alias("hour")
    # Exact: a sum of 64-bit hashes does not fit into 64 bits.
    digest = F.sum(F.xxhash64(*TOTAL_COLUMNS).cast("decimal(20,0)"))
    rows = totals.totals.groupBy(*SERIES, hour).agg(digest.alias("digest"), F.count("*").alias("rows")).collect()
    found: dict[str, object] = {
        f"{iso(from_microseconds(row.hour))} {row.exchange} {row.symbol}": (row.digest, row.rows) for row in rows
    }
    for number, counts in totals.summary.counts.items():
        found[f"{iso(from_microseconds(number * (HOUR // MICROSECOND)))} deliveries"] = counts
    return found
