"""Maintenance of one candle table: delete expired partitions, compact files, expire snapshots.

No step takes the write lock. No step changes a row that remains, so a candle job that read the table before and commits
afterwards loses nothing. Iceberg rejects a compaction whose input files a candle job has replaced.
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
from ohlcv.model.table_contracts import TableContract
from ohlcv.model.timeframes import DEFAULT_MAX_SHARE, Timeframe
from spark_jobs.iceberg.orphan_files import delete_orphans
from spark_jobs.iceberg.staging import candidate_branches, discard, keeps_snapshots
from spark_jobs.iceberg.table_metadata import (
    COLLECTIONS,
    ancestors,
    load_table_to_write,
    read_checkpoint,
)
from spark_jobs.runtime.job_runner import Job, PhaseTimer, run_job
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class
from spark_jobs.runtime.spark_errors import first_line, is_conflict

STEPS = ("delete", "compact", "expire")
# Younger snapshots are kept for time travel and for running readers.
SNAPSHOT_AGE = timedelta(days=7)
MIN_SNAPSHOTS_TO_KEEP = 100
# A younger unreferenced file may belong to a commit that is not finished.
ORPHAN_AGE = timedelta(days=3)
# Closed partitions with at least this many files are compacted.
MIN_INPUT_FILES = 2
# A scan opens every manifest. A table with more manifests than this gets them merged.
MAX_MANIFESTS = 16
# A commit of another writer can conflict with a step. Both changes are compatible, so the step is retried.
MAX_ATTEMPTS = 4


@dataclass(frozen=True)
class Request:
    """Arguments of a maintenance job."""

    timeframe: Timeframe
    steps: tuple[str, ...]
    as_of: date
    # The first days of the partitions to delete, exactly those of the retention plan.
    days: tuple[date, ...] = ()
    dag_id: str = ""
    run_id: str = ""
    # A larger share of the files in the table's folder is not deleted as orphan files.
    max_orphan_share: float = DEFAULT_MAX_SHARE


@dataclass(frozen=True)
class TableMaintenance:
    """A table with everything that a maintenance step needs."""

    spark: SparkSession
    contract: TableContract
    table: JavaObject
    request: Request

    @property
    def actions(self) -> JavaObject:
        """Return Iceberg's maintenance actions for Spark."""
        return java_class("org.apache.iceberg.spark.actions.SparkActions").get(self.spark._jsparkSession)

    @property
    def expressions(self) -> JavaObject:
        return java_class("org.apache.iceberg.expressions.Expressions")

    def summary(self) -> dict[str, str]:
        """Return the summary of a maintenance commit: its provenance, and the source checkpoint if it would be lost."""
        provenance = {
            summary_keys.MAINTENANCE: ",".join(self.request.steps),
            summary_keys.DAG_ID: self.request.dag_id,
            summary_keys.RUN_ID: self.request.run_id,
        }
        if keeps_snapshots(self.table):
            # A run may record a newer checkpoint, with other held series, before this commit.
            return provenance
        return {**provenance, summary_keys.CHECKPOINT: read_checkpoint(self.table).to_text()}


def maintain(spark: SparkSession, settings: Settings, request: Request) -> dict[str, Any]:
    """Run the steps and return a report of each."""
    timer = PhaseTimer()
    contract = settings.candles_contract(request.timeframe)
    report: dict[str, Any] = {"timeframe": request.timeframe.name, "as_of": request.as_of.isoformat()}
    functions: dict[str, Callable[[TableMaintenance], dict[str, Any]]] = {
        "delete": delete,
        "compact": compact,
        "expire": expire,
    }
    for step in request.steps:
        with timer.phase(step):
            maintenance = TableMaintenance(spark, contract, load_table_to_write(spark, settings, contract), request)
            report[step] = _retry_after_conflict(maintenance, functions[step])
            result = ", ".join(f"{name} {value}" for name, value in report[step].items())
            print(f"{request.timeframe}: {step}: {result}", file=sys.stderr, flush=True)
    return {**report, "seconds": timer.finish()}


def _retry_after_conflict(
    maintenance: TableMaintenance, step: Callable[[TableMaintenance], dict[str, Any]]
) -> dict[str, Any]:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        maintenance.table.refresh()
        try:
            return step(maintenance)
        except Py4JJavaError as error:
            if attempt == MAX_ATTEMPTS or not is_conflict(error):
                raise
            print(f"conflict with another commit, trying again: {first_line(error)}", file=sys.stderr, flush=True)
            time.sleep(attempt)
    raise AssertionError("the last attempt returns or raises")


