"""History of the trades table: its files, changed hours and counts, from Iceberg's metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property, reduce

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from ohlcv.config.settings import Settings
from ohlcv.model.errors import OhlcvError
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
from spark_jobs.iceberg.table_metadata import COLLECTIONS, load_table, table_name
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class


class TableHistory:
    """Metadata of the trades table; implements `ohlcv.model.build_planner.TradesHistory`."""

    def __init__(self, spark: SparkSession, settings: Settings, snapshot: int | None = None) -> None:
        """Load the metadata as of a snapshot, by default the current one."""
        self._spark = spark
        self.contract = settings.trades_contract
        self._table = load_table(spark, self.contract)
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
                f"{self.contract} has files with another partition spec ({file.location()}): "
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
            .table(table_name(self._spark, self.contract))
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
