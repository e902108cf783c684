"""Encodings of candles: JSON objects and JSON number rows, built column by column."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ohlcv.web.texts import column_texts, csv_fields, is_text, json_strings


def json_objects(table: pa.Table) -> bytes:
    """Return the rows as a JSON array of objects: decimals, times and dates are strings, counts are numbers."""
    parts: list[pa.Array | str] = []
    separator = "{"
    for name in table.column_names:
        quote, values = _json_values(one_chunk(table[name]))
        parts += [separator + json.dumps(name) + ":" + quote, values]
        separator = quote + ","
    return _json_array(parts, separator[:-1] + "}", len(table))


def json_rows(columns: Sequence[pa.Array]) -> bytes:
    """Return columns of JSON values as a JSON array of arrays."""
    parts: list[pa.Array | str] = []
    for number, column in enumerate(columns):
        parts += ["," if number else "[", column]
    return _json_array(parts, "]", len(columns[0]))


def json_texts(column: pa.Array) -> pa.Array:
    """Return the values of a column as JSON: decimals and times are strings, counts are numbers."""
    quote, values = _json_values(column)
    return pc.binary_join_element_wise(quote, values, quote, "") if quote else values


def json_list(column: pa.Array) -> bytes:
    """Return number texts as a JSON array."""
    return _json_array([column], "", len(column))


def csv_lines(batch: pa.RecordBatch) -> bytes:
    """Return the rows as lines of CSV. Texts are quoted where necessary; nulls are empty."""
    cells = [csv_fields(column) if is_text(column.type) else column_texts(column) for column in batch.columns]
    lines = pc.binary_join_element_wise(*cells, ",", null_handling="replace", null_replacement="")
    return bytes(_joined(pc.binary_join_element_wise(lines, "\n", "")))


def _json_values(column: pa.Array) -> tuple[str, pa.Array]:
    """Return the quote around all values, if they have the same, and the values."""
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        texts = column.cast(pa.string())
    elif is_text(column.type):
        texts = json_strings(column)
    elif column.null_count:
        texts = pc.binary_join_element_wise('"', column_texts(column), '"', "")
    else:
        return '"', column_texts(column)
    return "", pc.fill_null(texts, "null") if texts.null_count else texts


def _json_array(parts: Sequence[pa.Array | str], end: str, rows: int) -> bytes:
    if not rows:
        return b"[]"
    joined = _joined(pc.binary_join_element_wise(*parts, end + ",", ""))
    return b"".join((b"[", joined[:-1], b"]"))


def _joined(texts: pa.Array) -> memoryview:
    """Return the concatenation of texts, which is the data buffer of the array."""
    _, offsets, data = texts.buffers()
    ends = memoryview(offsets).cast("i")
    return memoryview(data)[ends[texts.offset] : ends[texts.offset + len(texts)]]


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])
