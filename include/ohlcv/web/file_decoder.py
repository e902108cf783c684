"""Decoding of data files to the columns of the contract, with the current types of the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io import InputStream
from pyiceberg.io.pyarrow import ArrowScan, pyarrow_to_schema
from pyiceberg.manifest import FileFormat
from pyiceberg.table import Table

from ohlcv.iceberg.damage import report_damaged_file
from ohlcv.model.table_contracts import MEASURES
from ohlcv.web.table_index import IndexedFile, TableIndex

KEY_COLUMNS = ("symbol", "exchange")
TEXT = pa.dictionary(pa.int32(), pa.string())
# Rows that are decoded at a time.
_BATCH_ROWS = 16_384
_OPTIONS: dict[str, Any] = {
    "buffer_size": 2**19,
    "coerce_int96_timestamp_unit": "us",
    "page_checksum_verification": True,
}
# A smaller file is read with few requests; of a larger one, memory holds only a buffer per column.
_PRE_BUFFER_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Part:
    """Rows of a file: those of a symbol, of an exchange, and with first <= window_start < end. None means any."""

    symbol: str | None = None
    exchange: str | None = None
    # Microseconds.
    first: int | None = None
    end: int | None = None

    @property
    def is_series(self) -> bool:
        return self.symbol is not None and self.exchange is not None


WHOLE = Part()


def decode_parts(index: TableIndex, file: IndexedFile, parts: Sequence[Part]) -> list[pa.Table]:
    """Return the rows of each part with the columns of the contract. The file is read once, in batches."""
    schema = dictionary_schema(index.schema)
    found: list[list[pa.Table]] = [[schema.empty_table()] for _ in parts]
    for batch in read_batches(index, file, schema.names):
        for tables, part in zip(found, parts, strict=True):
            if len(rows := rows_of_part(batch, part)):
                tables.append(rows)
    return [pa.concat_tables(tables) for tables in found]


def read_batches(index: TableIndex, file: IndexedFile, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Read columns of the rows that no delete file deletes, in batches."""
    schema = pa.schema([field for field in dictionary_schema(index.schema) if field.name in columns])
    with report_damaged_file(index.table, file.task):
        if file.task.delete_files or file.task.file.file_format != FileFormat.PARQUET:
            yield _scan(index, file, schema)
            return
        with index.table.io.new_input(file.task.file.file_path).open() as stream:
            names = _names_in_file(index.table, stream, schema)
            # Measures are null in a file that was written before the table was extended.
            nulls = [name for name, stored in names.items() if stored is None and name in MEASURES]
            names = {name: stored for name, stored in names.items() if name not in nulls}
            if None in names.values():
                # The column was added after the file: pyiceberg returns its default.
                yield _scan(index, file, schema)
                return
            reader = pq.ParquetFile(
                stream,
                read_dictionary=[names[field.name] for field in schema if field.type == TEXT],
                pre_buffer=file.task.file.file_size_in_bytes <= _PRE_BUFFER_BYTES,
                **_OPTIONS,
            )
            for batch in reader.iter_batches(_BATCH_ROWS, columns=list(names.values()), use_threads=False):
                # Other writers may store times in nanoseconds, which pyiceberg truncates, too.
                arrays = [
                    pa.nulls(len(batch), field.type)
                    if field.name in nulls
                    else batch[names[field.name]].cast(field.type, safe=not pa.types.is_timestamp(field.type))
                    for field in schema
                ]
                yield pa.table(arrays, schema=schema)


def dictionary_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema with dictionaries as symbol and exchange."""
    return pa.schema(
        [(each.name, TEXT if each.name in KEY_COLUMNS and _is_text(each.type) else each.type) for each in schema]
    )


def _is_text(kind: pa.DataType) -> bool:
    # A mapped trades table may have a column of another type with this name.
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def rows_of_part(table: pa.Table, part: Part) -> pa.Table:
    """Return the rows of a part."""
    conditions = []
    if part.symbol is not None:
        conditions.append(pc.field("symbol") == part.symbol)
    if part.exchange is not None:
        conditions.append(pc.field("exchange") == part.exchange)
    starts = pc.field("window_start").cast(pa.int64())
    if part.first is not None:
        conditions.append(starts >= part.first)
    if part.end is not None:
        conditions.append(starts < part.end)
    for condition in conditions:
        table = table.filter(condition)
    return table


def sorted_rows(table: pa.Table) -> pa.Table:
    """Return the rows with a complete key in the order of their key, each column in one piece.

    symbol and exchange are dictionaries, or missing if all rows are of one series.
    """
    keys = [name for name in KEY_COLUMNS if name in table.column_names]
    for name in ("window_start", *keys):
        if table[name].null_count:
            table = table.filter(pc.field(name).is_valid())
    table = table.unify_dictionaries().combine_chunks()
    starts = table["window_start"].combine_chunks().cast(pa.int64()).to_numpy()
    order = np.lexsort((*(_ranks(table[name].combine_chunks()) for name in reversed(keys)), starts))
    if np.array_equal(order, np.arange(len(order))):
        return table
    return table.take(pa.array(order))


def _ranks(values: pa.DictionaryArray) -> npt.NDArray[np.int32]:
    """Return numbers in the order of the texts of a dictionary column."""
    names = values.dictionary.to_pylist()
    ranks = np.empty(len(names), np.int32)
    ranks[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names), dtype=np.int32)
    found: npt.NDArray[np.int32] = ranks[values.indices.to_numpy()]
    return found


def _scan(index: TableIndex, file: IndexedFile, schema: pa.Schema) -> pa.Table:
    """Read a file by pyiceberg, which applies delete files."""
    table = index.table
    scan = ArrowScan(table.metadata, table.io, table.schema().select(*schema.names), AlwaysTrue())
    return scan.to_table([file.task]).select(schema.names).cast(schema)


def _names_in_file(table: Table, stream: InputStream, schema: pa.Schema) -> dict[str, str | None]:
    """Return the name of each column in a Parquet file by its field id; None if the file does not have the column."""
    stored = pyarrow_to_schema(
        pq.ParquetFile(stream, **_OPTIONS).schema_arrow,
        table.metadata.name_mapping(),
        downcast_ns_timestamp_to_us=True,
        format_version=table.metadata.format_version,
    )
    names = {field.field_id: field.name for field in stored.fields}
    return {name: names.get(table.schema().find_field(name).field_id) for name in schema.names}
