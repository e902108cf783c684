"""One run: read, compute, compare, write once. The two job scripts are doors to this."""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.config.settings import Settings
from ohlcv.iceberg.write_lock import AssertLockHeld, uses_write_lock, write_lock
from ohlcv.model import summary_keys
from ohlcv.model.build_planner import BuildPlan, SourceCheckpoint, plan_build
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.intervals import Range, iso, parse_time, requested_range
from ohlcv.model.source_hours import format_hours, hours_overlapping
from ohlcv.model.table_contracts import TableContract, candles_contract
from ohlcv.model.timeframes import Timeframe
from spark_jobs.compute.candle_builder import candles, common_step, violated_invariant
from spark_jobs.compute.trade_aggregation import PassSummary, TradeTotals, aggregate_trades
from spark_jobs.compute.trade_columns import with_rejection_reason
from spark_jobs.iceberg.candle_writer import CommitGuard, Comparison, compare, read_stored, volume_type, write
from spark_jobs.iceberg.table_metadata import (
    TableHistory,
    load_table,
    read_checkpoint,
    record_checkpoint,
)
from spark_jobs.iceberg.trades_reader import read_trades
from spark_jobs.runtime.job_runner import Job, PhaseTimer, retry_after_conflicts, run_job
from spark_jobs.runtime.py4j_bridge import JavaObject
from spark_jobs.runtime.session import code_generation_for

# How many withheld or broken candles a run names; their number is always told.
NAMED = 100


@dataclass(frozen=True)
class Request:
    """What a run was asked to do."""

    timeframe: Timeframe
    own: Range
    repair: bool = False
    prune: bool = False
    dag_id: str = ""
    run_id: str = ""
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class Source:
    """The trades of a run, judged and added up, as they stood at one snapshot."""

    sums: TradeTotals
    snapshot: int | None
    # The file that describes the table at that snapshot.
    metadata: str = ""

    @property
    def found(self) -> PassSummary:
        return self.sums.found


@contextmanager
def read_source(
    spark: SparkSession, history: TableHistory, timeframes: Iterable[Timeframe], ranges: Sequence[Range]
) -> Iterator[Source]:
    """Read the trades of the ranges, for all those timeframes at once; their sums are kept meanwhile."""
    hours = hours_overlapping(ranges)
    trades = read_trades(spark, history.snapshot, hours, all_have_ids=history.all_have_ids(hours))
    sums = aggregate_trades(with_rejection_reason(trades), common_step(timeframes), ranges)
    try:
        yield Source(sums, history.snapshot, history.metadata)
    finally:
        sums.release()


@dataclass(frozen=True)
class Target:
    """A candle table as it stood when the run took the writer's lease, and what guards it until the commit.

    To be read before the trades: a guard without a lease sees only what is committed after this.
    """

    contract: TableContract
    table: JavaObject
    recorded: SourceCheckpoint
    stored: DataFrame
    guard: CommitGuard

    @classmethod
    def of(
        cls, spark: SparkSession, settings: Settings, timeframe: Timeframe, assert_lock_held: AssertLockHeld
    ) -> Target:
        """Load the table and what it has recorded."""
        contract = candles_contract(timeframe)
        table = load_table(spark, contract)
        guard = CommitGuard.of(table, assert_lock_held, leased=uses_write_lock(settings))
        return cls(contract, table, read_checkpoint(table), read_stored(spark, contract, table), guard)


def build(spark: SparkSession, settings: Settings, request: Request) -> dict[str, Any]:
    """Build the candles of one timeframe and range; give what the run has to report."""
    return retry_after_conflicts(settings, lambda: _build_once(spark, settings, request))


