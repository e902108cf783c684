"""Maintenance of one table, of candles or of records: delete expired partitions, compact files, expire snapshots.

No step takes the write lock. No step changes a row that remains, so a candle job that read the table before and commits
afterwards loses nothing. Iceberg rejects a compaction whose input files a candle job has replaced.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from itertools import groupby
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from ohlcv.config.maintained_tables import RECORD_TABLES, ExpiredPartition, MaintainedTable, maintained_table
from ohlcv.config.settings import Settings
from ohlcv.model import summary_keys
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.intervals import day_range, parse_day, parse_time
from ohlcv.model.partition_units import merge_partitions, partition_of
from ohlcv.model.timeframes import DEFAULT_MAX_SHARE
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
# Snapshots that the ledger has not recorded are kept until this age. Then it records a gap.
UNRECORDED_AGE = timedelta(days=14)
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

    table: MaintainedTable
    steps: tuple[str, ...]
    as_of: date
    # The partitions to delete, exactly those of the retention plan.
    expired: tuple[ExpiredPartition, ...] = ()
    dag_id: str = ""
    run_id: str = ""
    # A larger share of the files in the table's folder is not deleted as orphan files.
    max_orphan_share: float = DEFAULT_MAX_SHARE
    # The ledger has not recorded the snapshots from this time on.
    keep_since: datetime | None = None


@dataclass(frozen=True)
class TableMaintenance:
    """A table with everything that a maintenance step needs."""

    spark: SparkSession
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
        if self.request.table.is_record or keeps_snapshots(self.table):
            # A run may record a newer checkpoint, with other held series, before this commit.
            return provenance
        return {**provenance, summary_keys.CHECKPOINT: read_checkpoint(self.table).to_text()}


def maintain(spark: SparkSession, settings: Settings, request: Request) -> dict[str, Any]:
    """Run the steps and return a report of each."""
    timer = PhaseTimer()
    contract = request.table.contract
    kind = "table" if request.table.is_record else "timeframe"
    report: dict[str, Any] = {kind: request.table.name, "as_of": request.as_of.isoformat()}
    functions: dict[str, Callable[[TableMaintenance], dict[str, Any]]] = {
        "delete": delete,
        "compact": compact,
        "expire": expire,
    }
    for step in request.steps:
        with timer.phase(step):
            maintenance = TableMaintenance(spark, load_table_to_write(spark, settings, contract), request)
            report[step] = _retry_after_conflict(maintenance, functions[step])
            result = ", ".join(f"{name} {value}" for name, value in report[step].items())
            print(f"{request.table.name}: {step}: {result}", file=sys.stderr, flush=True)
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
    condition = _condition(maintenance)
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
    return {"partitions": len(maintenance.request.expired) if files else 0, "files": files, "rows": rows}


def _condition(maintenance: TableMaintenance) -> JavaObject:
    """Return the condition for the rows of exactly the partitions to delete."""
    expressions, table = maintenance.expressions, maintenance.request.table
    or_, and_ = getattr(expressions, "or"), getattr(expressions, "and")
    conditions = []
    for name, partitions in groupby(sorted(maintenance.request.expired), key=lambda each: each.timeframe):
        for first, end in merge_partitions(table.unit, (each.day for each in partitions)):
            condition = and_(
                expressions.greaterThanOrEqual(table.time_column, _literal(table, first)),
                expressions.lessThan(table.time_column, _literal(table, end)),
            )
            if table.has_timeframes:
                condition = and_(expressions.equal("timeframe", name), condition)
            conditions.append(condition)
    return reduce(or_, conditions, expressions.alwaysFalse())


def _literal(table: MaintainedTable, day: date) -> str:
    """Return a day as Iceberg's literal for the column of the partitions: a date, or a time in a record table."""
    return f"{day}T00:00:00+00:00" if table.is_record else str(day)


def compact(maintenance: TableMaintenance) -> dict[str, Any]:
    """Merge the files of closed partitions, of records those of all, sorted for typical queries, then the manifests.

    Candle jobs rewrite the files of an open partition anyway. Recordings add some to it every hour.
    """
    target = maintenance.request.table
    order = java_class("org.apache.iceberg.SortOrder").builderFor(maintenance.table.schema())
    for name in target.sort_order:
        order = order.asc(name)
    rewrite = maintenance.actions.rewriteDataFiles(maintenance.table).sort(order.build())
    if not target.is_record:
        first_open = partition_of(target.unit, maintenance.request.as_of)
        rewrite = rewrite.filter(maintenance.expressions.lessThan(target.time_column, str(first_open)))
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
            f"{target.contract.name}: {result.failedDataFilesCount()} files could not be compacted: "
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
    table, contract = maintenance.table, maintenance.request.table.contract
    # Tables created by older versions lack the properties that limit the number of metadata files.
    defaults = {k: v for k, v in contract.properties.items() if k.startswith("write.metadata.")}
    _set_properties(table, {k: v for k, v in defaults.items() if table.properties().get(k) is None})
    if table.properties().get("gc.enabled") == "false":
        return {"note": "the catalog expires old snapshots and files itself (gc.enabled=false): nothing is done"}
    # Ages count from the end of the given day, or from now if that day is not over.
    now = datetime.now(UTC)
    as_of = min(day_range(maintenance.request.as_of).end, now)
    expire_before = as_of - SNAPSHOT_AGE
    if maintenance.request.keep_since is not None:
        expire_before = min(expire_before, max(maintenance.request.keep_since, as_of - UNRECORDED_AGE))
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
        contract,
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
    table = parser.add_mutually_exclusive_group(required=True)
    table.add_argument("--timeframe", help="timeframe of a candle table")
    table.add_argument("--table", choices=RECORD_TABLES, help="record table")
    parser.add_argument("--steps", required=True, help=f"comma-separated, of {', '.join(STEPS)}")
    parser.add_argument("--as-of", required=True, help="UTC day from which ages are computed, as in 2026-01-31")
    parser.add_argument(
        "--days",
        default="",
        help="first days of the partitions to delete, comma-separated, after the timeframe of a record: 1m:2026-01-01",
    )
    parser.add_argument(
        "--keep-since",
        default="",
        help="time from which snapshots are kept, at most 14 days: the ledger has not recorded them",
    )
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
    table = maintained_table(settings, values.table or values.timeframe)
    steps = tuple(values.steps.split(","))
    if unknown := set(steps) - set(STEPS):
        raise InputError(f"unknown step '{sorted(unknown)[0]}': choose from {', '.join(STEPS)}")
    as_of = parse_day(values.as_of)
    return Request(
        table,
        steps,
        as_of,
        table.parse_partitions(values.days, as_of),
        values.dag_id,
        values.run_id,
        values.max_orphan_share,
        parse_time(values.keep_since)[0] if values.keep_since else None,
    )


def main() -> int:
    """Run the job and return its exit code."""

    def job(settings: Settings) -> tuple[str, Job]:
        request = read_request(settings, sys.argv[1:])
        name = f"ohlcv maintenance {request.table.name} {','.join(request.steps)} {request.run_id}".strip()
        return name, lambda spark: maintain(spark, settings, request)

    return run_job(job)
