"""The formats trades arrive in: which columns a file may have, of which types, and which of the contract's they are."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ohlcv.ingest.file_readers import PROBLEM
from ohlcv.model.errors import InputError
from ohlcv.model.table_contracts import TRADE_COLUMNS, TRADES

_ARROW_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "long": pa.int64(),
    "int": pa.int32(),
    "date": pa.date32(),
    "decimal(18, 8)": pa.decimal128(18, 8),
    "list<string>": pa.list_(pa.string()),
    "map<string, string>": pa.map_(pa.string(), pa.string()),
}
# The contract's columns as Arrow has them.
TRADE_SCHEMA = pa.schema([(column.name, _ARROW_TYPES[column.type]) for column in TRADE_COLUMNS])
NESTED = ("trade_conditions", "vendor_data")


@dataclass(frozen=True)
class TradeFormat:
    """How one source writes its trades, and how its columns become the contract's."""

    name: str
    # The columns of a file without a header, by how many there are; none where a header must be.
    headless: Mapping[int, tuple[str, ...]]
    # How a header may name them, spelt in lower case and without underscores.
    header_names: Mapping[str, str]
    required: tuple[str, ...]
    time_unit: str
    # Contract columns as SQL over the file's columns.
    mapped: Mapping[str, str]
    problem: str = "NULL"
    exchange: str | None = None
    # Rows have no trade id; what tells trades of the same time apart is their order.
    numbers_ties: bool = False


_CONTRACT = {name: name for name in TRADES.column_names}
GENERIC = TradeFormat(
    name="generic",
    headless={},
    header_names=_CONTRACT,
    required=("timestamp", "price", "quantity"),
    time_unit="a whole number of microseconds",
    mapped={},
)

_BINANCE = ("id", "price", "qty", "quoteqty", "time", "isbuyermaker", "isbestmatch")
_MAKER = "lower(isbuyermaker)"
BINANCE = TradeFormat(
    name="binance",
    headless={6: _BINANCE[:6], 7: _BINANCE},
    header_names={name: name for name in _BINANCE},
    required=("id", "price", "qty", "time", "isbuyermaker"),
    time_unit="a whole number of milliseconds or microseconds",
    mapped={
        "trade_id": "id",
        "quantity": "qty",
        # The dumps went from milliseconds to microseconds in 2025; no time of either reads as one of the other.
        "timestamp": "CASE WHEN TRY_CAST(time AS BIGINT) < 100000000000000 THEN time || '000' ELSE time END",
        "given_time": "time",
        # The maker was there first: where the buyer was, the seller came and hit the bid.
        "side": f"CASE {_MAKER} WHEN 'true' THEN 'SELL' WHEN 'false' THEN 'BUY' END",
    },
    problem=(
        f"CASE WHEN id IS NULL THEN 'id is empty' WHEN {_MAKER} IN ('true', 'false') THEN NULL "
        "ELSE 'isBuyerMaker ' || coalesce(left(isbuyermaker, 40), '') || ' is neither True nor False' END"
    ),
    exchange="binance",
)

_SECONDS = r"regexp_full_match(timestamp, '[0-9]{1,12}([.][0-9]*)?')"
KRAKEN = TradeFormat(
    name="kraken",
    headless={3: ("timestamp", "price", "volume")},
    header_names={"timestamp": "timestamp", "time": "timestamp", "price": "price", "volume": "volume"},
    required=("timestamp", "price", "volume"),
    time_unit="a number of seconds",
    mapped={
        "quantity": "volume",
        # Digits finer than a microsecond are cut: the contract has none, and a cut moves no trade to another window.
        "timestamp": f"CASE WHEN {_SECONDS} THEN ltrim(split_part(timestamp, '.', 1), '0') || "
        "rpad(left(split_part(timestamp, '.', 2), 6), 6, '0') ELSE timestamp END",
        "given_time": "timestamp",
        "source_sequence": "CAST(tie AS VARCHAR)",
    },
    problem=f"CASE WHEN NOT {_SECONDS} THEN 'timestamp ' || left(timestamp, 40) || ' is not a number of seconds' END",
    exchange="kraken",
    numbers_ties=True,
)

FORMATS = {format.name: format for format in (GENERIC, BINANCE, KRAKEN)}


def trade_format(name: str) -> TradeFormat:
    """Give the format of that name."""
    try:
        return FORMATS[name]
    except KeyError:
        raise InputError(f"unknown format '{name}': choose one of {', '.join(FORMATS)}") from None


