"""History of the trades table: its files, changed hours and counts, from Iceberg's metadata.

A file whose partition spec keeps hours apart belongs to one hour. The hours of any other file are limited by the bounds
of its timestamps; where that is not enough, trades of such files are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from functools import cached_property, reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.config.settings import Settings
from ohlcv.model.errors import EqualityDeletesError
from ohlcv.model.intervals import EPOCH
from ohlcv.model.source_checkpoint import SourceIdentity
from ohlcv.model.source_hours import HOURS_PER_DAY, partition_hour
from ohlcv.model.table_contracts import Partition
from ohlcv.model.trade_layout import (
    Between,
    HourLayout,
    conditions_between,
    every_hour,
    hour_column,
    hour_conditions,
    hour_layout,
    hours_within,
)
from ohlcv.model.trade_mapping import EXCHANGE_DATE, EXCHANGE_HOUR, INGESTION_TIMESTAMP, MESSAGE_ID, TRADE_ID
from spark_jobs.compute.mapped_trades import any_of, is_outside
from spark_jobs.iceberg.changed_files import ChangedFiles, changed_data_files, changed_delete_files
from spark_jobs.iceberg.hour_digests import changed_tasks, differing_hours, digests
from spark_jobs.iceberg.table_metadata import column_types, load_table, metadata_file
from spark_jobs.iceberg.trades_reader import TradesTable
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class

# Hours that are known only from the bounds of files become pending up to this number: ten years.
MAX_BOUNDED_HOURS = 87_660


class TableHistory:
    """Metadata of the trades table; implements `ohlcv.model.build_planner.TradesHistory`."""

    def __init__(
        self,
        spark: SparkSession,
        settings: Settings,
        snapshot: int | None = None,
        *,
        row_budget: int = 0,
        with_side: bool = False,
    ) -> None:
        """Load the metadata as of a snapshot, by default the current one.

        `changed_hours` reads at most `row_budget` rows of files that contain several hours.
        `with_side`: a trade of which only the side differs counts as changed, too.
        """
        self._spark = spark
        contract = settings.trades_contract
        self._table = load_table(spark, contract)
        self._current = self._table.currentSnapshot() if snapshot is None else self._table.snapshot(snapshot)
        self._row_budget = row_budget
        self._with_side = with_side
        kinds = {} if contract.mapping.is_default else column_types(self._table)
        self.table = TradesTable(contract, self.snapshot, kinds, self._table)
        # What a run should report about the search for changed hours.
        self.notes: list[str] = []
        if self._current is not None and self._current.summary().get("total-equality-deletes") not in (None, "0"):
            raise EqualityDeletesError(str(self.table.contract))

    @property
    def source(self) -> SourceIdentity:
        # Old tables of format version 1 have none.
        uuid = self._table.operations().current().uuid()
        return SourceIdentity(str(uuid or ""), self.table.contract.mapping.fingerprint())

    @property
    def snapshot(self) -> int | None:
        return None if self._current is None else int(self._current.snapshotId())

    @property
    def committed_at(self) -> int | None:
        return None if self._current is None else int(self._current.timestampMillis())

    @property
    def metadata(self) -> str:
        """Return the table's metadata file as of this run."""
        return metadata_file(self._table)

    def changed_hours(self, since: int) -> set[int] | None:
        """Return the hours whose files differ between a snapshot and the current one, None if it has expired.

        Appended, deleted and rewritten files all count; of files that contain several hours, only the hours whose
        trades differ. Manifests that both snapshots share are not read, and the snapshots between them may have
        expired.
        """
        old = self._table.snapshot(since)
        if old is None:
            return None
        data = changed_data_files(self._table, old, self._current)
        deletes = changed_delete_files(self._table, old, self._current)
        if any(file.content().toString() == "EQUALITY_DELETES" for file in deletes):
            raise EqualityDeletesError(str(self.table.contract))
        hours = {
            hour
            for file in (*data, *deletes)
            if self._layout_of(file) is not None and (hour := self._hour_of(file)) is not None
        }
        data, deletes = (each.only(lambda file: self._layout_of(file) is None) for each in (data, deletes))
        return hours | self._changed_hours_within(old, data, deletes) if data or deletes else hours

    def _changed_hours_within(self, old: JavaObject, data: ChangedFiles, deletes: ChangedFiles) -> set[int]:
        """Return the hours whose trades differ, of changed files that contain several hours."""
        before, after = changed_tasks(self._table, old, self._current, data, deletes)
        tasks = [*before, *after]
        rows = sum(int(task.file().recordCount()) for task in tasks)
        bounded = self._bounded_hours(task.file() for task in tasks) if rows > self._row_budget else None
        if bounded is not None:
            self.notes.append(
                f"{rows:,} rows of changed files exceed the budget of {self._row_budget:,}: "
                f"all {len(bounded)} hours of these files count as changed"
            )
            return bounded
        return differing_hours(
            *(
                digests(self._spark, self.table, self._table, each, with_side=self._with_side)
                for each in (before, after)
            )
        )

    def _bounded_hours(self, files: Iterable[JavaObject]) -> set[int] | None:
        """Return the hours within the bounds of files, None if they are unknown or too many."""
        found: set[int] = set()
        for file in files:
            hours = self._hours_within(file)
            if hours is None or len(found) + len(hours) > MAX_BOUNDED_HOURS:
                return None
            found.update(hours)
        return found

    def _hours_within(self, file: JavaObject) -> range | None:
        """Return the hours within the bounds of a file, None if it has no bounds."""
        field = self._table.schema().findField(hour_column(self.table.mapping))
        values = [
            None if bounds is None else bounds.get(field.fieldId())
            for bounds in (file.lowerBounds(), file.upperBounds())
        ]
        if None in values:
            return None
        from_buffer = java_class("org.apache.iceberg.types.Conversions").fromByteBuffer
        lower, upper = (from_buffer(field.type(), value) for value in values)
        return hours_within(self.table.mapping, lower, upper)

    def _layout_of(self, file: JavaObject) -> HourLayout | None:
        return self._layouts[file.specId()]

    @cached_property
    def _layouts(self) -> dict[int, HourLayout | None]:
        """Return the layout of each partition spec of the table."""
        schema = self._table.schema()
        return {
            number: hour_layout(
                self.table.mapping,
                [
                    Partition(str(schema.findColumnName(field.sourceId())), field.transform().toString())
                    for field in spec.fields()
                ],
            )
            for number, spec in self._table.specs().items()
        }

    def _hour_of(self, file: JavaObject) -> int | None:
        layout = self._layout_of(file)
        assert layout is not None, "the file belongs to one hour"
        partition = file.partition()
        hour = partition.get(layout.hour, self._number)
        if layout.date is None:
            return None if hour is None else partition_hour(*divmod(hour, HOURS_PER_DAY))
        return partition_hour(partition.get(layout.date, self._number), hour)

    @cached_property
    def _number(self) -> JavaObject:
        return java_class("java.lang.Class").forName("java.lang.Number")

    @cached_property
    def _expressions(self) -> JavaObject:
        return java_class("org.apache.iceberg.expressions.Expressions")

    def ingested_hours(self, since_microseconds: int) -> set[int] | None:
        """Return the hours of trades ingested since a time; file statistics exclude older files.

        Return None if the table has no ingestion time.
        """
        source = self.table.mapping.sources.get(INGESTION_TIMESTAMP)
        if source is None:
            return None
        trades = self.table.read(self._spark, F.lit(True)).where(F.col(INGESTION_TIMESTAMP) >= since_microseconds)
        return self._hours(trades)

    def _hours(self, trades: DataFrame) -> set[int]:
        rows = trades.select(F.unix_date(EXCHANGE_DATE).alias("day"), F.col(EXCHANGE_HOUR).alias("hour")).distinct()
        return {hour for row in rows.collect() if (hour := partition_hour(row.day, row.hour)) is not None}

    def trades_in(self, hours: Iterable[int]) -> dict[int, int]:
        """Return the number of trades by hour, read from the manifests.

        The rows of a file with several hours are assumed to be spread evenly over them.
        """
        wanted = set(hours)
        counts: dict[int, int] = {}
        for file in self._files(self._hours_expression(wanted)):
            if self._layout_of(file) is not None:
                shares: Sequence[int | None] = [self._hour_of(file)]
            else:
                shares = self._hours_within(file) or tuple(wanted)
            for hour in (hour for hour in wanted if hour in shares):
                counts[hour] = counts.get(hour, 0) + -(-int(file.recordCount()) // len(shares))
        return counts

    @cached_property
    def trades_of_no_hour(self) -> int:
        """Return the number of trades of the table that belong to no hour; read from manifests if files have one."""
        table = self.table
        expressions = self._expressions
        conditions = every_hour(table.mapping, table.kinds)
        outside = [
            condition
            for each in conditions
            for condition in (
                expressions.isNull(each.column),
                expressions.lessThan(each.column, _iceberg_literal(each.first)),
                expressions.greaterThan(each.column, _iceberg_literal(each.last)),
            )
        ]
        files = self._files(reduce(getattr(expressions, "or"), outside))
        if not table.mapping.filters and all(self._layout_of(file) is not None for file in files):
            return sum(int(file.recordCount()) for file in files)
        return table.read(self._spark, is_outside(conditions)).count()

    def all_have_ids(self, hours: Iterable[int]) -> bool:
        """Return whether the manifests prove that every trade of those hours has a trade id, if there are other ids."""
        sources = self.table.mapping.sources
        if MESSAGE_ID not in sources or TRADE_ID not in sources:
            return MESSAGE_ID not in sources
        expressions = self._expressions
        is_null = expressions.isNull(sources[TRADE_ID].column)
        tasks = self._scan(getattr(expressions, "and")(self._hours_expression(hours), is_null)).planFiles()
        may_have_null = bool(tasks.iterator().hasNext())
        tasks.close()
        return not may_have_null

    def hours_from(self, hour: int) -> set[int]:
        """Return the hours at or after this one that contain trades."""
        # An upper bound: no trade has a timestamp a century ahead.
        conditions = conditions_between(self.table.mapping, self.table.kinds, hour, hour + HOURS_PER_DAY * 36_525)
        files = self._files(self._any_of(conditions))
        if all(self._layout_of(file) is not None for file in files):
            return {number for file in files if (number := self._hour_of(file)) is not None}
        return self._hours(self.table.read(self._spark, any_of(conditions)))

    def _hours_expression(self, hours: Iterable[int]) -> JavaObject:
        return self._any_of(hour_conditions(self.table.mapping, self.table.kinds, hours))

    def _any_of(self, alternatives: Iterable[tuple[Between, ...]]) -> JavaObject:
        expressions = self._expressions
        both, either = getattr(expressions, "and"), getattr(expressions, "or")

        def between(condition: Between) -> JavaObject:
            first, last = _iceberg_literal(condition.first), _iceberg_literal(condition.last)
            column = condition.column
            return both(expressions.greaterThanOrEqual(column, first), expressions.lessThanOrEqual(column, last))

        return reduce(
            either, (reduce(both, map(between, conditions)) for conditions in alternatives), expressions.alwaysFalse()
        )

    def _scan(self, condition: JavaObject) -> JavaObject:
        scan = self._table.newScan().filter(condition)
        newest = self._table.currentSnapshot()
        # Without a snapshot, the condition has the present names of columns; with one, those of its commit.
        is_newest = self._current is None or self._current.snapshotId() == newest.snapshotId()
        return scan if is_newest else scan.useSnapshot(self._current.snapshotId())

    def _files(self, condition: JavaObject) -> list[JavaObject]:
        """Return the data files that may contain trades that meet a condition."""
        scan = self._scan(condition)
        # Bounds are needed only for files that contain several hours.
        tasks = (scan.includeColumnStats() if None in self._layouts.values() else scan).planFiles()
        files = [task.file() for task in tasks.iterator()]
        tasks.close()
        return files


def _iceberg_literal(value: int | date) -> int | str:
    """Return a value as Iceberg's expressions accept it: a time as text, a date as a day number."""
    if isinstance(value, datetime):
        return value.isoformat()
    return (value - EPOCH.date()).days if isinstance(value, date) else value
