"""Footer of a Parquet file, read without pyarrow: rows and statistics of the row groups, and checksums of pages."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa

from ohlcv.integrity.thrift import ThriftError, decode_struct

MAGIC = b"PAR1"
# Length of the footer, and the magic number.
_TAIL = 8
_PAGE_HEADER_BYTES = 4096
# Physical types of Parquet.
_INT32, _INT64, _BYTE_ARRAY, _FIXED = 1, 2, 6, 7
# Ids of fields in parquet.thrift.
_ROW_GROUPS, _NUM_ROWS = 4, 3  # FileMetaData
_COLUMNS, _GROUP_ROWS = 1, 3  # RowGroup
_META_DATA = 3  # ColumnChunk
_TYPE, _PATH, _NUM_VALUES, _DATA_PAGE, _DICTIONARY_PAGE, _STATISTICS = 1, 3, 5, 9, 11, 12  # ColumnMetaData
_NULL_COUNT, _MAX_VALUE, _MIN_VALUE = 3, 5, 6  # Statistics
_CRC = 4  # PageHeader


@dataclass(frozen=True)
class ColumnChunk:
    """A column of a row group."""

    # Names from the top-level column down.
    path: tuple[str, ...]
    physical_type: int
    values: int
    first_page: int
    # Statistics, None if there are none.
    nulls: int | None
    smallest: bytes | None
    largest: bytes | None

    def bounds(self, kind: pa.DataType) -> tuple[Any, Any]:
        """Return the smallest and the largest value: numbers or texts, of times microseconds, None if unknown."""
        return self._decode(self.smallest, kind), self._decode(self.largest, kind)

    def _decode(self, value: bytes | None, kind: pa.DataType) -> Any:
        if value is None:
            return None
        if self.physical_type == _BYTE_ARRAY and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            return value.decode()
        if self.physical_type not in (_INT32, _INT64, _FIXED):
            return None
        number = int.from_bytes(value, "big" if self.physical_type == _FIXED else "little", signed=True)
        if pa.types.is_decimal(kind):
            return Decimal(number).scaleb(-kind.scale, _EXACT)
        if pa.types.is_timestamp(kind):
            return number * _PER_SECOND["us"] // _PER_SECOND[kind.unit]
        return number if pa.types.is_integer(kind) or pa.types.is_date32(kind) else None


# The default context would round to 28 digits.
_EXACT = Context(prec=76)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class RowGroup:
    """Rows and columns of a row group."""

    rows: int
    columns: list[ColumnChunk]


@dataclass(frozen=True)
class Footer:
    """What the end of a file says about it."""

    rows: int
    groups: list[RowGroup]


def read_footer(source: Any, size: int) -> Footer:
    """Return the footer of an open file. Raise ThriftError if it is damaged."""
    source.seek(max(size - _TAIL, 0))
    tail = source.read(_TAIL)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or length > size - _TAIL - len(MAGIC):
        raise ThriftError("it is not a Parquet file")
    source.seek(0)
    if source.read(len(MAGIC)) != MAGIC:
        raise ThriftError("it is not a Parquet file")
    source.seek(size - _TAIL - length)
    fields, end = decode_struct(source.read(length))
    if end != length:
        raise ThriftError("its footer has bytes that belong to nothing")
    try:
        return Footer(fields[_NUM_ROWS], [_row_group(group) for group in fields[_ROW_GROUPS]])
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError):
        raise ThriftError("its footer lacks what every footer has") from None


def _row_group(fields: dict[int, Any]) -> RowGroup:
    return RowGroup(int(fields[_GROUP_ROWS]), [_column(column[_META_DATA]) for column in fields[_COLUMNS]])


def _column(fields: dict[int, Any]) -> ColumnChunk:
    statistics = fields.get(_STATISTICS, {})
    dictionary, first = fields.get(_DICTIONARY_PAGE), int(fields[_DATA_PAGE])
    return ColumnChunk(
        tuple(name.decode() for name in fields[_PATH]),
        int(fields[_TYPE]),
        int(fields[_NUM_VALUES]),
        int(dictionary) if dictionary and 0 < dictionary < first else first,
        statistics.get(_NULL_COUNT),
        statistics.get(_MIN_VALUE),
        statistics.get(_MAX_VALUE),
    )


def has_page_checksums(source: Any, footer: Footer) -> bool:
    """Return whether the first page of every column has a checksum. A writer adds it to all pages or to none."""
    return all(_has_checksum(source, column) for group in footer.groups[:1] for column in group.columns)


def _has_checksum(source: Any, column: ColumnChunk) -> bool:
    source.seek(column.first_page)
    header, _ = decode_struct(source.read(_PAGE_HEADER_BYTES))
    return _CRC in header