def delete(maintenance: TableMaintenance) -> dict[str, Any]:
    """Delete the planned partitions in one metadata-only commit.

    Iceberg rejects a filter that would require rewriting a file, so no row outside the partitions can be deleted.
    """
    expressions = maintenance.expressions
    or_, and_ = getattr(expressions, "or"), getattr(expressions, "and")
    ranges = [
        and_(
            expressions.greaterThanOrEqual("window_date", first.isoformat()),
            expressions.lessThan("window_date", end.isoformat()),
        )
        for first, end in merge_partitions(maintenance.request.timeframe, maintenance.request.days)
    ]
    condition = reduce(or_, ranges, expressions.alwaysFalse())
    files = rows = 0
    tasks = maintenance.table.newScan().filter(condition).planFiles()
    for task in tasks.iterator():
        files += 1
        rows += int(task.file().recordCount())
    tasks.close()
    if files:
        operation = maintenance.table.newDelete().deleteFromRowFilter(condition)
        for name, value in maintenance.summary().items():
            operation.set(name, value)
        operation.commit()
    return {"partitions": len(maintenance.request.days) if files else 0, "files": files, "rows": rows}


def merge_partitions(timeframe: Timeframe, days: Iterable[date]) -> list[tuple[date, date]]:
    """Return half-open date ranges that cover exactly these partitions; adjacent partitions share a range."""
    found: list[tuple[date, date]] = []
    for day in sorted(days):
        end = timeframe.next_partition(day)
        if found and found[-1][1] == day:
            found[-1] = (found[-1][0], end)
        else:
            found.append((day, end))
    return found


def compact(maintenance: TableMaintenance) -> dict[str, Any]:
    """Merge the files of closed partitions, sorted for typical queries, then the manifests."""
    timeframe = maintenance.request.timeframe
    order = java_class("org.apache.iceberg.SortOrder").builderFor(maintenance.table.schema())
    for name in ("symbol", "exchange", "window_start"):
        order = order.asc(name)
    closed = maintenance.expressions.lessThan(
        "window_date", timeframe.partition_of(maintenance.request.as_of).isoformat()
    )
    rewrite = maintenance.actions.rewriteDataFiles(maintenance.table).sort(order.build()).filter(closed)
    for name, value in {
        "min-input-files": str(MIN_INPUT_FILES),
        # Finished file groups remain committed if the job is killed.
        "partial-progress.enabled": "true",
        "partial-progress.max-commits": "10",
        "max-concurrent-file-group-rewrites": "1",
    }.items():
        rewrite = rewrite.option(name, value)
    for name, value in maintenance.summary().items():
        rewrite = rewrite.snapshotProperty(name, value)
    result = rewrite.execute()
    if int(result.failedDataFilesCount()):
        raise OhlcvError(
            f"{maintenance.contract.name}: {result.failedDataFilesCount()} files could not be compacted: "
            "another writer replaced them meanwhile; run again"
        )
    maintenance.table.refresh()
    snapshot = maintenance.table.currentSnapshot()
    before = len(snapshot.allManifests(maintenance.table.io())) if snapshot is not None else 0
    if before > MAX_MANIFESTS:
        rewrite_manifests = maintenance.actions.rewriteManifests(maintenance.table)
        for name, value in maintenance.summary().items():
            rewrite_manifests = rewrite_manifests.snapshotProperty(name, value)
        rewrite_manifests.execute()
        maintenance.table.refresh()
        after = len(maintenance.table.currentSnapshot().allManifests(maintenance.table.io()))
    else:
        after = before
    return {
        "files_before": int(result.rewrittenDataFilesCount()),
        "files_after": int(result.addedDataFilesCount()),
        "manifests_before": before,
        "manifests_after": after,
    }