def _build_once(spark: SparkSession, settings: Settings, request: Request) -> dict[str, Any]:
    timeframe = request.timeframe
    phases = PhaseTimer()
    with ExitStack() as stack:
        with phases.phase("lease"):
            assert_lock_held = stack.enter_context(write_lock(settings, candles_contract(timeframe).name))
        with phases.phase("plan"):
            target = Target.of(spark, settings, timeframe, assert_lock_held)
            # Looked at under the lease: a snapshot from before could be older than what another writer used.
            history = TableHistory(spark)
            plan = plan_build(
                timeframe,
                request.own,
                history,
                target.recorded,
                rebuild_pending=request.repair,
                trade_budget=settings.trade_budget(timeframe.name),
                prune=request.prune,
            )
            stack.enter_context(code_generation_for(spark, sum(history.trades_in(plan.hours).values())))
        with phases.phase("survey"):
            source = stack.enter_context(read_source(spark, history, [timeframe], plan.ranges))
        with phases.phase("compute"):
            report = rebuild(source, target, plan, request)
        with phases.phase("write"):
            snapshot = report.commit()
        result = report.to_json(snapshot)
        report.comparison.rows.unpersist()
    return {**result, "seconds": phases.finish()}


def rebuild(source: Source, target: Target, plan: BuildPlan, request: Request) -> Report:
    """Compute the candles of a plan and hold them against the stored ones; writes nothing."""
    comparison = compare(
        compute(source, plan, volume_type(target.table)),
        target.stored,
        plan.timeframe,
        plan.ranges,
        empty_hours=plan.hours - source.found.counts.keys(),
        now=datetime.now(UTC),
        prune=request.prune,
    )
    refuse_broken(comparison)
    return Report(request, plan, source, target, comparison)


def compute(source: Source, plan: BuildPlan, volume: str) -> DataFrame:
    """Make the candles of a plan, each marked where it must be withheld or breaks an invariant."""
    withheld = F.col("volume").isNull() | F.col("vwap").isNull()
    return (
        candles(source.sums.totals, source.sums.step, plan.timeframe, plan.ranges, volume)
        .withColumn("withheld", withheld)
        .withColumn("broken", F.when(~F.col("withheld"), violated_invariant(plan.timeframe)))
    )


def refuse_broken(comparison: Comparison) -> None:
    """Stop before the commit when a computed candle breaks an invariant: it must never be visible."""
    if not comparison.broken:
        return
    first = comparison.rows.where(F.col("broken").isNotNull()).orderBy("window_start").first()
    assert first is not None
    raise OhlcvError(
        f"{comparison.broken} computed candles break an invariant, nothing was written; the first: {first.broken} "
        f"({first.symbol} {first.exchange} {iso(first.window_start.astimezone(UTC))})"
    )


