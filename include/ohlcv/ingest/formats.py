"""Trade file formats: the columns a file may have, their types, and how they map to the trades table."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ohlcv.ingest.file_readers import PROBLEM
from ohlcv.model.errors import InputError
from ohlcv.model.table_contracts import TRADE_COLUMNS

_ARROW_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "long": pa.int64(),
    "int": pa.int32(),
    "date": pa.date32(),
    "decimal(18, 8)": pa.decimal128(18, 8),
    "list<string>": pa.list_(pa.string()),
    "map<string, string>": pa.map_(pa.string(), pa.string()),
}
# The columns of the trades table as Arrow types.
TRADE_SCHEMA = pa.schema([(column.name, _ARROW_TYPES[column.type]) for column in TRADE_COLUMNS])
NESTED = ("trade_conditions", "vendor_data")


@dataclass(frozen=True)
class TradeFormat:
    """The columns of one source's trade files, and the SQL that maps them to the trades table."""

    name: str
    # Number of columns -> column names of a file without a header; empty where a header is required.
    headerless_columns: Mapping[int, tuple[str, ...]]
    # Header name (in lower case, without underscores) -> column name.
    header_names: Mapping[str, str]
    required: tuple[str, ...]
    time_unit: str
    # Column of the trades table -> SQL over the columns of the file.
    expressions: Mapping[str, str]
    # SQL of the reason why a row is refused, NULL where there is none.
    problem: str = "NULL"
    exchange: str | None = None
    # Rows without a trade id are compared with stored trades by content (content_matching).
    has_ids: bool = True


_TRADE_COLUMNS = {column.name: column.name for column in TRADE_COLUMNS}
GENERIC = TradeFormat(
    name="generic",
    headerless_columns={},
    header_names=_TRADE_COLUMNS,
    required=("timestamp", "price", "quantity"),
    time_unit="a whole number of microseconds",
    expressions={},
)

_BINANCE_COLUMNS = ("id", "price", "qty", "quoteqty", "time", "isbuyermaker", "isbestmatch")
_BUYER_IS_MAKER = "lower(isbuyermaker)"
BINANCE = TradeFormat(
    name="binance",
    headerless_columns={6: _BINANCE_COLUMNS[:6], 7: _BINANCE_COLUMNS},
    header_names={name: name for name in _BINANCE_COLUMNS},
    required=("id", "price", "qty", "time", "isbuyermaker"),
    time_unit="a whole number of milliseconds or microseconds",
    expressions={
        "trade_id": "id",
        "quantity": "qty",
        # The dumps changed from milliseconds to microseconds in 2025. The value ranges of the two do not overlap.
        "timestamp": "CASE WHEN TRY_CAST(time AS BIGINT) < 100000000000000 THEN time || '000' ELSE time END",
        "raw_timestamp": "time",
        # The side is that of the taker: where the buyer is the maker, the taker sold.
        "side": f"CASE {_BUYER_IS_MAKER} WHEN 'true' THEN 'SELL' WHEN 'false' THEN 'BUY' END",
    },
    problem=(
        f"CASE WHEN id IS NULL THEN 'id is empty' WHEN {_BUYER_IS_MAKER} IN ('true', 'false') THEN NULL "
        "ELSE 'isBuyerMaker ' || coalesce(left(isbuyermaker, 40), '') || ' is not True or False' END"
    ),
    exchange="binance",
)

_IS_SECONDS = r"regexp_full_match(timestamp, '[0-9]{1,12}([.][0-9]*)?')"
KRAKEN = TradeFormat(
    name="kraken",
    headerless_columns={3: ("timestamp", "price", "volume")},
    header_names={"timestamp": "timestamp", "time": "timestamp", "price": "price", "volume": "volume"},
    required=("timestamp", "price", "volume"),
    time_unit="a number of seconds",
    expressions={
        "quantity": "volume",
        # Digits below a microsecond are cut: the table stores microseconds, and no trade moves to another window.
        "timestamp": f"CASE WHEN {_IS_SECONDS} THEN ltrim(split_part(timestamp, '.', 1), '0') || "
        "rpad(left(split_part(timestamp, '.', 2), 6), 6, '0') ELSE timestamp END",
        "raw_timestamp": "timestamp",
    },
    problem=(
        f"CASE WHEN NOT {_IS_SECONDS} THEN 'timestamp ' || left(timestamp, 40) || ' is not a number of seconds' END"
    ),
    exchange="kraken",
    has_ids=False,
)

