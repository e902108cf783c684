"""Reprocessing of one UTC day in all timeframes: one read of the trades, one commit per table that changed."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date
from decimal import Decimal
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from ohlcv.config.settings import Settings
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.build_planner import plan_build
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import Range, day_range, iso, merge_ranges, parse_day, parse_time, requested_range
from ohlcv.model.table_contracts import VALUES
from ohlcv.model.timeframes import Timeframe
from spark_jobs.iceberg.trades_history import TableHistory
from spark_jobs.jobs.publication import publish, start_audit
from spark_jobs.jobs.rebuild import Request, Target, read_source, rebuild
from spark_jobs.runtime.execution import Execution, run_on_engine
from spark_jobs.runtime.job_runner import Job, PhaseTimer, retry_after_conflicts, run_job

# A dry run lists at most this many differences per timeframe; their total number is always reported.
MAX_LISTED = 20


@dataclass(frozen=True)
class DayRequest:
    """Arguments of a reprocessing job."""

    day: date
    # The complete windows of the day, by timeframe.
    ranges: dict[Timeframe, Range]
    notes: tuple[str, ...] = ()
    prune: bool = False
    dry_run: bool = False
    new_source: bool = False
    dag_id: str = ""
    run_id: str = ""


def reprocess(spark: SparkSession, settings: Settings, request: DayRequest) -> dict[str, Any]:
    """Rebuild a day and return the report, by timeframe."""

    def work(execution: Execution) -> dict[str, Any]:
        return retry_after_conflicts(lambda: _reprocess_once(spark, settings, request, execution))

    return run_on_engine(spark, settings, settings.reprocess_tuning, work)


def _reprocess_once(
    spark: SparkSession, settings: Settings, request: DayRequest, execution: Execution
) -> dict[str, Any]:
    timer = PhaseTimer()
    reports: list[dict[str, Any]] = []
    with ExitStack() as stack:
        with timer.phase("lease"):
            # All locks before the trades are read: the snapshot read below must not be older than the one another
            # writer used meanwhile. Always in the order of the registry, so that two jobs cannot deadlock.
            locks = {
                timeframe: stack.enter_context(write_lock(settings, settings.candles_contract(timeframe)))
                for timeframe in request.ranges
            }
            targets = {timeframe: Target.load(spark, settings, timeframe, lock) for timeframe, lock in locks.items()}
        with timer.phase("read"):
            measures = any(target.is_extended for target in targets.values())
            history = TableHistory(spark, settings, with_side=measures)
            ranges = merge_ranges(request.ranges.values())
            audited = () if request.dry_run else request.ranges
            audit = stack.enter_context(start_audit(settings, audited, ranges, history, measures=measures))
            # All timeframes are merged from these totals: some thousand rows instead of millions of trades.
            source = stack.enter_context(
                read_source(spark, history, request.ranges, ranges, execution, measures=measures)
            )
        for timeframe, own_range in request.ranges.items():
            with timer.phase(timeframe.name):
                target = targets[timeframe]
                plan = plan_build(
                    timeframe,
                    own_range,
                    history,
                    target.checkpoint,
                    rebuild_pending=False,
                    trade_budget=1,
                    new_source=request.new_source,
                )
                build_request = Request(
                    timeframe, own_range, prune=request.prune, dag_id=request.dag_id, run_id=request.run_id
                )
                report = rebuild(source, target, plan, build_request)
                if request.dry_run:
                    result = report.to_json(None)
                    result["differences"] = largest_differences(report.comparison.rows)
                else:
                    result = publish(report, settings, audit, timer)
                report.comparison.release()
            log_result(result, dry_run=request.dry_run)
            reports.append(result)
    return {
        "day": request.day.isoformat(),
        "dry_run": request.dry_run,
        "notes": list(request.notes),
        "timeframes": reports,
        "execution": source.execution.to_json(),
        "seconds": timer.finish(),
    }


def largest_differences(rows: DataFrame) -> list[dict[str, Any]]:
    """Return the candles with the largest relative change, measured by the field that changes most."""
    # Only for sorting, so floating point is accurate enough. An inserted or deleted candle counts as 1, and so does one
    # whose values were all 0.
    change = F.greatest(
        *(
            F.try_divide(
                F.abs(F.col(name).cast("double") - F.col(f"old.{name}").cast("double")),
                F.col(f"old.{name}").cast("double"),
            )
            for name in VALUES
            if name not in ("window_end", "window_date", "trade_count")
        )
    )
    found = (
        rows.where(F.col("action").isin("inserted", "updated", "deleted"))
        .withColumn("change", F.when(F.col("action") == "updated", F.coalesce(change, F.lit(1.0))).otherwise(1.0))
        .orderBy(F.desc("change"), "window_start", "symbol", "exchange")
        .limit(MAX_LISTED)
        .collect()
    )
    return [_difference(row) for row in found]


def _difference(row: Row) -> dict[str, Any]:
    old = row.old.asDict() if row.old is not None else {}
    new = {} if row.action == "deleted" else {name: row[name] for name in VALUES}
    names = VALUES if row.action == "updated" else ("close_price", "volume", "trade_count")
    return {
        "symbol": row.symbol,
        "exchange": row.exchange,
        "window_start": iso(row.window_start.astimezone(UTC)),
        "action": row.action,
        "fields": {
            name: {"stored": _text(old.get(name)), "rebuilt": _text(new.get(name))}
            for name in names
            if old.get(name) != new.get(name)
        },
    }


def _text(value: object) -> str | None:
    if isinstance(value, Decimal):
        # Not 0E-8.
        return f"{value:f}"
    return None if value is None else str(value)


def log_result(report: dict[str, Any], *, dry_run: bool) -> None:
    """Print the result of a timeframe to the log."""
    counts = report["candles"]
    changes = ", ".join(f"{counts[action]:,} {action}" for action in counts if counts[action])
    print(f"{report['timeframe']}: {'would be ' if dry_run else ''}{changes or 'no candles'}", file=sys.stderr)
    for difference in report.get("differences", []):
        fields = ", ".join(
            f"{name} {values['stored'] or '-'} -> {values['rebuilt'] or '-'}"
            for name, values in difference["fields"].items()
        )
        candle = f"{difference['symbol']} {difference['exchange']} {difference['window_start']}"
        print(f"  {difference['action']:8} {candle}: {fields}", file=sys.stderr)
    sys.stderr.flush()


def arg_parser(settings: Settings) -> argparse.ArgumentParser:
    """Return the parser of the job arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--day", required=True, help="UTC day, as in 2026-01-31")
    parser.add_argument("--until", required=True, help="ISO time in UTC; only windows complete then are rebuilt")
    parser.add_argument("--timeframes", default=",".join(settings.timeframes), help="comma-separated, in any order")
    for name, text in (
        ("prune", "delete candles even where the source hour is empty"),
        ("dry-run", "write nothing, list the largest differences"),
        ("new-source", "accept that the trades table or its mapping changed"),
    ):
        parser.add_argument(f"--{name}", choices=("yes", "no"), default="no", help=text)
    parser.add_argument("--dag-id", default="", help="recorded in the commits")
    parser.add_argument("--run-id", default="", help="recorded in the commits")
    return parser


