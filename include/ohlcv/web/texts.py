"""Texts of candle columns, computed by column: exact decimals, ISO times in UTC, JSON strings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SECOND = 1_000_000
DAY = 86_400 * SECOND
EPOCH_DATE = date(1970, 1, 1)
_Bytes = np.ndarray[Any, np.dtype[np.bytes_]]


def column_texts(column: pa.Array) -> pa.Array:
    """Return the values of a column as text. Nulls stay null."""
    if pa.types.is_decimal(column.type):
        return decimal_texts(column)
    if pa.types.is_timestamp(column.type):
        return time_texts(column)
    if pa.types.is_date(column.type):
        return _by_distinct_value(column, lambda day: day.isoformat())
    return column.cast(pa.string())


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column contains texts. Iceberg tables are read with large strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def decimal_texts(column: pa.Array) -> pa.Array:
    """Return decimals with all their decimal places and without an exponent."""
    texts = column.cast(pa.string())
    # Arrow writes 0.00000001 as 1E-8. Its decimal places are those of 1.00000001.
    has_exponent = pc.fill_null(pc.match_substring(texts, "E"), False)
    if not pc.any(has_exponent).as_py():
        return texts
    scale = column.type.scale
    small = column.filter(has_exponent).cast(pa.decimal128(scale + 1, scale))
    zero, one = (pa.scalar(Decimal(number)).cast(small.type) for number in (0, 1))
    signs = pc.if_else(pc.less(small, zero), "-", "")
    digits = pc.utf8_slice_codeunits(pc.add(pc.abs(small), one).cast(pa.string()), 1)
    return pc.replace_with_mask(texts, has_exponent, pc.binary_join_element_wise(signs, "0", digits, ""))


def number_texts(column: pa.Array) -> pa.Array:
    """Return decimals as the shortest exact JSON numbers, nulls as null."""
    return pc.fill_null(pc.ascii_rtrim(pc.ascii_rtrim(decimal_texts(column), "0"), "."), "null")


def time_texts(column: pa.Array) -> pa.Array:
    """Return times as ISO texts in UTC, with microseconds only if they are not zero."""
    micros = _microseconds(column)
    days, day_numbers = np.unique(micros // DAY, return_inverse=True)
    dates = np.array([(EPOCH_DATE + timedelta(days=int(number))).isoformat() for number in days], "S10")
    parts = [dates[day_numbers], _times_of_day()[micros % DAY // SECOND]]
    texts = _joined(*parts, b"Z")
    fractions = micros % SECOND
    if fractions.any():
        digits = _three_digits()
        longer = _joined(*parts, b".", digits[fractions // 1000], digits[fractions % 1000], b"Z")
        texts = pc.if_else(pa.array(fractions == 0), texts, longer)
    return pc.if_else(column.is_valid(), texts, None) if column.null_count else texts


def json_strings(texts: pa.Array) -> pa.Array:
    """Return texts as JSON strings, escaped by json.dumps."""
    return _by_distinct_value(texts, json.dumps)


def csv_fields(texts: pa.Array) -> pa.Array:
    """Return texts as fields of CSV (RFC 4180)."""
    return _by_distinct_value(texts, _csv_field)


def seconds(column: pa.Array) -> pa.Array:
    """Return times as whole seconds since the epoch."""
    return pa.array(_microseconds(column) // SECOND)


def milliseconds(column: pa.Array) -> pa.Array:
    """Return times as whole milliseconds since the epoch."""
    return pa.array(_microseconds(column) // 1000)


def _by_distinct_value(column: pa.Array, convert: Callable[[Any], str]) -> pa.Array:
    encoded = column.dictionary_encode()
    texts = pa.array([convert(value.as_py()) for value in encoded.dictionary], pa.string())
    return texts.take(encoded.indices)


def _microseconds(column: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    whole = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return pc.fill_null(whole, 0).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _csv_field(text: str) -> str:
    # An empty text is quoted: an empty field is a null.
    return '"' + text.replace('"', '""') + '"' if not text or re.search('[",\r\n]', text) else text


@cache
def _times_of_day() -> _Bytes:
    return np.array(
        [f"T{hour:02}:{minute:02}:{second:02}" for hour in range(24) for minute in range(60) for second in range(60)],
        "S9",
    )


@cache
def _three_digits() -> _Bytes:
    return np.array([f"{number:03}" for number in range(1000)], "S3")


def _joined(*parts: _Bytes | bytes) -> pa.Array:
    """Return the concatenation of texts of fixed lengths. Much faster than the functions of Arrow."""
    arrays = [np.asarray(part) for part in parts]
    texts = np.empty(len(arrays[0]), [(str(number), array.dtype) for number, array in enumerate(arrays)])
    for number, array in enumerate(arrays):
        texts[str(number)] = array
    ends = np.arange(len(texts) + 1, dtype=np.int32) * texts.dtype.itemsize
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(texts))