FORMATS = {each.name: each for each in (GENERIC, BINANCE, KRAKEN)}


def find_format(name: str) -> TradeFormat:
    """Return the format with a name."""
    try:
        return FORMATS[name]
    except KeyError:
        raise InputError(f"unknown format '{name}': choose one of {', '.join(FORMATS)}") from None


def csv_columns(source_format: TradeFormat, path: Path, first_row: list[str]) -> tuple[list[str], bool]:
    """Return the column names of a CSV file, and whether its first row is a header."""
    first = first_row[0].strip()
    if source_format.headerless_columns and (first[:1].isdigit() or first == ""):
        if len(first_row) not in source_format.headerless_columns:
            expected = " or ".join(str(count) for count in source_format.headerless_columns)
            raise InputError(f"{path} has {len(first_row)} columns: a {source_format.name} trade file has {expected}")
        return list(source_format.headerless_columns[len(first_row)]), False
    names = []
    for field in first_row:
        name = field.strip().lower()
        key = name if source_format is GENERIC else name.replace("_", "")
        name = source_format.header_names.get(key, "")
        if not name:
            raise _unknown_column(source_format, path, field.strip())
        names.append(name)
    check_columns(source_format, path, names)
    return names, True


def check_columns(source_format: TradeFormat, path: Path, names: list[str]) -> None:
    """Raise an error if a file has unknown, duplicate or missing columns."""
    for name in names:
        if name not in source_format.header_names.values():
            raise _unknown_column(source_format, path, name)
        if names.count(name) > 1:
            raise InputError(f"{path} has the column '{name}' twice")
    if missing := [name for name in source_format.required if name not in names]:
        raise InputError(f"{path} has no column {', '.join(missing)}")
    if source_format is GENERIC and not {"trade_id", "message_id"} & set(names):
        raise InputError(f"{path} has no column trade_id or message_id")


def _unknown_column(source_format: TradeFormat, path: Path, name: str) -> InputError:
    known = list(dict.fromkeys(source_format.header_names.values()))
    similar = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {similar[0]}?" if similar else f"a {source_format.name} header has {', '.join(known)}"
    return InputError(f"{path} has an unknown column '{name[:60]}': {hint}")


def check_parquet_types(path: Path, schema: pa.Schema) -> None:
    """Raise an error if a column type of a Parquet file could lose or change a value."""
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        target = TRADE_SCHEMA.field(field.name).type
        if pa.types.is_null(kind):
            fits, rule = True, ""
        elif pa.types.is_decimal(target):
            fits, rule = is_text or pa.types.is_decimal(kind), "decimal or text is required, so that no digit is lost"
        elif pa.types.is_integer(target):
            fits, rule = pa.types.is_integer(kind), "an integer is required"
            if field.name == "timestamp":
                rule += ": microseconds since 1970, UTC"
        elif pa.types.is_date(target):
            fits, rule = is_text or pa.types.is_date32(kind), "a date is required"
        elif pa.types.is_list(target):
            fits, rule = _is_text_list(kind), "a list of text is required"
        elif pa.types.is_map(target):
            fits, rule = (
                pa.types.is_map(kind) and kind.key_type == kind.item_type == pa.string(),
                ("a map of text to text is required"),
            )
        else:
            fits, rule = is_text, "text is required"
        if not fits:
            raise InputError(f"{path}: column {field.name} is {field.type}: {rule}")


def _is_text_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind)) and kind.value_type == pa.string()


