"""Iceberg table metadata: snapshots, changed hours, source checkpoint.

It is read through the JVM of the session, where Iceberg is loaded anyway and reads manifests faster than in Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, reduce

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from ohlcv.config.catalog_properties import CATALOG_NAME
from ohlcv.config.locations import find_location_problem
from ohlcv.iceberg.avro_files import is_complete_avro
from ohlcv.model import summary_keys
from ohlcv.model.build_planner import SourceCheckpoint
from ohlcv.model.errors import DamagedFileError, OhlcvError
from ohlcv.model.intervals import EPOCH
from ohlcv.model.source_hours import (
    FIRST_DAY,
    HOURS_PER_DAY,
    LAST_DAY,
    PartitionBlock,
    blocks_of_consecutive_hours,
    partition_blocks,
    partition_hour,
)
from ohlcv.model.table_contracts import (
    NAMESPACE,
    TRADES,
    TableContract,
    TableShape,
    contract_differences,
    missing_snapshot_problem,
)
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class

# The collections library that is packaged with Iceberg.
COLLECTIONS = "org.apache.iceberg.relocated.com.google.common.collect"


def table_name(contract: TableContract) -> str:
    """Return a table's full name in Spark."""
    return f"{CATALOG_NAME}.{NAMESPACE}.{contract.name}"


def load_table(spark: SparkSession, contract: TableContract) -> JavaObject:
    """Return a table, loaded by Iceberg's Java library and checked against its contract."""
    try:
        loader = java_class("org.apache.iceberg.spark.Spark3Util")
        table = loader.loadIcebergTable(spark._jsparkSession, table_name(contract))
    except AnalysisException as error:
        if error.getCondition() not in ("TABLE_OR_VIEW_NOT_FOUND", "SCHEMA_NOT_FOUND"):
            raise
        raise OhlcvError(f"there is no table {NAMESPACE}.{contract.name}: run 'ohlcv tables create'") from None
    table.refresh()
    if differences := contract_differences(_shape_of(table), contract):
        raise OhlcvError(f"{NAMESPACE}.{contract.name} does not match its contract: {'; '.join(differences)}")
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


