"""Keep one candle table as long as promised, and small: delete whole partitions, compact, expire.

None of this takes the writer's lease. No step changes a row that stays, so that a candle job which read the table
before and commits after loses nothing; and Iceberg refuses a compaction whose files a candle job has replaced.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from ohlcv.config.settings import Settings
from ohlcv.model import summary_keys
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.intervals import day_range, parse_day
from ohlcv.model.table_contracts import TableContract, candles_contract
from ohlcv.model.timeframes import Timeframe
from spark_jobs.iceberg.table_metadata import (
    ancestors,
    load_table,
    read_checkpoint,
)
from spark_jobs.runtime.job_runner import Job, PhaseTimer, run_job
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class
from spark_jobs.runtime.spark_errors import first_line, is_conflict

STEPS = ("delete", "compact", "expire")
# Snapshots are for looking back and for readers under way.
SNAPSHOT_AGE = timedelta(days=7)
SNAPSHOTS_KEPT = 100
# A file nobody knows may be one that a commit under way is about to name.
ORPHAN_AGE = timedelta(days=3)
# Two files of a closed partition are one too many.
FILES_TOO_MANY = 2
# A scan opens every manifest: more than these are joined.
MANIFESTS_TOO_MANY = 16
# Another's commit may come in between: its work and ours stand beside each other, so ours is tried again.
TRIES = 4


@dataclass(frozen=True)
class Request:
    """What a maintenance job was asked to do."""

    timeframe: Timeframe
    steps: tuple[str, ...]
    as_of: date
    # The partitions to delete, by their first days: those of the plan and no other.
    days: tuple[date, ...] = ()
    dag_id: str = ""
    run_id: str = ""


@dataclass(frozen=True)
class TableMaintenance:
    """A table under maintenance."""

    spark: SparkSession
    contract: TableContract
    table: JavaObject
    request: Request

    @property
    def actions(self) -> JavaObject:
        """Give Iceberg's maintenance for Spark."""
        return java_class("org.apache.iceberg.spark.actions.SparkActions").get(self.spark._jsparkSession)

    @property
    def expressions(self) -> JavaObject:
        return java_class("org.apache.iceberg.expressions.Expressions")

    def summary(self) -> dict[str, str]:
        """Give what a commit carries: where it came from, and the progress, which it must not lose."""
        return {
            summary_keys.MAINTENANCE: ",".join(self.request.steps),
            summary_keys.DAG_ID: self.request.dag_id,
            summary_keys.RUN_ID: self.request.run_id,
            summary_keys.CHECKPOINT: read_checkpoint(self.table).to_text(),
        }


def maintain(spark: SparkSession, request: Request) -> dict[str, Any]:
    """Do the steps; give what each did."""
    phases = PhaseTimer()
    contract = candles_contract(request.timeframe)
    report: dict[str, Any] = {"timeframe": request.timeframe.name, "as_of": request.as_of.isoformat()}
    work: dict[str, Callable[[TableMaintenance], dict[str, Any]]] = {
        "delete": delete,
        "compact": compact,
        "expire": expire,
    }
    for step in request.steps:
        with phases.phase(step):
            upkeep = TableMaintenance(spark, contract, load_table(spark, contract), request)
            report[step] = _until_it_fits(upkeep, work[step])
            told = ", ".join(f"{name} {value}" for name, value in report[step].items())
            print(f"{request.timeframe}: {step}: {told}", file=sys.stderr, flush=True)
    return {**report, "seconds": phases.finish()}


def _until_it_fits(upkeep: TableMaintenance, work: Callable[[TableMaintenance], dict[str, Any]]) -> dict[str, Any]:
    for attempt in range(1, TRIES + 1):
        upkeep.table.refresh()
        try:
            return work(upkeep)
        except Py4JJavaError as error:
            if attempt == TRIES or not is_conflict(error):
                raise
            print(f"another commit came in between, once more: {first_line(error)}", file=sys.stderr, flush=True)
            time.sleep(attempt)
    raise AssertionError("the last attempt returns or raises")