def text_columns(of: TradeFormat, path: Path, first_row: list[str]) -> tuple[list[str], bool]:
    """Name the columns of a CSV file by its first row; the flag says that this row is a header."""
    first = first_row[0].strip()
    if of.headless and (first[:1].isdigit() or first == ""):
        if len(first_row) not in of.headless:
            wanted = " or ".join(str(count) for count in of.headless)
            raise InputError(f"{path} has {len(first_row)} columns; a {of.name} file of trades has {wanted}")
        return list(of.headless[len(first_row)]), False
    names = []
    for given in first_row:
        name = given.strip().lower()
        name = of.header_names.get(name if of.name == GENERIC.name else name.replace("_", ""), "")
        if not name:
            raise _unknown_column(of, path, given.strip())
        names.append(name)
    check_columns(of, path, names)
    return names, True


def check_columns(of: TradeFormat, path: Path, names: list[str]) -> None:
    """Refuse a file whose columns are unknown, double or too few."""
    for name in names:
        if name not in of.header_names.values():
            raise _unknown_column(of, path, name)
        if names.count(name) > 1:
            raise InputError(f"{path} has the column '{name}' twice")
    if missing := [name for name in of.required if name not in names]:
        raise InputError(f"{path} has no column {', '.join(missing)}")
    if of is GENERIC and not {"trade_id", "message_id"} & set(names):
        raise InputError(f"{path} has neither a column trade_id nor message_id")


def _unknown_column(of: TradeFormat, path: Path, name: str) -> InputError:
    known = list(dict.fromkeys(of.header_names.values()))
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"a {of.name} file has {', '.join(known)} (in a header)"
    return InputError(f"{path} has an unknown column '{name[:60]}': {hint}")


def check_parquet_types(path: Path, schema: pa.Schema) -> None:
    """Refuse a Parquet file whose types could lose or misread a value."""
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        wanted = TRADE_SCHEMA.field(field.name).type
        if pa.types.is_null(kind):
            fits, rule = True, ""
        elif pa.types.is_decimal(wanted):
            fits, rule = text or pa.types.is_decimal(kind), "decimals (or text) are required, so that no digit is lost"
        elif pa.types.is_integer(wanted):
            fits, rule = pa.types.is_integer(kind), "an integer is required"
            if field.name == "timestamp":
                rule += ": microseconds since 1970, UTC"
        elif pa.types.is_date(wanted):
            fits, rule = text or pa.types.is_date32(kind), "a date is required"
        elif pa.types.is_list(wanted):
            fits, rule = _is_list_of_text(kind), "a list of text is required"
        elif pa.types.is_map(wanted):
            fits, rule = (
                pa.types.is_map(kind) and kind.key_type == kind.item_type == pa.string(),
                ("a map of text to text is required"),
            )
        else:
            fits, rule = text, "text is required"
        if not fits:
            raise InputError(f"{path}: column {field.name} is {field.type}: {rule}")


def _is_list_of_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind)) and kind.value_type == pa.string()


def prepare_parquet(path: Path, chunk: pa.Table) -> pa.Table:
    """Bring the types DuckDB does not read to those it does, exactly."""
    try:
        return _plain_types(chunk)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} holds a value that no trade can have: {str(error).splitlines()[0]}") from None


def _plain_types(chunk: pa.Table) -> pa.Table:
    for index, field in enumerate(chunk.schema):
        if pa.types.is_dictionary(field.type):
            chunk = chunk.set_column(index, field.name, chunk.column(index).cast(field.type.value_type))
        elif pa.types.is_decimal(field.type) and (field.type.bit_width != 128 or field.type.scale < 0):
            plain = pa.decimal128(38, max(field.type.scale, 0))
            chunk = chunk.set_column(index, field.name, chunk.column(index).cast(plain))
    return chunk


def read_nested(chunk: pa.Table) -> pa.Table:
    """Read the JSON of a CSV chunk's trade_conditions and vendor_data."""
    problems = chunk[PROBLEM].to_pylist()
    for name in NESTED:
        if name not in chunk.column_names:
            continue
        values: list[object] = []
        for row, text in enumerate(chunk[name].to_pylist()):
            try:
                values.append(_from_json(name, text) if text else None)
            except ValueError as error:
                values.append(None)
                problems[row] = problems[row] or str(error)
        index = chunk.column_names.index(name)
        chunk = chunk.set_column(index, name, pa.array(values, TRADE_SCHEMA.field(name).type))
    return chunk.set_column(chunk.column_names.index(PROBLEM), PROBLEM, pa.array(problems, pa.string()))


def _from_json(name: str, text: str) -> list[str] | list[tuple[str, str | None]]:
    # Numbers stay the text they are: no float comes in by this door either.
    try:
        value = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise ValueError(f"{name} is not JSON") from None
    if name == "trade_conditions":
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"{name} is not a JSON list of text")
        return value
    if not isinstance(value, dict) or not all(item is None or isinstance(item, str) for item in value.values()):
        raise ValueError(f"{name} is not a JSON object of text")
    return list(value.items())
