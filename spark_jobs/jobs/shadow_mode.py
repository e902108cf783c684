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
from spark_jobs.compute.trade_aggregation import TradeTotals
from spark_jobs.compute.trade_columns import SERIES
from spark_jobs.runtime.execution import NOT_NATIVE, is_native_plan

# A report lists at most this many differences; their total number is always reported.
MAX_LISTED = 20


@dataclass(frozen=True)
class ShadowComparison:
    """The series and hours that were compared, and those that differ."""

    compared: int = 0
    differing: tuple[str, ...] = ()
    # Why there is no comparison.
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the report."""
        first = list(self.differing[:MAX_LISTED])
        problem = {"problem": self.problem} if self.problem else {}
        return {"series_hours": self.compared, "differing": len(self.differing), "first": first, **problem}

    def __str__(self) -> str:
        if self.problem:
            return f"not compared, because {self.problem}"
        if not self.differing:
            return f"both engines agree in all {self.compared:,} series and hours"
        return f"the engines differ in {len(self.differing):,} of {self.compared:,} series and hours"


def aggregate_in_shadow(aggregate: Callable[[Engine], TradeTotals]) -> tuple[TradeTotals, ShadowComparison]:
    """Return the totals of the JVM, and their comparison with those of the native engine."""
    native_totals = aggregate("native")
    try:
        native = _digests(native_totals) if is_native_plan(native_totals.first_read) else None
    finally:
        # Spark would answer the same query from these cached totals.
        native_totals.release()
    totals = aggregate("jvm")
    try:
        comparison = ShadowComparison(problem=NOT_NATIVE) if native is None else _compare(native, _digests(totals))
    except BaseException:
        totals.release()
        raise
    listed = comparison.differing[:MAX_LISTED]
    print(f"shadow: {comparison}", *listed, sep="\nshadow: differs: ", file=sys.stderr, flush=True)
    return totals, comparison


def _compare(native: dict[str, object], jvm: dict[str, object]) -> ShadowComparison:
    names = native.keys() | jvm.keys()
    return ShadowComparison(len(names), tuple(sorted(name for name in names if native.get(name) != jvm.get(name))))


def _digests(totals: TradeTotals) -> dict[str, object]:
    """Return a digest of all totals by hour and series, and the number of deliveries by hour and rejection reason."""
    hour = window_start(HOUR // MICROSECOND, "window").alias("hour")
    # Exact: a sum of 64-bit hashes does not fit into 64 bits.
    digest = F.sum(F.xxhash64(*totals.columns).cast("decimal(20,0)"))
    rows = totals.totals.groupBy(*SERIES, hour).agg(digest.alias("digest"), F.count("*").alias("rows")).collect()
    found: dict[str, object] = {
        f"{iso(from_microseconds(row.hour))} {row.exchange} {row.symbol}": (row.digest, row.rows) for row in rows
    }
    for number, counts in totals.summary.counts.items():
        found[f"{iso(from_microseconds(number * (HOUR // MICROSECOND)))} deliveries"] = counts
    return found