def delete(upkeep: TableMaintenance) -> dict[str, Any]:
    """Drop the planned partitions in one commit of metadata alone.

    Iceberg refuses a delete by filter that would need a file rewritten, so that no younger row can be touched.
    """
    either = getattr(upkeep.expressions, "or")
    both = getattr(upkeep.expressions, "and")
    ranges = [
        both(
            upkeep.expressions.greaterThanOrEqual("window_date", first.isoformat()),
            upkeep.expressions.lessThan("window_date", end.isoformat()),
        )
        for first, end in spans(upkeep.request.timeframe, upkeep.request.days)
    ]
    condition = reduce(either, ranges, upkeep.expressions.alwaysFalse())
    files = rows = 0
    tasks = upkeep.table.newScan().filter(condition).planFiles()
    for task in tasks.iterator():
        files += 1
        rows += int(task.file().recordCount())
    tasks.close()
    if files:
        operation = upkeep.table.newDelete().deleteFromRowFilter(condition)
        for name, value in upkeep.summary().items():
            operation.set(name, value)
        operation.commit()
    return {"partitions": len(upkeep.request.days) if files else 0, "files": files, "rows": rows}


def spans(timeframe: Timeframe, days: Iterable[date]) -> list[tuple[date, date]]:
    """Join partitions that follow each other into spans, the end not included: no other partition is in between."""
    found: list[tuple[date, date]] = []
    for day in sorted(days):
        end = timeframe.next_partition(day)
        if found and found[-1][1] == day:
            found[-1] = (found[-1][0], end)
        else:
            found.append((day, end))
    return found


def compact(upkeep: TableMaintenance) -> dict[str, Any]:
    """Join the files of closed partitions that have several, sorted as readers ask; then the manifests."""
    timeframe = upkeep.request.timeframe
    order = java_class("org.apache.iceberg.SortOrder").builderFor(upkeep.table.schema())
    for name in ("symbol", "exchange", "window_start"):
        order = order.asc(name)
    closed = upkeep.expressions.lessThan("window_date", timeframe.partition_of(upkeep.request.as_of).isoformat())
    rewrite = upkeep.actions.rewriteDataFiles(upkeep.table).sort(order.build()).filter(closed)
    for name, value in {
        "min-input-files": str(FILES_TOO_MANY),
        # What is done stays done when the job is ended in the middle.
        "partial-progress.enabled": "true",
        "partial-progress.max-commits": "10",
        "max-concurrent-file-group-rewrites": "1",
    }.items():
        rewrite = rewrite.option(name, value)
    for name, value in upkeep.summary().items():
        rewrite = rewrite.snapshotProperty(name, value)
    result = rewrite.execute()
    if int(result.failedDataFilesCount()):
        raise OhlcvError(
            f"{upkeep.contract.name}: {result.failedDataFilesCount()} files could not be compacted: "
            "another writer was there; run again"
        )
    upkeep.table.refresh()
    snapshot = upkeep.table.currentSnapshot()
    before = len(snapshot.allManifests(upkeep.table.io())) if snapshot is not None else 0
    if before > MANIFESTS_TOO_MANY:
        joined = upkeep.actions.rewriteManifests(upkeep.table)
        for name, value in upkeep.summary().items():
            joined = joined.snapshotProperty(name, value)
        joined.execute()
        upkeep.table.refresh()
        after = len(upkeep.table.currentSnapshot().allManifests(upkeep.table.io()))
    else:
        after = before
    return {
        "files_before": int(result.rewrittenDataFilesCount()),
        "files_after": int(result.addedDataFilesCount()),
        "manifests_before": before,
        "manifests_after": after,
    }