def expire(maintenance: TableMaintenance) -> dict[str, Any]:
    """Expire old snapshots and delete orphan files, without losing the source checkpoint."""
    table = maintenance.table
    # Tables created by older versions lack the properties that limit the number of metadata files.
    defaults = {k: v for k, v in maintenance.contract.properties.items() if k.startswith("write.metadata.")}
    _set_properties(table, {k: v for k, v in defaults.items() if table.properties().get(k) is None})
    if table.properties().get("gc.enabled") == "false":
        return {"note": "the catalog expires old snapshots and files itself (gc.enabled=false): nothing is done"}
    # Ages count from the end of the given day, or from now if that day is not over.
    now = datetime.now(UTC)
    as_of = min(day_range(maintenance.request.as_of).end, now)
    expire_before = as_of - SNAPSHOT_AGE
    snapshots, candidates = _count_snapshots(table)
    _preserve_checkpoint(table, expire_before)
    # Iceberg keeps the snapshots of a branch. Those of old candidates were left by killed jobs.
    discard(table, candidate_branches(table, _milliseconds(expire_before)), {})
    expired = (
        maintenance.actions.expireSnapshots(table)
        .expireOlderThan(_milliseconds(expire_before))
        .retainLast(MIN_SNAPSHOTS_TO_KEEP)
        .execute()
    )
    orphans_deleted = delete_orphans(
        maintenance.spark,
        maintenance.contract,
        table,
        min(as_of, now) - ORPHAN_AGE,
        maintenance.request.max_orphan_share,
    )
    table.refresh()
    snapshots_after, candidates_after = _count_snapshots(table)
    return {
        "snapshots_before": snapshots,
        "snapshots_after": snapshots_after,
        "candidates_expired": candidates - candidates_after,
        "data_files_deleted": int(expired.deletedDataFilesCount()),
        "manifests_deleted": int(expired.deletedManifestsCount()),
        "orphans_deleted": orphans_deleted,
    }


def _count_snapshots(table: JavaObject) -> tuple[int, int]:
    """Return the number of published snapshots and that of the others: candidates, and those a rollback left."""
    published = int(java_class("org.apache.iceberg.util.SnapshotUtil").currentAncestorIds(table).size())
    return published, int(java_class(f"{COLLECTIONS}.Iterables").size(table.snapshots())) - published


def _preserve_checkpoint(table: JavaObject, expire_before: datetime) -> None:
    """Copy the source checkpoint into a table property if the snapshot that carries it is about to expire.

    This happens when other writers have made many commits since. The property is used when no snapshot has one.
    """
    for position, snapshot in enumerate(ancestors(table)):
        if snapshot.summary().get(summary_keys.CHECKPOINT) is not None:
            if position < MIN_SNAPSHOTS_TO_KEEP or snapshot.timestampMillis() >= _milliseconds(expire_before):
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
    """Return the parser of the job arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeframe", required=True)
    parser.add_argument("--steps", required=True, help=f"comma-separated, of {', '.join(STEPS)}")
    parser.add_argument("--as-of", required=True, help="UTC day from which ages are computed, as in 2026-01-31")
    parser.add_argument("--days", default="", help="first days of the partitions to delete, comma-separated")
    parser.add_argument(
        "--max-orphan-share",
        type=float,
        default=DEFAULT_MAX_SHARE,
        help="largest share of the files in the folder that may be deleted as orphan files",
    )
    parser.add_argument("--dag-id", default="", help="recorded in the commits")
    parser.add_argument("--run-id", default="", help="recorded in the commits")
    return parser


def read_request(settings: Settings, arguments: list[str]) -> Request:
    """Return the request, checked before Spark starts."""
    values = arg_parser().parse_args(arguments)
    timeframe = settings.timeframe(values.timeframe)
    steps = tuple(values.steps.split(","))
    if unknown := set(steps) - set(STEPS):
        raise InputError(f"unknown step '{sorted(unknown)[0]}': choose from {', '.join(STEPS)}")
    as_of = parse_day(values.as_of)
    days = tuple(parse_day(text) for text in values.days.split(",") if text)
    cutoff = timeframe.cutoff(as_of)
    for day in days:
        if day != timeframe.partition_of(day) or day >= cutoff:
            raise InputError(f"{day} is not a partition of {timeframe} before the cutoff {cutoff}: nothing is deleted")
    return Request(timeframe, steps, as_of, days, values.dag_id, values.run_id, values.max_orphan_share)


def main() -> int:
    """Run the job and return its exit code."""

    def job(settings: Settings) -> tuple[str, Job]:
        request = read_request(settings, sys.argv[1:])
        name = f"ohlcv maintenance {request.timeframe} {','.join(request.steps)} {request.run_id}".strip()
        return name, lambda spark: maintain(spark, settings, request)

    return run_job(job)
