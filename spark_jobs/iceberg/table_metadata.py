"""Iceberg table metadata: contract, snapshots, source checkpoint.

It is read through the JVM of the session, where Iceberg is loaded anyway and reads manifests faster than in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from pyspark.errors import AnalysisException, IllegalArgumentException
from pyspark.sql import SparkSession

from ohlcv.config.locations import find_location_problem
from ohlcv.config.settings import Settings
from ohlcv.iceberg.avro_files import is_complete_avro
from ohlcv.model import summary_keys
from ohlcv.model.audit_records import DECISIONS_PROPERTY, REJECTION_PROPERTY, Decisions, Rejection
from ohlcv.model.commit_times import future_problem, now_milliseconds, unordered_problem
from ohlcv.model.errors import DamagedFileError, OhlcvError
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.model.table_contracts import (
    TableContract,
    TableShape,
    contract_problem,
    missing_snapshot_problem,
    missing_table_problem,
)
from ohlcv.model.table_names import spark_name
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class
from spark_jobs.runtime.session import catalog_name
from spark_jobs.runtime.spark_errors import is_denial

T = TypeVar("T")
# The collections library that is packaged with Iceberg.
COLLECTIONS = "org.apache.iceberg.relocated.com.google.common.collect"


def table_name(spark: SparkSession, contract: TableContract) -> str:
    """Return a table's full name in Spark, quoted."""
    return spark_name(catalog_name(spark), contract.identifier)


def load_table(spark: SparkSession, contract: TableContract) -> JavaObject:
    """Return a table, loaded by Iceberg's Java library and checked against its contract."""
    try:
        loader = java_class("org.apache.iceberg.spark.Spark3Util")
        # If the catalog cannot be opened, Spark would search the table in spark_catalog and report that error only.
        loader.loadIcebergCatalog(spark._jsparkSession, catalog_name(spark))
        table = loader.loadIcebergTable(spark._jsparkSession, table_name(spark, contract))
        table.refresh()
    except AnalysisException as error:
        if error.getCondition() not in ("TABLE_OR_VIEW_NOT_FOUND", "SCHEMA_NOT_FOUND"):
            raise
        raise OhlcvError(missing_table_problem(contract)) from None
    except IllegalArgumentException as error:
        # Iceberg says only that the entries of a log are not sorted, or that an update precedes the last entry.
        if not any(text in str(error) for text in ("Expected sorted", "Invalid update timestamp")):
            raise
        raise OhlcvError(unordered_problem(str(contract))) from None
    if problem := contract_problem(_shape_of(table), contract):
        raise OhlcvError(problem)
    _check_manifest_list(table)
    return table


def _check_manifest_list(table: JavaObject) -> None:
    """Raise DamagedFileError if the manifest list is truncated: a job would take the missing files for deleted."""
    snapshot = table.currentSnapshot()
    if snapshot is None:
        return
    location = str(snapshot.manifestListLocation())
    stream = table.io().newInputFile(location).newStream()
    content = bytes(stream.readAllBytes())
    stream.close()
    if not is_complete_avro(content):
        raise DamagedFileError(location, "is truncated or damaged" if content else "is empty")


def column_types(table: JavaObject) -> dict[str, str]:
    """Return the types of a table's columns in the notation of Iceberg."""
    return {column.name(): str(column.type().toString()) for column in table.schema().columns()}


def _shape_of(table: JavaObject) -> TableShape:
    schema = table.schema()
    return TableShape(
        columns=tuple(column_types(table).items()),
        partitions=tuple(
            f"{partition.transform().toString()}({schema.findColumnName(partition.sourceId())})"
            for partition in table.spec().fields()
        ),
        # The Table interface has no method for the version; the metadata object has.
        format_version=table.operations().current().formatVersion(),
    )


def ancestors(table: JavaObject) -> Iterator[JavaObject]:
    """Yield a table's snapshots from the current one back to the oldest that has not expired."""
    snapshot = table.currentSnapshot()
    while snapshot is not None:
        yield snapshot
        parent = snapshot.parentId()
        snapshot = table.snapshot(parent) if parent is not None else None


