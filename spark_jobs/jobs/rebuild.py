"""Rebuild of the windows of a plan: read and aggregate trades, compute candles, compare them with the stored ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.config.execution import Engine
from ohlcv.config.settings import Settings
from ohlcv.iceberg.write_lock import AssertLockHeld
from ohlcv.model import summary_keys
from ohlcv.model.audit_records import HeldSeries
from ohlcv.model.build_planner import BuildPlan
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range, iso
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.model.source_hours import format_hours, hours_overlapping
from ohlcv.model.table_contracts import TableContract
from ohlcv.model.timeframes import Timeframe
from ohlcv.model.trade_validity import NO_HOUR
from spark_jobs.compute.candle_builder import candles_from_totals, common_step, violated_invariant
from spark_jobs.compute.trade_aggregation import TradeSummary, TradeTotals, aggregate_every_row, aggregate_trades
from spark_jobs.compute.trade_columns import with_rejection_reason
from spark_jobs.iceberg.candle_writer import (
    PRESERVED,
    CommitGuard,
    Comparison,
    compare,
    is_extended,
    read_stored,
    volume_type,
)
from spark_jobs.iceberg.table_metadata import load_table_to_write, read_checkpoint
from spark_jobs.iceberg.trades_history import TableHistory
from spark_jobs.iceberg.trades_reader import SPLIT_MIN_TRADES, read_trades, split_properties
from spark_jobs.jobs.shadow_mode import ShadowComparison, aggregate_in_shadow
from spark_jobs.runtime.execution import ON_JVM, Execution, as_planned, use_engine
from spark_jobs.runtime.py4j_bridge import JavaObject
from spark_jobs.runtime.session import executor_cores, properties_set

# A report lists at most this many withheld candles; their total number is always reported.
MAX_LISTED = 100
NOT_AUDITED: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Request:
    """Arguments of a build."""

    timeframe: Timeframe
    own_range: Range
    rebuild_pending: bool = False
    prune: bool = False
    new_source: bool = False
    dag_id: str = ""
    run_id: str = ""


@dataclass(frozen=True)
class Source:
    """The trades of a run as of one snapshot, validated and aggregated."""

    trade_totals: TradeTotals
    snapshot: int | None
    # Number of trades whose partition is no hour, in the whole table.
    trades_of_no_hour: int = 0
    # The metadata file of the trades table at that snapshot.
    metadata: str = ""
    execution: Execution = ON_JVM
    # Only in shadow mode.
    shadow: ShadowComparison | None = None

    @property
    def summary(self) -> TradeSummary:
        return self.trade_totals.summary


@contextmanager
def read_source(
    spark: SparkSession,
    history: TableHistory,
    timeframes: Iterable[Timeframe],
    ranges: Sequence[Range],
    execution: Execution = ON_JVM,
    *,
    measures: bool = False,
) -> Iterator[Source]:
    """Yield the trades of the ranges, aggregated once for all timeframes; the totals are cached inside the block.

    `measures`: the totals also have the columns from which measures are computed.
    """
    hours, table = hours_overlapping(ranges), history.table
    # With enough trades more tasks repay their shuffle.
    is_split = executor_cores(spark) > len(hours) and sum(history.trades_in(hours).values()) >= SPLIT_MIN_TRADES
    stored = read_trades(spark, table, hours, all_have_ids=history.all_have_ids(hours), is_split=is_split)
    trades = with_rejection_reason(stored, table.faults)
    function = aggregate_every_row if table.mapping.every_row else aggregate_trades

    def aggregate(engine: Engine) -> TradeTotals:
        with use_engine(spark, engine), properties_set(spark, split_properties(spark) if is_split else {}):
            return function(trades, common_step(timeframes), ranges, measures=measures)

    shadow = None
    if execution.is_shadow:
        totals, shadow = aggregate_in_shadow(aggregate)
    else:
        totals = aggregate(execution.engine)
        execution = as_planned(execution, totals.first_read)
    try:
        yield Source(totals, history.snapshot, history.trades_of_no_hour, history.metadata, execution, shadow)
    finally:
        totals.release()


@dataclass(frozen=True)
class Target:
    """A candle table as of the start of the run, and the guard of its commit.

    Load it before the trades: a guard without a write lock detects only commits made after this.
    """

    contract: TableContract
    table: JavaObject
    # The snapshot with the stored candles, None while the table has none.
    snapshot: int | None
    checkpoint: SourceCheckpoint
    stored: DataFrame
    guard: CommitGuard
    # Whether the table has measures.
    is_extended: bool = False

    @classmethod
    def load(
        cls, spark: SparkSession, settings: Settings, timeframe: Timeframe, assert_lock_held: AssertLockHeld
    ) -> Target:
        """Return the loaded table with its checkpoint and stored candles."""
        contract = settings.candles_contract(timeframe)
        table = load_table_to_write(spark, settings, contract)
        guard = CommitGuard.for_table(table, assert_lock_held, has_lock=settings.catalog.has_lock)
        snapshot = table.currentSnapshot()
        number = None if snapshot is None else int(snapshot.snapshotId())
        stored = read_stored(spark, contract, table)
        return cls(contract, table, number, read_checkpoint(table), stored, guard, is_extended(table))


def rebuild(source: Source, target: Target, plan: BuildPlan, request: Request) -> Report:
    """Compute the candles of a plan and compare them with the stored ones, without writing."""
    comparison = compare(
        compute(source, plan, volume_type(target.table), measures=target.is_extended),
        target.stored,
        plan.timeframe,
        plan.ranges,
        empty_hours=plan.hours - source.summary.counts.keys(),
        now=datetime.now(UTC),
        prune=request.prune,
        measures=target.is_extended,
    )
    raise_on_violation(comparison)
    return Report(request, plan, source, target, comparison)


def compute(source: Source, plan: BuildPlan, volume: str, *, measures: bool = False) -> DataFrame:
    """Return the candles of a plan, marked where they are withheld or violate an invariant."""
    withheld = F.col("volume").isNull() | F.col("vwap").isNull()
    totals, step = source.trade_totals.totals, source.trade_totals.step
    return (
        candles_from_totals(totals, step, plan.timeframe, plan.ranges, volume, measures=measures)
        .withColumn("withheld", withheld)
        .withColumn("violation", F.when(~F.col("withheld"), violated_invariant(plan.timeframe)))
    )


def raise_on_violation(comparison: Comparison) -> None:
    """Raise if a computed candle violates an invariant, so that it is never committed."""
    if not comparison.violations:
        return
    first = comparison.rows.where(F.col("violation").isNotNull()).orderBy("window_start").first()
    assert first is not None
    raise OhlcvError(
        f"{comparison.violations} computed candles violate an invariant, nothing was written: {first.violation} "
        f"({first.symbol} {first.exchange} {iso(first.window_start.astimezone(UTC))})"
    )


@dataclass(frozen=True)
class Report:
    """Rebuilt candles of one table: what to write, and what to report."""

    request: Request
    plan: BuildPlan
    source: Source
    target: Target
    comparison: Comparison
    # Series that failed the audit in this run.
    held: frozenset[HeldSeries] = frozenset()

    @property
    def timeframe(self) -> Timeframe:
        return self.plan.timeframe

    @property
    def has_changes(self) -> bool:
        return bool(self.comparison.changed_partitions)

    @property
    def checkpoint(self) -> SourceCheckpoint:
        """Return the source checkpoint after the run."""
        # A run that ends before the windows that an earlier run tried does not release their series.
        keys = {each.key for each in self.held}
        others = {each for each in self.plan.checkpoint.held if each.key not in keys}
        return replace(self.plan.checkpoint, held=self.held | others)

    def holding(self, held: Iterable[HeldSeries]) -> Report:
        """Return the report of a run that keeps the stored candles of these series."""
        added = frozenset(held)
        comparison = self.comparison.holding(each.key for each in added)
        return replace(self, comparison=comparison, held=self.held | added)

    @property
    def rejected(self) -> dict[str, int]:
        """Return the number of rejected trades by reason."""
        total: Counter[str] = Counter({NO_HOUR: self.source.trades_of_no_hour})
        for reasons in self.source.summary.counts.values():
            total.update({reason: trades for reason, trades in reasons.items() if reason is not None})
        return {reason: trades for reason, trades in sorted(total.items()) if trades}

    @property
    def trades_read(self) -> int:
        return sum(sum(reasons.values()) for reasons in self.source.summary.counts.values())

    def summary(self, attempt: str, audit: Mapping[str, str] = NOT_AUDITED) -> dict[str, str]:
        """Return the provenance for the snapshot summary, with entries of the audit."""
        counts = self.comparison.counts
        return {
            summary_keys.ATTEMPT: attempt,
            summary_keys.CHECKPOINT: self.checkpoint.to_text(),
            summary_keys.TIMEFRAME: self.plan.timeframe.name,
            summary_keys.DAG_ID: self.request.dag_id,
            summary_keys.RUN_ID: self.request.run_id,
            summary_keys.RANGE_START: iso(self.plan.own_range.start),
            summary_keys.RANGE_END: iso(self.plan.own_range.end),
            summary_keys.REBUILT_PENDING_HOURS: format_hours(self.plan.rebuilt_hours),
            summary_keys.TRADES_SNAPSHOT: str(self.source.snapshot or ""),
            # Some REST catalogs show only the newest snapshot; validation finds older ones by this file.
            **({} if self.target.guard.has_lock else {summary_keys.TRADES_METADATA: self.source.metadata}),
            summary_keys.TRADES_READ: str(self.trades_read),
            summary_keys.TRADES_REJECTED: json.dumps(self.rejected),
            summary_keys.CANDLES_WITHHELD: str(self.comparison.withheld),
            summary_keys.EXECUTION: self.source.execution.engine,
            **audit,
            **{summary_keys.candles_changed(action): str(counts[action]) for action in summary_keys.WRITES},
        }

    def to_json(self, snapshot: int | None) -> dict[str, Any]:
        """Return the report of the run."""
        notes = list(self.plan.notes)
        if not self.trades_read and self.plan.ranges:
            notes.append("there are no trades in the range")
        if shadow := self.source.shadow:
            notes.append(f"shadow mode: {shadow}")
        if held := self.checkpoint.held:
            notes.append(f"the audit holds back {len(held):,} series: see 'ohlcv audit status'")
        return {
            "timeframe": self.plan.timeframe.name,
            "range": {"start": iso(self.plan.own_range.start), "end": iso(self.plan.own_range.end)},
            "repaired_hours": format_hours(self.plan.rebuilt_hours),
            "unchanged_hours": format_hours(self.plan.unchanged_hours),
            "owed_hours": format_hours(self.plan.checkpoint.pending_hours),
            "held": [each.name(self.timeframe) for each in sorted(self.checkpoint.held, key=lambda each: each.key)],
            "trades_snapshot": self.source.snapshot,
            "trades_read": self.trades_read,
            "rejected": self.rejected,
            "candles": {**reported_counts(self.comparison), "withheld": self.comparison.withheld},
            "withheld": self._withheld(),
            "snapshot": snapshot,
            **({"shadow": self.source.shadow.to_json()} if self.source.shadow else {}),
            "notes": notes,
        }

    def _withheld(self) -> list[dict[str, str]]:
        if not self.comparison.withheld:
            return []
        rows = (
            self.comparison.rows.where("withheld")
            .orderBy("window_start", "symbol", "exchange")
            .limit(MAX_LISTED)
            .collect()
        )
        return [
            {
                "symbol": row.symbol,
                "exchange": row.exchange,
                "window_start": iso(row.window_start.astimezone(UTC)),
                "volume": str(row.exact_volume),
                # "turnover" is the stored name of the notional.
                "reason": "volume" if row.volume is None else "turnover",
            }
            for row in rows
        ]


def reported_counts(comparison: Comparison) -> dict[str, int]:
    """Return the number of candles by action. Preserved candles are reported as "kept", a name that readers rely on."""
    return {"kept" if action == PRESERVED else action: count for action, count in comparison.counts.items()}
