"""Index of the data files of a table, kept up to date by a thread, so that requests do not read the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.types import PrimitiveType

from ohlcv.iceberg.damage import report_damage
from ohlcv.model.table_contracts import MEASURES, TableContract
from ohlcv.model.trade_mapping import DEFAULT_MAPPING, TradeMapping
from ohlcv.readers.trades import TradesTable

# Columns whose lower and upper bounds in the manifests exclude files.
_BOUNDED = ("symbol", "exchange", "window_start", "updated_at")

# Path of a data file, followed by those of its delete files.
FileKey = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class IndexedFile:
    """A data file with its partition and the bounds of its columns."""

    key: FileKey
    task: FileScanTask
    # Number of the day or month; of the newest hour in the trades table. None for rows without a date.
    partition: int | None
    rows: int
    bytes: int
    # Lower and upper bound by column: text, or microseconds. A column without bounds is missing.
    bounds: Mapping[str, tuple[str | int, str | int]]
    # In the trades table, the hours of which the file may have trades.
    hours: range = range(0)

    def may_contain(self, column: str, low: str | int | None, high: str | int | None) -> bool:
        """Return whether the file may contain a value from low to high, both inclusive; None means unbounded."""
        bounds = self.bounds.get(column)
        if bounds is None:
            return True
        first, last = bounds
        return (low is None or last >= low) and (high is None or first <= high)  # type: ignore[operator]  # same types


@dataclass(frozen=True, eq=False)
class TableIndex:
    """The data files of one snapshot of a table."""

    table: Table
    # None if the table is empty.
    snapshot_id: int | None
    committed_at: datetime | None
    schema_id: int
    # Columns of the contract in its order, or those that its mapping reads, with the types of the table.
    schema: pa.Schema
    # The newest partition first.
    files: tuple[IndexedFile, ...]
    # Columns with the measures; None if the table is not extended.
    extended_schema: pa.Schema | None = None
    # Of the trades table.
    mapping: TradeMapping = DEFAULT_MAPPING

    @property
    def trades(self) -> TradesTable:
        """Return the trades table with its mapping."""
        return TradesTable(self.table, self.mapping)

    @property
    def identity(self) -> tuple[int | None, int]:
        """Return what changes whenever an answer may change: snapshot and schema."""
        return self.snapshot_id, self.schema_id

    @property
    def schema_key(self) -> tuple[int, bool]:
        """Return what changes whenever the columns of decoded rows may change."""
        return self.schema_id, self.schema is self.extended_schema

    def select(self, measures: bool) -> TableIndex:
        """Return an index whose rows have the measures if they are wanted. The table must be extended then."""
        return replace(self, schema=self.extended_schema) if measures else self

    @property
    def rows(self) -> int:
        """Return the number of stored rows, before delete files."""
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def build_index(table: Table, contract: TableContract, condition: BooleanExpression | None = None) -> TableIndex:
    """Return the index of the files of the current snapshot that may meet a condition. Reads the manifests."""
    scan = table.scan(condition or AlwaysTrue())
    with report_damage(table, scan):
        tasks = list(scan.plan_files())
    snapshot = table.current_snapshot()
    arrow = table.schema().as_arrow()
    fields = {
        field.field_id: (field.name, field.field_type)
        for field in table.schema().fields
        if field.name in _BOUNDED and isinstance(field.field_type, PrimitiveType)
    }
    trades = TradesTable(table, contract.mapping) if contract.holds_trades else None
    files = [_indexed_file(task, trades, fields) for task in tasks]
    names = contract.column_names if contract.mapping.is_default else contract.mapping.source_columns
    schema = pa.schema([(name, arrow.field(name).type) for name in names])
    extended = None
    if contract.is_extended(arrow.names):
        extended = pa.schema([*schema, *((name, arrow.field(name).type) for name in MEASURES)])
    files.sort(key=lambda file: (file.partition is not None, file.partition or 0, file.key), reverse=True)
    return TableIndex(
        table=table,
        snapshot_id=None if snapshot is None else snapshot.snapshot_id,
        committed_at=None if snapshot is None else datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
        schema_id=table.schema().schema_id,
        schema=schema,
        files=tuple(files),
        extended_schema=extended,
        mapping=contract.mapping,
    )


def _indexed_file(
    task: FileScanTask, trades: TradesTable | None, fields: Mapping[int, tuple[str, PrimitiveType]]
) -> IndexedFile:
    file = task.file
    hours = None if trades is None else trades.file_hours(file)
    deletes = sorted(task.delete_files, key=lambda each: each.file_path)
    return IndexedFile(
        key=(file.file_path, *(each.file_path for each in deletes)),
        task=task,
        partition=_partition(file, hours),
        rows=file.record_count,
        bytes=file.file_size_in_bytes,
        bounds=_bounds(file, fields),
        hours=hours or range(0),
    )


def _partition(file: DataFile, hours: range | None) -> int | None:
    if hours is not None:
        return hours[-1] if hours else None
    number: int | None = file.partition[0]
    return number


def _bounds(file: DataFile, fields: Mapping[int, tuple[str, PrimitiveType]]) -> dict[str, tuple[str | int, str | int]]:
    lower, upper = file.lower_bounds or {}, file.upper_bounds or {}
    return {
        name: (from_bytes(kind, lower[number]), from_bytes(kind, upper[number]))
        for number, (name, kind) in fields.items()
        if number in lower and number in upper
    }