def read_request(settings: Settings, arguments: list[str]) -> DayRequest:
    """Return the request, checked before Spark starts."""
    values = arg_parser(settings).parse_args(arguments)
    day = parse_day(values.day)
    until, _ = parse_time(values.until)
    wanted = {settings.timeframe(name.strip()).name for name in values.timeframes.split(",")}
    ranges: dict[Timeframe, Range] = {}
    notes: list[str] = []
    for name in (name for name in settings.timeframes if name in wanted):
        timeframe = settings.timeframe(name)
        span = day_range(day)
        try:
            ranges[timeframe] = requested_range(timeframe, span.start, span.end, known_until=until)
        except InputError as error:
            notes.append(f"{name} is left out: {error}")
    if not ranges:
        raise InputError(f"nothing to rebuild: no window of {day} is complete at {iso(until)}")
    return DayRequest(
        day=day,
        ranges=ranges,
        notes=tuple(notes),
        prune=values.prune == "yes",
        dry_run=values.dry_run == "yes",
        new_source=values.new_source == "yes",
        dag_id=values.dag_id,
        run_id=values.run_id,
    )


def main() -> int:
    """Run the job and return its exit code."""

    def job(settings: Settings) -> tuple[str, Job]:
        request = read_request(settings, sys.argv[1:])
        return f"ohlcv reprocess {request.day} {request.run_id}".strip(), lambda spark: reprocess(
            spark, settings, request
        )

    return run_job(job)