@dataclass(frozen=True)
class Report:
    """A table's candles rebuilt: what there is to write, and what the run tells of it."""

    request: Request
    plan: BuildPlan
    source: Source
    target: Target
    comparison: Comparison

    def commit(self) -> int | None:
        """Write what changed, in one commit or none; give its snapshot."""
        target = self.target
        if self.comparison.changed_partitions:
            return write(
                self.comparison,
                target.stored,
                target.contract,
                self.plan.timeframe,
                target.table,
                self.plan.ranges,
                self.summary(),
                target.guard,
            )
        if self.plan.checkpoint != target.recorded:
            record_checkpoint(target.table, self.plan.checkpoint)
        return None

    @property
    def rejected(self) -> dict[str, int]:
        """Add the rejected trades of all hours up by reason."""
        total: Counter[str] = Counter()
        for verdicts in self.source.found.counts.values():
            total.update({reason: trades for reason, trades in verdicts.items() if reason is not None})
        return dict(sorted(total.items()))

    @property
    def trades_read(self) -> int:
        return sum(sum(verdicts.values()) for verdicts in self.source.found.counts.values())

    def summary(self) -> dict[str, str]:
        """Give the provenance that goes into the snapshot's summary."""
        counts = self.comparison.counts
        return {
            summary_keys.ATTEMPT: self.request.attempt,
            summary_keys.CHECKPOINT: self.plan.checkpoint.to_text(),
            summary_keys.TIMEFRAME: self.plan.timeframe.name,
            summary_keys.DAG_ID: self.request.dag_id,
            summary_keys.RUN_ID: self.request.run_id,
            summary_keys.RANGE_START: iso(self.plan.own_range.start),
            summary_keys.RANGE_END: iso(self.plan.own_range.end),
            summary_keys.REBUILT_PENDING_HOURS: format_hours(self.plan.rebuilt_hours),
            summary_keys.TRADES_SNAPSHOT: str(self.source.snapshot or ""),
            # Where the catalog may show the newest snapshot alone, older ones are found by this.
            **({} if self.target.guard.leased else {summary_keys.TRADES_METADATA: self.source.metadata}),
            summary_keys.TRADES_READ: str(self.trades_read),
            summary_keys.TRADES_REJECTED: json.dumps(self.rejected),
            summary_keys.CANDLES_WITHHELD: str(self.comparison.withheld),
            **{
                summary_keys.candles_changed(action): str(counts[action])
                for action in ("inserted", "updated", "deleted")
            },
        }

    def to_json(self, snapshot: int | None) -> dict[str, Any]:
        """Give the run's closing line."""
        notes = list(self.plan.notes)
        if not self.trades_read and self.plan.ranges:
            notes.append("there are no trades in the range")
        return {
            "timeframe": self.plan.timeframe.name,
            "range": {"start": iso(self.plan.own_range.start), "end": iso(self.plan.own_range.end)},
            "dirty_hours": format_hours(self.plan.rebuilt_hours),
            "unchanged_hours": format_hours(self.plan.unchanged_hours),
            "owed_hours": format_hours(self.plan.checkpoint.pending_hours),
            "trades_snapshot": self.source.snapshot,
            "trades_read": self.trades_read,
            "rejected": self.rejected,
            "candles": {**self.comparison.counts, "withheld": self.comparison.withheld},
            "withheld": self._withheld(),
            "snapshot": snapshot,
            "notes": notes,
        }

    def _withheld(self) -> list[dict[str, str]]:
        if not self.comparison.withheld:
            return []
        rows = (
            self.comparison.rows.where("withheld").orderBy("window_start", "symbol", "exchange").limit(NAMED).collect()
        )
        return [
            {
                "symbol": row.symbol,
                "exchange": row.exchange,
                "window_start": iso(row.window_start.astimezone(UTC)),
                "volume": str(row.exact_volume),
                "reason": "volume" if row.volume is None else "turnover",
            }
            for row in rows
        ]


def arg_parser() -> argparse.ArgumentParser:
    """Return the parser of the job arguments."""
    parser = argparse.ArgumentParser(description="Build the candles of one timeframe.")
    parser.add_argument("--timeframe", required=True)
    parser.add_argument("--start", required=True, help="first window's start, ISO time in UTC")
    parser.add_argument("--end", required=True, help="end of the last window, ISO time in UTC")
    # Words, not flags: a template can fill in a word, but cannot leave an argument out.
    for name, text in (
        ("repair", "also rebuild old hours whose trades changed"),
        ("prune", "remove candles even where the source hour is empty"),
    ):
        parser.add_argument(f"--{name}", choices=("yes", "no"), default="no", help=text)
    parser.add_argument("--dag-id", default="", help="recorded in the commit")
    parser.add_argument("--run-id", default="", help="recorded in the commit")
    return parser


def read_request(script: str, settings: Settings, arguments: list[str]) -> Request:
    """Check the arguments before anything starts."""
    values = arg_parser().parse_args(arguments)
    timeframe = settings.timeframe(values.timeframe)
    if timeframe.script != script:
        raise InputError(f"{timeframe} candles are built by {timeframe.script}, not by {script}: start that script")
    start, end = (parse_time(text)[0] for text in (values.start, values.end))
    own = requested_range(timeframe, start, end, known_until=end)
    if own != Range(start, end):
        raise InputError(f"{start} to {end} are not whole {timeframe} windows: {own} would be")
    return Request(
        timeframe=timeframe,
        own=own,
        repair=values.repair == "yes",
        prune=values.prune == "yes",
        dag_id=values.dag_id,
        run_id=values.run_id,
    )


def main(script: str) -> int:
    """Run the job script of that file name and return its exit code."""

    def job(settings: Settings) -> tuple[str, Job]:
        request = read_request(script, settings, sys.argv[1:])
        name = f"ohlcv {request.timeframe} {request.run_id or request.own}"
        return name, lambda spark: build(spark, settings, request)

    return run_job(job)
