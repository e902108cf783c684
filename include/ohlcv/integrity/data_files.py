"""Content of a data file: checksums of its pages, and its rows compared with its footer and with its manifest entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.conversions import from_bytes
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, DataFileContent
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import BucketTransform, UnknownTransform, VoidTransform
from pyiceberg.types import DoubleType, FloatType, NestedField, PrimitiveType

from ohlcv.iceberg.damage import check_size
from ohlcv.iceberg.file_io import name_unreadable
from ohlcv.integrity.checksum_files import check_checksum_file
from ohlcv.integrity.parquet_footer import Footer, RowGroup, has_page_checksums, read_footer
from ohlcv.model.errors import DamagedFileError

# A smaller file is read with one request, of a larger one this much per column, so that memory stays bounded.
WHOLE_FILE_BYTES = 32 * 2**20
BUFFER_BYTES = 2**20
BATCH_ROWS = 65_536
_FIELD_ID = b"PARQUET:field_id"
# Their partition value does not follow the order of the values.
_UNORDERED_TRANSFORMS = (BucketTransform, VoidTransform, UnknownTransform)


@dataclass(frozen=True)
class ReadContent:
    """What was read of a data file."""

    rows: int
    # Whether its pages have checksums, or the whole file has some.
    has_checksums: bool


@dataclass
class _Values:
    """The values of a column: number of nulls, smallest and largest value."""

    nulls: int = 0
    smallest: Any = None
    largest: Any = None

    def add(self, column: pa.Array) -> None:
        self.nulls += column.null_count
        if (ordered := _ordered(column)) is None or column.null_count == len(column):
            return
        found = pc.min_max(ordered).as_py()
        self.include(found["min"], found["max"])

    def include(self, smallest: Any, largest: Any) -> None:
        if smallest is not None:
            self.smallest = smallest if self.smallest is None else min(self.smallest, smallest)
            self.largest = largest if self.largest is None else max(self.largest, largest)

    def merge(self, other: _Values) -> None:
        self.nulls += other.nulls
        self.include(other.smallest, other.largest)


def check_content(io: FileIO, schema: Schema, spec: PartitionSpec, file: DataFile) -> ReadContent:
    """Read a data file completely. Raise DamagedFileError if it is damaged, or differs from its manifest entry."""
    path = file.file_path
    check_size(io, path, file.file_size_in_bytes)
    with name_unreadable(path):
        has_checksum_file = check_checksum_file(path)
        with io.new_input(path).open() as stream:
            source = pa.BufferReader(stream.read()) if file.file_size_in_bytes <= WHOLE_FILE_BYTES else stream
            footer = read_footer(source, file.file_size_in_bytes)
            has_checksums = has_checksum_file or has_page_checksums(source, footer)
            source.seek(0)
            with pq.ParquetFile(source, page_checksum_verification=True, buffer_size=BUFFER_BYTES) as parquet:
                values, rows = _read(path, parquet, footer)
                names = _column_names(parquet.schema_arrow, schema)
                _check_types(path, parquet.schema_arrow, schema, names)
    if rows != file.record_count:
        raise DamagedFileError(path, f"has {rows:,} rows, its manifest says {file.record_count:,}")
    if file.content == DataFileContent.DATA:
        for field in schema.fields:
            if isinstance(field.field_type, PrimitiveType):
                _check_entry(file, field, values.get(names.get(field.field_id, "")), rows)
        _check_partition(file, schema, spec, {number: values[name] for number, name in names.items()}, rows)
    return ReadContent(rows, has_checksums)


def _read(path: str, parquet: pq.ParquetFile, footer: Footer) -> tuple[dict[str, _Values], int]:
    """Read all rows, compare each row group with its statistics, and return the values of the top-level columns."""
    kinds = {field.name: field.type for field in parquet.schema_arrow}
    total, rows = {name: _Values() for name in kinds}, 0
    for number, group in enumerate(footer.groups):
        values = {name: _Values() for name in total}
        found = 0
        for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[number]):
            batch.validate(full=True)
            found += len(batch)
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                values[name].add(column)
        if found != group.rows:
            raise DamagedFileError(path, f"has {found:,} rows in row group {number}, its footer says {group.rows:,}")
        _check_statistics(path, group, kinds, values)
        for name, each in values.items():
            total[name].merge(each)
        rows += found
    if rows != footer.rows:
        raise DamagedFileError(path, f"has {rows:,} rows, its footer says {footer.rows:,}")
    return total, rows


def _check_statistics(
    path: str, group: RowGroup, kinds: Mapping[str, pa.DataType], values: Mapping[str, _Values]
) -> None:
    """Compare the statistics of a row group, by which readers skip it, with its values."""
    for column in group.columns:
        name = column.path[0]
        if len(column.path) > 1:
            continue
        found = values[name]
        if column.values != group.rows or column.nulls not in (None, found.nulls):
            raise DamagedFileError(path, f"has a wrong number of values of {name} in its footer")
        if found.smallest is not None and not _contains(*column.bounds(kinds[name]), found):
            raise DamagedFileError(path, f"has wrong bounds of {name} in its footer")


def _check_entry(file: DataFile, field: NestedField, found: _Values | None, rows: int) -> None:
    """Compare counts and bounds of a column in the manifest entry, by which readers skip files, with its values."""
    number, path = field.field_id, file.file_path
    if found is None:
        if file.value_counts and file.value_counts.get(number):
            raise DamagedFileError(path, f"lacks the column {field.name}, which its manifest has")
        return
    for name, counts, count in (("values", file.value_counts, rows), ("nulls", file.null_value_counts, found.nulls)):
        expected = (counts or {}).get(number)
        if expected is not None and expected != count:
            raise DamagedFileError(path, f"has {count:,} {name} of {field.name}, its manifest says {expected:,}")
    lower: Any = (file.lower_bounds or {}).get(number)
    upper: Any = (file.upper_bounds or {}).get(number)
    if found.smallest is None or isinstance(field.field_type, FloatType | DoubleType):
        return
    assert isinstance(field.field_type, PrimitiveType)
    try:
        lower, upper = (None if each is None else from_bytes(field.field_type, each) for each in (lower, upper))
    except Exception:  # struct.error, UnicodeDecodeError and others
        raise DamagedFileError(path, f"has unreadable bounds of {field.name} in its manifest") from None
    if not _contains(lower, upper, found):
        raise DamagedFileError(path, f"has values of {field.name} outside the bounds in its manifest")


def _contains(lower: Any, upper: Any, found: _Values) -> bool:
    return (lower is None or lower <= found.smallest) and (upper is None or found.largest <= upper)


def _check_partition(
    file: DataFile, schema: Schema, spec: PartitionSpec, values: dict[int, _Values], rows: int
) -> None:
    """Compare the partition of the file with its rows. The first and the last value of a column have it."""
    for position, field in enumerate(spec.fields):
        found = values.get(field.source_id)
        kind = schema.find_type(field.source_id)
        if found is None or not rows or isinstance(field.transform, _UNORDERED_TRANSFORMS):
            continue
        if isinstance(kind, FloatType | DoubleType):
            continue
        expected = file.partition[position]
        transform = field.transform.transform(kind)
        ends = {transform(found.smallest), transform(found.largest)} | ({None} if found.nulls else set())
        if ends != {expected}:
            name = schema.find_column_name(field.source_id)
            raise DamagedFileError(file.file_path, f"has values of {name} that are not in its partition ({expected})")


def _check_types(path: str, file: pa.Schema, schema: Schema, names: Mapping[int, str]) -> None:
    """Raise DamagedFileError if a column has another type than in the table, unless Iceberg can have widened it."""
    for field in schema.as_arrow():
        name = names.get(int(field.metadata[_FIELD_ID]))
        if name is not None and not _is_readable_as(file.field(name).type, field.type):
            raise DamagedFileError(path, f"has the type {file.field(name).type} of {name} instead of {field.type}")


def _is_readable_as(found: pa.DataType, expected: pa.DataType) -> bool:
    if pa.types.is_decimal(expected):
        return bool(
            pa.types.is_decimal(found) and found.scale == expected.scale and found.precision <= expected.precision
        )
    if pa.types.is_nested(expected):
        return True
    alike = (pa.types.is_integer, pa.types.is_floating, _is_text, _is_binary)
    return bool(found == expected or any(test(found) and test(expected) for test in alike))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _column_names(file: pa.Schema, schema: Schema) -> dict[int, str]:
    """Return the file's name of each column of the table. Files of other writers may have no ids."""
    ids = {
        int(field.metadata[_FIELD_ID]): field.name for field in file if field.metadata and _FIELD_ID in field.metadata
    }
    if ids:
        return ids
    return {field.field_id: field.name for field in schema.fields if field.name in file.names}


def _ordered(column: pa.Array) -> pa.Array | None:
    """Return the values as Iceberg orders them, None for a type without an order: dates and times are numbers."""
    kind = column.type
    if pa.types.is_date32(kind):
        return column.cast(pa.int32())
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.int64())
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_boolean(kind):
        return column
    return column if _is_text(kind) else None
