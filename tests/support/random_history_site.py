"""Execution of a random history on real tables by the real jobs, with a comparison after every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pyspark.sql import SparkSession

from ohlcv.iceberg.retention_plan import plan_retention
from ohlcv.iceberg.tables import widen_volume
from ohlcv.ledger.expiry import keep_since
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import Range
from ohlcv.model.source_hours import parse_hours
from spark_jobs.compute import trade_aggregation
from spark_jobs.iceberg import partial_overwrite
from spark_jobs.jobs import rebuild, table_maintenance
from spark_jobs.jobs.reprocess_day import DayRequest, reprocess
from support.harness import Harness
from support.maintenance import run_maintenance
from support.random_history_crashes import EFFECTIVE, crashing
from support.random_history_model import EPOCH, Expectation, Span, hours_of, microseconds
from support.random_history_records import Records
from support.random_history_source import SourceTable
from support.random_history_steps import (
    Advance,
    Build,
    Change,
    CompactSource,
    Crash,
    Delete,
    Deliver,
    DropHours,
    ExpireSource,
    History,
    Maintain,
    Record,
    Reprocess,
    Rewrite,
    Rollback,
    Scheduled,
    Step,
    describe,
)
from support.random_history_tables import CandleTable, HistoryError, Totals
from support.reference_model import rejection_reason

# With a smaller one a scheduled run may leave hours to the next runs.
LARGE_BUDGET = 1_000_000
# Limits from which on a table is large, and values that small tables exceed.
LARGE_TABLES = (
    (partial_overwrite, "MAX_SINGLE_FILE_ROWS", 12),
    (rebuild, "SPLIT_MIN_TRADES", 0),
    (trade_aggregation, "MAX_BROADCAST_IDENTITIES", 1),
    (table_maintenance, "MAX_MANIFESTS", 2),
)


class HistorySite:
    """The tables of a history."""

    def __init__(self, spark: SparkSession, home: Path, history: History, totals: Totals) -> None:
        self._harness = Harness(spark, home, history.environment)
        self._history = history
        self._totals = totals
        self._now = history.begin
        self._runs = 0
        self.source = SourceTable(self._harness, history.row_group)
        names = self._harness.settings.timeframes
        self.tables = {name: CandleTable(self._harness, name, self.source.model, totals) for name in names}
        self._records = Records(self._harness, self.source, self.tables, totals)
        self._may_defer = int(history.environment["OHLCV_REPAIR_TRADES"]) < LARGE_BUDGET

    def run(self) -> None:
        """Make all steps. Raise HistoryError at the first difference."""
        with ExitStack() as stack:
            # What a history that failed has left.
            self._harness.spark.catalog.clearCache()
            for module, limit, value in LARGE_TABLES if self._history.is_large else ():
                stack.enter_context(patch.object(module, limit, value))
            self._run_steps()

    def _run_steps(self) -> None:
        for number, step in enumerate(self._history.steps):
            try:
                self._step(step)
            except HistoryError as failure:
                raise HistoryError(f"step {number}, {describe(step)}: {failure}", failure.exchanges, number) from None
            except Exception as error:
                text = f"step {number}, {describe(step)}: {type(error).__name__}: {error}"
                raise HistoryError(text, step=number) from error
            self._totals.steps[type(step).__name__] += 1

    def _step(self, step: Step) -> None:
        functions: dict[type, Callable[[Any], object]] = {
            Deliver: self.source.deliver,
            Delete: self.source.delete,
            Rewrite: self.source.rewrite,
            CompactSource: self.source.compact_source,
            DropHours: self.source.drop_hours,
            ExpireSource: self.source.expire_source,
            Advance: self._advance,
            Scheduled: self._scheduled,
            Build: self._build,
            Reprocess: self._reprocess,
            Maintain: self._maintain,
            Rollback: self._roll_back,
            Change: self._change,
            Record: lambda step: self._records.record(step.timeframe, self._now),
        }
        functions[type(step)](step)
        for table in self.tables.values():
            table.assert_unchanged()
            table.remember_state()
        self._records.observe()

    def _advance(self, step: Advance) -> None:
        self._now = step.now

    # Runs.

    @contextmanager
    def _run(self, crash: Crash | None) -> Iterator[list[str]]:
        self._runs += 1
        self._totals.runs += 1
        with crashing(crash) as crashed:
            yield crashed
        if crashed:
            self._totals.crashes += 1
            # The data frames that the run had cached would end with its process. They belong to all sessions of this
            # one: Spark would read them again when another session changes a table of the same name.
            self._harness.spark.catalog.clearCache()

    def _scheduled(self, step: Scheduled) -> None:
        table = self.tables[step.timeframe]
        model = table.model
        own = model.own_range(self._now)
        begin = datetime.now(UTC)
        report: dict[str, Any] = {}
        with self._run(step.crash) as crashed:
            report = self._harness.build(
                step.timeframe,
                *_times(own),
                rebuild_pending=True,
                dag_id=f"ohlcv_{step.timeframe}",
                run_id=f"scheduled__{self._runs}",
            )
        if crashed and step.crash and step.crash.point not in EFFECTIVE:
            return
        if self.source.model.snapshot is None:
            table.compare(Expectation(dict(model.state.candles)), "scheduled", begin)
            return
        stored = self._harness.checkpoint(step.timeframe).pending_hours
        assert crashed or parse_hours(report["owed_hours"]) == stored
        expected, pending = model.scheduled(self._now, stored, may_defer=self._may_defer)
        assert pending <= stored, f"{step.timeframe}: the checkpoint lacks pending hours: {sorted(pending - stored)}"
        model.advance(pending)
        table.compare(expected, "scheduled", begin)

    def _build(self, step: Build) -> None:
        table = self.tables[step.timeframe]
        span = microseconds(step.start), microseconds(step.end)
        begin = datetime.now(UTC)
        prefix, trigger = {
            "cleared": ("scheduled__", "scheduled"),
            "backfill": ("backfill__", "backfill"),
            "manual": ("manual__", "manual"),
        }[step.by]
        report: dict[str, Any] = {}
        with self._run(step.crash) as crashed:
            report = self._harness.build(
                step.timeframe,
                step.start,
                step.end,
                prune=step.prune,
                dag_id=f"ohlcv_{step.timeframe}",
                run_id=f"{prefix}{self._runs}",
            )
        if crashed and step.crash and step.crash.point not in EFFECTIVE:
            return
        if not crashed:
            self._check_counts(report, span)
        table.compare(Expectation(table.model.built([span], prune=step.prune)), trigger, begin)

    def _check_counts(self, report: dict[str, Any], span: Span) -> None:
        """Check how many trades a run has read and rejected."""
        read = self.source.model.trades_in(hours_of([span]))
        reasons = [reason for trade in read if (reason := rejection_reason(trade)) is not None]
        expected = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
        if no_hour := self.source.rows_without_hour():
            expected = dict(sorted({**expected, "no_hour": no_hour}.items()))
        assert (report["trades_read"], report["rejected"]) == (len(read), expected)
        self._totals.rejected += sum(expected.values())

    def _reprocess(self, step: Reprocess) -> None:
        spans = {name: self._day(step.day, name) for name in self.tables if name in step.timeframes}
        ranges = {self._harness.settings.timeframe(name): Range(*_times(span)) for name, span in spans.items() if span}
        if not ranges:
            return
        begin = datetime.now(UTC)
        before = {timeframe.name: self.tables[timeframe.name].snapshot for timeframe in ranges}
        with self._run(step.crash) as crashed:
            request = DayRequest(
                step.day, ranges, prune=step.prune, dag_id="ohlcv_reprocess", run_id=f"manual__{self._runs}"
            )
            reprocess(self._harness.spark, self._harness.settings, request)
        for timeframe, span in ranges.items():
            table = self.tables[timeframe.name]
            # A run that crashed has rebuilt some tables completely and the others not at all.
            if crashed and table.snapshot == before[timeframe.name]:
                table.compare(Expectation(dict(table.model.state.candles)), "", None)
                continue
            built = table.model.built([(microseconds(span.start), microseconds(span.end))], prune=step.prune)
            table.compare(Expectation(built), "reprocess", begin)

    def _day(self, day: date, name: str) -> Span | None:
        """Return the windows of a day that are complete."""
        width = self.tables[name].model.timeframe.microseconds
        start = microseconds(datetime(day.year, day.month, day.day, tzinfo=UTC))
        end = min(start + 24 * 3_600_000_000, microseconds(self._now) // width * width)
        return (start, end) if start < end else None

    # Operations.

    def _maintain(self, step: Maintain) -> None:
        table = self.tables[step.timeframe]
        timeframe = table.model.timeframe
        # Maintenance compares ages with the real clock, except those of candles.
        later = datetime.now(UTC).date() + timedelta(days=2)
        if step.step == "compact":
            run_maintenance(self._harness, step.timeframe, "compact", as_of=self._now.date() + timedelta(days=40))
            table.compare(Expectation(dict(table.model.state.candles)), "maintenance", None)
        elif step.step == "expire":
            since = keep_since(self._harness.settings, timeframe)
            with (
                patch.object(table_maintenance, "MIN_SNAPSHOTS_TO_KEEP", 1),
                patch.object(table_maintenance, "SNAPSHOT_AGE", timedelta(0)),
            ):
                run_maintenance(self._harness, step.timeframe, "expire", as_of=later, keep_since=since)
            table.compare(Expectation(dict(table.model.state.candles)), "", None)
        else:
            self._delete_expired(table)

    def _delete_expired(self, table: CandleTable) -> None:
        model, today = table.model, self._now.date()
        cutoff = model.cutoff(today)
        retained = {key: value for key, value in model.state.candles.items() if _day_of(key[2]) >= cutoff}
        try:
            plan = plan_retention(self._harness.settings, model.timeframe, today, today, max_share=1.0)
        except InputError as error:
            if retained or not model.state.candles:
                raise HistoryError(str(error)) from error
            return
        days = tuple(partition.day for partition in plan.expired)
        run_maintenance(self._harness, table.name, "delete", as_of=today, days=days)
        table.compare(Expectation(retained), "retention", None)

    def _roll_back(self, step: Rollback) -> None:
        self.tables[step.timeframe].roll_back(step.snapshots)

    def _change(self, step: Change) -> None:
        table = self.tables[step.timeframe]
        model = table.model
        contract = self._harness.settings.candles_contract(model.timeframe)
        if step.kind == "widen" and not model.is_wide:
            assert widen_volume(self._harness.settings, contract)
            model.is_wide = True
        elif step.kind == "extend" and not model.is_extended:
            self._harness.extend(step.timeframe)
            model.is_extended = True
        model.columns_changed = True
        table.compare(Expectation(dict(model.state.candles)), "", None)


def _times(span: Span) -> tuple[datetime, datetime]:
    first, last = (EPOCH + timedelta(microseconds=each) for each in span)
    return first, last


def _day_of(time: int) -> date:
    return (EPOCH + timedelta(microseconds=time)).date()
