"""Reads of the trades table. Every reader in Python gets the columns of the data contract through this module."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce
from typing import TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import (
    AlwaysFalse,
    AlwaysTrue,
    And,
    BooleanExpression,
    GreaterThanOrEqual,
    LessThanOrEqual,
    Or,
)
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import DataScan, FileScanTask, StaticTable, Table
from pyiceberg.types import PrimitiveType

from ohlcv.iceberg.damage import report_damage, report_damaged_file
from ohlcv.iceberg.snapshot_summary import has_equality_deletes
from ohlcv.iceberg.tables import hours_filter, load_table
from ohlcv.model.errors import EqualityDeletesError
from ohlcv.model.intervals import EPOCH, MICROSECOND, Range, to_microseconds
from ohlcv.model.source_hours import (
    FIRST_DAY,
    HOURS_PER_DAY,
    LAST_DAY,
    hour_number,
    hour_range,
    partition_hour,
)
from ohlcv.model.table_contracts import TableContract
from ohlcv.model.timeframes import DAY
from ohlcv.model.trade_layout import MICROSECONDS_PER_HOUR, Between, hour_conditions
from ohlcv.model.trade_mapping import EXCHANGE_DATE, EXCHANGE_HOUR, TIMESTAMP, TradeMapping
from ohlcv.model.trade_validity import validity_condition
from ohlcv.readers.mapped_columns import projection, source_microseconds, valid_condition
from ohlcv.readers.scans import compare

_Item = TypeVar("_Item")
_DAY_MICROSECONDS = DAY // MICROSECOND


@dataclass(frozen=True)
class TradesTable:
    """The trades table with the mapping of its columns."""

    table: Table
    mapping: TradeMapping

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of the table that are read where no measure is computed."""
        return self.mapping.columns_read(with_side=False)

    def read_chunks(
        self, hours: Iterable[int], snapshot: int | None, max_rows: int, *, with_side: bool = False
    ) -> Iterator[tuple[list[int], Iterator[pa.Table]]]:
        """Yield hours with all their trades, about max_rows trades at a time, but at least those of one hour.

        The trades of a chunk are tables of less than max_rows rows, or of one file, with the source columns of the
        mapping. Files are planned once. Hours without files are left out.
        """
        ordered = sorted(set(hours))
        columns = self.mapping.columns_read(with_side=with_side)
        scan = self._scan(ordered, snapshot)
        with report_damage(self.table, scan):
            tasks = list(scan.plan_files())
        files: dict[int, list[FileScanTask]] = {}
        rows: dict[int, float] = {}
        for task in tasks:
            within = self.hours_in(task.file, ordered)
            for hour in within:
                files.setdefault(hour, []).append(task)
                rows[hour] = rows.get(hour, 0) + task.file.record_count / len(within)
        for chunk in _split(sorted(files), rows.__getitem__, max_rows):
            chosen = {task.file.file_path: task for hour in chunk for task in files[hour]}
            schema = self._schema_at(snapshot, columns)
            yield chunk, self._read_files(self._scan(chunk, snapshot), schema, list(chosen.values()), max_rows)

    def _scan(self, hours: Iterable[int], snapshot: int | None) -> DataScan:
        condition = hours_filter(hours) if self.mapping.is_default else self.hours_condition(hours)
        return self.table.scan(condition, snapshot_id=snapshot)

    def _schema_at(self, snapshot: int | None, columns: tuple[str, ...]) -> Schema:
        """Return the columns, under their present names, with the field ids that they have in a snapshot.

        A column keeps its id when it is renamed. One that replaced another one has the name and type of that one.
        """
        present = self.table.schema().select(*columns)
        found = None if snapshot is None else self.table.snapshot_by_id(snapshot)
        written = None if found is None else self.table.schemas().get(found.schema_id or 0)
        if written is None:
            return present
        replaced = {field.name: field for field in written.fields if field.name in columns}
        fields = []
        for field in present.fields:
            other = replaced.get(field.name, field)
            is_replaced = field.field_id not in written.field_ids and other.field_type == field.field_type
            fields.append(other if is_replaced else field)
        return Schema(*fields)

    def _read_files(
        self, scan: DataScan, schema: Schema, tasks: list[FileScanTask], max_rows: int
    ) -> Iterator[pa.Table]:
        reader = ArrowScan(scan.table_metadata, scan.io, schema, scan.row_filter, scan.case_sensitive)
        for group in _split(tasks, lambda task: task.file.record_count, max_rows):
            with report_damage(self.table, scan):
                rows = reader.to_table(group)
            yield rows

    @property
    def kinds(self) -> dict[str, str]:
        """Return the type of each column in the notation of Iceberg."""
        return {field.name: str(field.field_type) for field in self.table.schema().fields}

    def hours_condition(self, hours: Iterable[int]) -> BooleanExpression:
        """Return the row filter of these hours, on the stored hour of a trade or else on its timestamp."""
        return _any(
            reduce(And, map(_between, conditions)) for conditions in hour_conditions(self.mapping, self.kinds, hours)
        )

    def time_condition(self, start: int, end: int) -> BooleanExpression:
        """Return the row filter for start <= timestamp < end in microseconds, in the column's own type."""
        column = self._column(TIMESTAMP)
        first, last = self.mapping.time_bounds(self.kinds[column], start, end)
        if first > last:
            return AlwaysFalse()
        return And(compare(GreaterThanOrEqual, column, first), compare(LessThanOrEqual, column, last))

    def _column(self, name: str) -> str:
        column = self.mapping.sources[name].column
        assert column is not None, "only symbol and exchange may be constants"
        return column

    def file_times(self, file: DataFile) -> tuple[int | None, int | None]:
        """Return the bounds of the timestamps of a file in microseconds; None if the file has no bound."""
        low, high = (
            None if value is None else source_microseconds(value, self.mapping.sources[TIMESTAMP])
            for value in self._bounds(file, TIMESTAMP)
        )
        return low, high

    def _bounds(self, file: DataFile, name: str) -> tuple[int | None, int | None]:
        """Return the bounds of a column of a file as the table stores them; None if the file has no bound."""
        field = self.table.schema().find_field(self._column(name))
        assert isinstance(field.field_type, PrimitiveType)
        bounds = ((each or {}).get(field.field_id) for each in (file.lower_bounds, file.upper_bounds))
        low, high = (None if bound is None else int(from_bytes(field.field_type, bound)) for bound in bounds)
        return low, high

    def file_hours(self, file: DataFile) -> range:
        """Return the hours of which a file may have trades. Reads only metadata."""
        if self.mapping.is_default:
            return self.stored_hours(file)
        low, high = self.file_times(file)
        first = FIRST_DAY * HOURS_PER_DAY if low is None else low // MICROSECONDS_PER_HOUR
        last = LAST_DAY * HOURS_PER_DAY if high is None else high // MICROSECONDS_PER_HOUR
        return range(first, last + 1)

    def stored_hours(self, file: DataFile) -> range:
        """Return the hours, as the table stores them, of which a file may have trades."""
        if not self.mapping.has_hours:
            return self.file_hours(file)
        # The files of an older partition spec, and those of a mapped table, have other partitions.
        if self.mapping.is_default and file.spec_id == self.table.spec().spec_id:
            hour = partition_hour(file.partition[0], file.partition[1])
            return range(0) if hour is None else range(hour, hour + 1)
        # The timestamp of a rejected trade may be in another hour than the stored one.
        (first_day, last_day), (low, high) = (self._bounds(file, name) for name in (EXCHANGE_DATE, EXCHANGE_HOUR))
        first = (FIRST_DAY if first_day is None else first_day) * HOURS_PER_DAY + (low or 0)
        last = (LAST_DAY if last_day is None else last_day) * HOURS_PER_DAY
        return range(first, last + (HOURS_PER_DAY if high is None else high + 1))

    def hours_in(self, file: DataFile, ordered: Sequence[int]) -> Sequence[int]:
        """Return those of some hours, in ascending order, of which a file may have trades, as the table stores them."""
        span = self.stored_hours(file)
        return ordered[bisect_left(ordered, span.start) : bisect_left(ordered, span.stop)]

    def days_with_files(self, time_range: Range, snapshot: int | None) -> set[date]:
        """Return the days of the range for which files may have trades. Reads only metadata."""
        start, end = to_microseconds(time_range.start), to_microseconds(time_range.end)
        in_days = And(
            compare(GreaterThanOrEqual, EXCHANGE_DATE, time_range.start.date()),
            compare(LessThanOrEqual, EXCHANGE_DATE, (time_range.end - MICROSECOND).date()),
        )
        condition = in_days if self.mapping.is_default else self.time_condition(start, end)
        scan = self.table.scan(condition, snapshot_id=snapshot)
        with report_damage(self.table, scan):
            files = [task.file for task in scan.plan_files()]
        if self.mapping.is_default:
            return {EPOCH.date() + file.partition[0] * DAY for file in files}
        days: set[int] = set()
        for file in files:
            low, high = self.file_times(file)
            first = start if low is None else max(start, low)
            last = end - 1 if high is None else min(end - 1, high)
            days.update(range(first // _DAY_MICROSECONDS, last // _DAY_MICROSECONDS + 1))
        return {EPOCH.date() + day * DAY for day in days}

    def newest_valid(self, time_range: Range | None) -> int | None:
        """Return the time of the newest valid trade in microseconds, in a range if given. Reads few files."""
        return self._newest_in_partitions(time_range) if self.mapping.is_default else self._newest_in_files(time_range)

    def _newest_in_partitions(self, time_range: Range | None) -> int | None:
        everything = self.table.scan()
        with report_damage(self.table, everything):
            partitions = [task.file.partition for task in everything.plan_files()]
        hours = {hour for partition in partitions if (hour := partition_hour(partition[0], partition[1])) is not None}
        if time_range is not None:
            first, last = hour_number(time_range.start), hour_number(time_range.end - MICROSECOND)
            hours = {hour for hour in hours if first <= hour <= last}
        # Usually only the newest hour is read: every hour with files has trades, and few of them are rejected.
        for hour in sorted(hours, reverse=True):
            limits = hour_range(hour)
            if time_range is not None:
                limits = Range(max(limits.start, time_range.start), min(limits.end, time_range.end))
            condition = (
                f"({hours_filter({hour})}) AND {validity_condition()}"
                f" AND timestamp >= {to_microseconds(limits.start)} AND timestamp < {to_microseconds(limits.end)}"
            )
            scan = self.table.scan(condition, selected_fields=(TIMESTAMP,))
            with report_damage(self.table, scan):
                rows = scan.to_arrow()
            newest: int | None = pc.max(rows[TIMESTAMP]).as_py()
            if newest is not None:
                return newest
        return None

    def _newest_in_files(self, time_range: Range | None) -> int | None:
        condition: BooleanExpression = AlwaysTrue()
        if time_range is not None:
            condition = self.time_condition(to_microseconds(time_range.start), to_microseconds(time_range.end))
        scan = self.table.scan(condition)
        with report_damage(self.table, scan):
            tasks = [(self.file_times(task.file)[1], task) for task in scan.plan_files()]
        newest: int | None = None
        # Files without bounds first.
        for upper, task in sorted(tasks, key=lambda each: (each[0] is None, each[0] or 0), reverse=True):
            if newest is not None and upper is not None and upper <= newest:
                break
            found = self._newest_valid_of(task, condition)
            newest = max((time for time in (newest, found) if time is not None), default=None)
        return newest

    def _newest_valid_of(self, task: FileScanTask, condition: BooleanExpression) -> int | None:
        schema = self.table.schema().select(*self.columns)
        with report_damaged_file(self.table, task), duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register(
                "source", ArrowScan(self.table.metadata, self.table.io, schema, condition).to_table([task])
            )
            columns = projection(self.mapping, self.kinds, "source")
            found = connection.execute(
                f'SELECT max("timestamp") FROM ({columns}) WHERE {valid_condition(self.mapping)}'
            ).fetchone()
        newest: int | None = found[0] if found else None
        return newest


def load_trades(catalog: Catalog, contract: TableContract) -> TradesTable:
    """Return the trades table. Raise OhlcvError if it does not exist, or cannot be read by the contract or mapping."""
    return readable_trades(load_table(catalog, contract), contract)


def readable_trades(table: Table, contract: TableContract) -> TradesTable:
    """Return a loaded trades table. Raise OhlcvError if pyiceberg cannot read it."""
    if has_equality_deletes(table.current_snapshot()):
        raise EqualityDeletesError(str(contract))
    return TradesTable(table, contract.mapping)


def table_with_snapshot(trades: Table, snapshot: int, metadata: str) -> Table | None:
    """Return the table that holds a snapshot, or None where the snapshot has expired."""
    if trades.snapshot_by_id(snapshot) is not None:
        return trades
    if not metadata:
        return None
    # A catalog that returns only the newest snapshot still has the metadata files of older ones.
    try:
        table = StaticTable.from_metadata(metadata, trades.io.properties)
    except OSError:
        return None
    # It renews vended keys.
    table.io = trades.io
    return table


def _split(items: Sequence[_Item], rows: Callable[[_Item], float], max_rows: int) -> Iterator[list[_Item]]:
    """Yield the items in groups of at most max_rows rows; an item with more rows is a group of its own."""
    group: list[_Item] = []
    size = 0.0
    for item in items:
        if group and size + rows(item) > max_rows:
            yield group
            group, size = [], 0.0
        group.append(item)
        size += rows(item)
    if group:
        yield group


def _between(condition: Between) -> BooleanExpression:
    return And(
        compare(GreaterThanOrEqual, condition.column, condition.first),
        compare(LessThanOrEqual, condition.column, condition.last),
    )


def _any(conditions: Iterable[BooleanExpression]) -> BooleanExpression:
    found = list(conditions)
    return reduce(Or, found) if found else AlwaysFalse()