def prepare_for_duckdb(path: Path, chunk: pa.Table) -> pa.Table:
    """Return a Parquet chunk with types and values that DuckDB reads, without loss.

    Raise an error if the file contains invalid text. A row with a duplicate key gets a problem text.
    """
    for index, field in enumerate(chunk.schema):
        column = chunk.column(index)
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            reason = "text that is not UTF-8" if "UTF8" in str(error) else "a damaged value"
            raise InputError(f"{path}: column {field.name} contains {reason}") from None
        if pa.types.is_string_view(field.type):
            chunk = chunk.set_column(index, field.name, column.cast(pa.large_string()))
        elif pa.types.is_decimal(field.type) and field.type.bit_width != 128:
            # DuckDB has no decimals of more than 38 digits. As text, the value is validated like one of a CSV file.
            texts = [None if value is None else f"{value:f}" for value in column.to_pylist()]
            chunk = chunk.set_column(index, field.name, pa.array(texts, pa.string()))
    return _refuse_duplicate_keys(chunk) if "vendor_data" in chunk.column_names else chunk


def _refuse_duplicate_keys(chunk: pa.Table) -> pa.Table:
    index = chunk.column_names.index("vendor_data")
    if not pa.types.is_map(chunk.schema.field(index).type):
        return chunk
    pairs = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
    entries = chunk["vendor_data"].cast(pairs).combine_chunks()
    rows_and_keys = pa.table({"row": pc.list_parent_indices(entries), "key": pc.struct_field(entries.flatten(), "key")})
    counts = rows_and_keys.group_by(["row", "key"], use_threads=False).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if not len(repeated):
        return chunk
    problems, maps = chunk[PROBLEM].to_pylist(), chunk["vendor_data"].to_pylist()
    for row, key in zip(repeated["row"].to_pylist(), repeated["key"].to_pylist(), strict=True):
        problems[row] = problems[row] or _duplicate_key_reason("vendor_data", key)
        maps[row] = None
    chunk = chunk.set_column(index, "vendor_data", pa.array(maps, TRADE_SCHEMA.field("vendor_data").type))
    return chunk.set_column(chunk.column_names.index(PROBLEM), PROBLEM, pa.array(problems, pa.string()))


def trim_text(chunk: pa.Table) -> pa.Table:
    """Remove white space around the values of all text columns."""
    for index, field in enumerate(chunk.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            chunk = chunk.set_column(index, field.name, pc.utf8_trim_whitespace(chunk.column(index)))
    return chunk


def parse_json_columns(chunk: pa.Table) -> pa.Table:
    """Parse the JSON texts in the columns trade_conditions and vendor_data of a CSV chunk."""
    problems = chunk[PROBLEM].to_pylist()
    for name in NESTED:
        if name not in chunk.column_names:
            continue
        values: list[object] = []
        for row, text in enumerate(chunk[name].to_pylist()):
            try:
                values.append(_parse_json(name, text) if text else None)
            except ValueError as error:
                values.append(None)
                problems[row] = problems[row] or str(error)
        index = chunk.column_names.index(name)
        chunk = chunk.set_column(index, name, pa.array(values, TRADE_SCHEMA.field(name).type))
    return chunk.set_column(chunk.column_names.index(PROBLEM), PROBLEM, pa.array(problems, pa.string()))


def _parse_json(name: str, text: str) -> list[str] | list[tuple[str, str | None]]:
    try:
        # Numbers stay text: no value becomes a float.
        value = json.loads(
            text, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_object_of_unique_keys
        )
        json.dumps(value, ensure_ascii=False).encode()
    except _DuplicateKeyError as error:
        raise ValueError(_duplicate_key_reason(name, str(error))) from None
    except UnicodeEncodeError:
        raise ValueError(f"{name} contains half of a surrogate pair, which is not a character") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{name} is not JSON") from None
    if name == "trade_conditions":
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"{name} is not a JSON list of text")
        return value
    if not isinstance(value, dict) or not all(item is None or isinstance(item, str) for item in value.values()):
        raise ValueError(f"{name} is not a JSON object of text")
    return list(value.items())


class _DuplicateKeyError(Exception):
    """A JSON object has a key twice; the message is the key."""


def _object_of_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _DuplicateKeyError(key)
        found[key] = value
    return found


def _duplicate_key_reason(name: str, key: str) -> str:
    return f"{name} has the key '{key[:40].encode(errors='replace').decode()}' twice"