def expire(upkeep: TableMaintenance) -> dict[str, Any]:
    """Let go of old snapshots and of files nobody names; keep the progress, whatever carries it."""
    bounds = upkeep.contract.properties
    missing = {name: bounds[name] for name in bounds if name.startswith("write.metadata.")}
    _set_properties(upkeep.table, {k: v for k, v in missing.items() if upkeep.table.properties().get(k) is None})
    if upkeep.table.properties().get("gc.enabled") == "false":
        return {"note": "the catalog keeps what is old itself (gc.enabled=false): nothing is expired here"}
    # Reckoned from the asked-for day, but never from a time that is not over yet.
    now = datetime.now(UTC)
    as_of = min(day_range(upkeep.request.as_of).end, now)
    older = as_of - SNAPSHOT_AGE
    snapshots = len(list(upkeep.table.snapshots()))
    _anchor_progress(upkeep.table, older)
    expired = (
        upkeep.actions.expireSnapshots(upkeep.table)
        .expireOlderThan(_milliseconds(older))
        .retainLast(SNAPSHOTS_KEPT)
        .execute()
    )
    orphans = upkeep.actions.deleteOrphanFiles(upkeep.table).olderThan(_milliseconds(min(as_of, now) - ORPHAN_AGE))
    if str(upkeep.table.location()).startswith("s3:"):
        # Hadoop's way of listing files knows no s3; Iceberg's own asks the store by prefix.
        orphans = orphans.usePrefixListing(True)
    removed = orphans.execute()
    upkeep.table.refresh()
    return {
        "snapshots_before": snapshots,
        "snapshots_after": len(list(upkeep.table.snapshots())),
        "data_files_deleted": int(expired.deletedDataFilesCount()),
        "manifests_deleted": int(expired.deletedManifestsCount()),
        "orphans_deleted": len(list(removed.orphanFileLocations())),
    }


def _anchor_progress(table: JavaObject, older: datetime) -> None:
    """Write the progress into the table where the snapshot that carries it is about to go.

    Other hands' commits may hide it behind more than are kept. The property counts once no snapshot speaks any more.
    """
    for position, snapshot in enumerate(ancestors(table)):
        if snapshot.summary().get(summary_keys.CHECKPOINT) is not None:
            if position < SNAPSHOTS_KEPT or snapshot.timestampMillis() >= _milliseconds(older):
                return
            break
    else:
        return
    _set_properties(
        table,
        {
            summary_keys.CHECKPOINT_PROPERTY: read_checkpoint(table).to_text(),
            summary_keys.CHECKPOINT_BASE_PROPERTY: "0",
        },
    )


def _set_properties(table: JavaObject, properties: dict[str, str]) -> None:
    if properties:
        update = table.updateProperties()
        for name, value in properties.items():
            update.set(name, value)
        update.commit()


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def arg_parser() -> argparse.ArgumentParser:
    """Give the command line of the job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeframe", required=True)
    parser.add_argument("--steps", required=True, help=f"comma-separated, of {', '.join(STEPS)}")
    parser.add_argument("--as-of", required=True, help="UTC day from which ages are reckoned, as in 2026-01-31")
    parser.add_argument("--days", default="", help="first days of the partitions to delete, comma-separated")
    parser.add_argument("--dag-id", default="", help="recorded in the commits")
    parser.add_argument("--run-id", default="", help="recorded in the commits")
    return parser


def read_request(settings: Settings, arguments: list[str]) -> Request:
    """Check the arguments before anything starts."""
    values = arg_parser().parse_args(arguments)
    timeframe = settings.timeframe(values.timeframe)
    steps = tuple(values.steps.split(","))
    if unknown := set(steps) - set(STEPS):
        raise InputError(f"unknown step '{sorted(unknown)[0]}': choose of {', '.join(STEPS)}")
    as_of = parse_day(values.as_of)
    days = tuple(parse_day(text) for text in values.days.split(",") if text)
    cutoff = timeframe.cutoff(as_of)
    for day in days:
        if day != timeframe.partition_of(day) or day >= cutoff:
            raise InputError(f"{day} is no partition of {timeframe} older than {cutoff}: nothing is deleted")
    return Request(timeframe, steps, as_of, days, values.dag_id, values.run_id)


def main() -> int:
    """Run the job."""

    def job(settings: Settings) -> tuple[str, Job]:
        request = read_request(settings, sys.argv[1:])
        name = f"ohlcv maintenance {request.timeframe} {','.join(request.steps)} {request.run_id}".strip()
        return name, lambda spark: maintain(spark, request)

    return run_job(job)