def _shape_of(table: JavaObject) -> TableShape:
    schema = table.schema()
    return TableShape(
        columns=tuple((column.name(), str(column.type().toString())) for column in schema.columns()),
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


def find_snapshot(table: JavaObject, key: str, value: str, newest: int = 20) -> int | None:
    """Return the id of the snapshot, among the newest ones, with this value in its summary."""
    for _, snapshot in zip(range(newest), ancestors(table), strict=False):
        if snapshot.summary().get(key) == value:
            return int(snapshot.snapshotId())
    return None


def read_checkpoint(table: JavaObject) -> SourceCheckpoint:
    """Return the source checkpoint recorded in a candle table."""
    base, checkpoint = _committed_checkpoint(table)
    properties = table.properties()
    if properties.get(summary_keys.CHECKPOINT_BASE_PROPERTY) == str(base):
        return SourceCheckpoint.from_text(properties.get(summary_keys.CHECKPOINT_PROPERTY))
    return checkpoint


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


def load_table_to_write(spark: SparkSession, contract: TableContract) -> JavaObject:
    """Return a table. Raise OhlcvError also if it is stored outside the warehouse: it may belong to another home."""
    table = load_table(spark, contract)
    prefix = f"spark.sql.catalog.{CATALOG_NAME}"
    if spark.conf.get(f"{prefix}.type") == "rest":
        if table.currentSnapshot() is None:
            raise OhlcvError(missing_snapshot_problem(contract))
        return table  # the service decides where its tables are stored
    warehouse = str(spark.conf.get(f"{prefix}.warehouse"))
    if problem := find_location_problem(f"{NAMESPACE}.{contract.name}", str(table.location()), warehouse):
        raise OhlcvError(problem)
    return table


class TableHistory:
    """Metadata of the trades table; implements `ohlcv.model.build_planner.TradesHistory`."""

    def __init__(self, spark: SparkSession, snapshot: int | None = None) -> None:
        """Load the metadata as of a snapshot, by default the current one."""
        self._spark = spark
        self._table = load_table(spark, TRADES)
        self._current = self._table.currentSnapshot() if snapshot is None else self._table.snapshot(snapshot)

    @property
    def snapshot(self) -> int | None:
        return None if self._current is None else int(self._current.snapshotId())

    @property
    def committed_at(self) -> int | None:
        return None if self._current is None else int(self._current.timestampMillis())

    @property
    def metadata(self) -> str:
        """Return the table's metadata file as of this run."""
        return str(self._table.operations().current().metadataFileLocation())

    def changed_hours(self, since: int) -> set[int] | None:
        """Return the hours whose files differ between a snapshot and the current one, None if it has expired.

        Appended, deleted and rewritten files all count. Manifests that both snapshots share are not read, and the
        snapshots between them may have expired.
        """
        old = self._table.snapshot(since)
        if old is None:
            return None
        now = self._current
        files = self._changed_files(
            old.dataManifests(self._table.io()),
            now.dataManifests(self._table.io()),
            java_class("org.apache.iceberg.util.DataFileSet"),
            java_class("org.apache.iceberg.ManifestFiles").read,
        ) + self._changed_files(
            old.deleteManifests(self._table.io()),
            now.deleteManifests(self._table.io()),
            java_class("org.apache.iceberg.util.DeleteFileSet"),
            java_class("org.apache.iceberg.ManifestFiles").readDeleteManifest,
        )
        return {hour for file in files if (hour := self._hour_of(file)) is not None}

    def _changed_files(
        self, old: JavaObject, now: JavaObject, file_set: JavaObject, read: JavaObject
    ) -> list[JavaObject]:
        old_manifests = {manifest.path(): manifest for manifest in old}
        now_manifests = {manifest.path(): manifest for manifest in now}
        iterables, sets = (java_class(f"{COLLECTIONS}.{name}") for name in ("Iterables", "Sets"))

        def files_of(paths: Iterable[str], manifests: Mapping[str, JavaObject]) -> JavaObject:
            found = file_set.create()
            for path in paths:
                reader = read(manifests[path], self._table.io(), self._table.specs())
                # Sets are filled and compared in the JVM, because merged manifests list many unchanged files.
                iterables.addAll(found, reader)
                reader.close()
            return found

        before = files_of(old_manifests.keys() - now_manifests.keys(), old_manifests)
        after = files_of(now_manifests.keys() - old_manifests.keys(), now_manifests)
        return [*sets.difference(before, after), *sets.difference(after, before)]

    def _hour_of(self, file: JavaObject) -> int | None:
        if file.specId() != self._table.spec().specId():
            raise OhlcvError(
                f"{NAMESPACE}.{TRADES.name} has files with another partition spec ({file.location()}): "
                "rewrite them with Iceberg's rewrite_data_files"
            )
        day, hour = (file.partition().get(position, self._integer) for position in (0, 1))
        return partition_hour(day, hour)

    @cached_property
    def _integer(self) -> JavaObject:
        return java_class("java.lang.Class").forName("java.lang.Integer")

    @cached_property
    def _expressions(self) -> JavaObject:
        return java_class("org.apache.iceberg.expressions.Expressions")

    def ingested_hours(self, since_microseconds: int) -> set[int]:
        """Return the hours of trades ingested since a time; file statistics exclude older files."""
        rows = (
            self._spark.read.option("versionAsOf", str(self.snapshot))
            .table(table_name(TRADES))
            .where(F.col("ingestion_timestamp") >= since_microseconds)
            .select(F.unix_date("exchange_date").alias("day"), F.col("exchange_hour").alias("hour"))
            .distinct()
            .collect()
        )
        return {hour for row in rows if (hour := partition_hour(row.day, row.hour)) is not None}

    def trades_in(self, hours: Iterable[int]) -> dict[int, int]:
        """Return the number of trades by hour, read from the manifests."""
        return self._count(self._hours_expression(hours))

    @cached_property
    def trades_of_no_hour(self) -> int:
        """Return the number of trades of the table whose partition is no hour, read from the manifests."""
        expressions = self._expressions
        conditions = [
            condition
            for column, first, last in (("exchange_date", FIRST_DAY, LAST_DAY), ("exchange_hour", 0, HOURS_PER_DAY - 1))
            for condition in (
                expressions.isNull(column),
                expressions.lessThan(column, first),
                expressions.greaterThan(column, last),
            )
        ]
        tasks = self._scan(reduce(getattr(expressions, "or"), conditions)).planFiles()
        count = sum(int(task.file().recordCount()) for task in tasks.iterator())
        tasks.close()
        return count

    def all_have_ids(self, hours: Iterable[int]) -> bool:
        """Return whether the manifests prove that every trade of those hours has a trade id."""
        expressions = self._expressions
        condition = getattr(expressions, "and")(self._hours_expression(hours), expressions.isNull("trade_id"))
        tasks = self._scan(condition).planFiles()
        may_have_null = bool(tasks.iterator().hasNext())
        tasks.close()
        return not may_have_null

    def hours_from(self, hour: int) -> set[int]:
        """Return the hours at or after this one that contain trades."""
        # An upper bound: no trade has a timestamp a century ahead.
        century = HOURS_PER_DAY * 36_525
        return set(self._count(self._blocks_expression(blocks_of_consecutive_hours(hour, hour + century))))

    def _hours_expression(self, hours: Iterable[int]) -> JavaObject:
        return self._blocks_expression(partition_blocks(hours))

    def _blocks_expression(self, blocks: Iterable[PartitionBlock]) -> JavaObject:
        expressions = self._expressions
        both, either = getattr(expressions, "and"), getattr(expressions, "or")

        def between(column: str, first: int, last: int) -> JavaObject:
            return both(expressions.greaterThanOrEqual(column, first), expressions.lessThanOrEqual(column, last))

        condition = expressions.alwaysFalse()
        for block in blocks:
            first_day, last_day = ((day - EPOCH.date()).days for day in (block.first_day, block.last_day))
            days = between("exchange_date", first_day, last_day)
            condition = either(condition, both(days, between("exchange_hour", block.first_hour, block.last_hour)))
        return condition

    def _scan(self, condition: JavaObject) -> JavaObject:
        scan = self._table.newScan().filter(condition)
        return scan if self._current is None else scan.useSnapshot(self._current.snapshotId())

    def _count(self, condition: JavaObject) -> dict[int, int]:
        counts: dict[int, int] = {}
        tasks = self._scan(condition).planFiles()
        for task in tasks.iterator():
            hour = self._hour_of(task.file())
            assert hour is not None, "the condition selects hours"
            counts[hour] = counts.get(hour, 0) + int(task.file().recordCount())
        tasks.close()
        return counts