def is_published(table: JavaObject, snapshot: int) -> bool:
    """Return whether a snapshot is main's current one or one of its ancestors."""
    snapshots = java_class("org.apache.iceberg.util.SnapshotUtil")
    return table.currentSnapshot() is not None and bool(snapshots.isAncestorOf(table, snapshot))


def find_after_error(table: JavaObject, error: Exception, find: Callable[[], T], unknown: str) -> T:
    """Return what `find` returns after the error of a commit, whose reply may have been lost.

    Raise OhlcvError with the message `unknown` if the catalog does not answer, or the error if it denied the commit.
    """
    try:
        table.refresh()
        return find()
    except Exception:
        if is_denial(error):
            raise error from None
        raise OhlcvError(unknown) from error


def find_snapshot(table: JavaObject, key: str, value: str, newest: int = 20) -> JavaObject | None:
    """Return the snapshot, among the newest ones, with this value in its summary."""
    for _, snapshot in zip(range(newest), ancestors(table), strict=False):
        if snapshot.summary().get(key) == value:
            return snapshot
    return None


def read_checkpoint(table: JavaObject) -> SourceCheckpoint:
    """Return the source checkpoint recorded in a candle table."""
    base, checkpoint = _committed_checkpoint(table)
    properties = table.properties()
    if properties.get(summary_keys.CHECKPOINT_BASE_PROPERTY) == str(base):
        return SourceCheckpoint.from_text(properties.get(summary_keys.CHECKPOINT_PROPERTY))
    return checkpoint


def metadata_file(table: JavaObject) -> str:
    """Return the metadata file of the loaded state of a table."""
    return str(_metadata(table).metadataFileLocation())


def _metadata(table: JavaObject) -> JavaObject:
    # The Table interface has no method for it.
    return table.operations().current()


def read_decisions(table: JavaObject) -> Decisions:
    """Return the decisions of operators on held series."""
    return Decisions.from_text(table.properties().get(DECISIONS_PROPERTY))


def read_rejection(table: JavaObject) -> Rejection | None:
    """Return the newest rejected run of a table."""
    return Rejection.from_text(table.properties().get(REJECTION_PROPERTY))


def record_checkpoint(table: JavaObject, checkpoint: SourceCheckpoint) -> None:
    """Record the checkpoint of a run that changed no candle, in table properties instead of a snapshot."""
    base, _ = _committed_checkpoint(table)
    update = table.updateProperties()
    update.set(summary_keys.CHECKPOINT_PROPERTY, checkpoint.to_text())
    update.set(summary_keys.CHECKPOINT_BASE_PROPERTY, str(base))
    update.commit()


def _committed_checkpoint(table: JavaObject) -> tuple[int, SourceCheckpoint]:
    # Snapshots of other writers carry no checkpoint: the newest snapshot that has one counts.
    for snapshot in ancestors(table):
        text = snapshot.summary().get(summary_keys.CHECKPOINT)
        if text is not None:
            return int(snapshot.snapshotId()), SourceCheckpoint.from_text(text)
    return 0, SourceCheckpoint()


def load_table_to_write(spark: SparkSession, settings: Settings, contract: TableContract) -> JavaObject:
    """Return a table. Raise OhlcvError also if it is stored outside the warehouse: it may belong to another home."""
    table = load_table(spark, contract)
    if not settings.catalog.has_lock and table.currentSnapshot() is None:
        raise OhlcvError(missing_snapshot_problem(contract))
    if problem := future_problem(str(contract), int(_metadata(table).lastUpdatedMillis()), now_milliseconds()):
        raise OhlcvError(problem)
    if settings.catalog.decides_locations:
        return table
    if problem := find_location_problem(str(contract), str(table.location()), settings.warehouse):
        raise OhlcvError(problem)
    return table
