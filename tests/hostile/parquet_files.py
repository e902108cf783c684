"""Kinds of cases that load Parquet files: every type that the loader accepts, types that it refuses, damaged bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hostile.case import Case, Site, chance
from hostile.home import in_child
from hostile.trade_files import damage, load
from hostile.trade_rows import FIRST_TIME

CODECS = ("none", "snappy", "gzip", "zstd", "lz4", "brotli")
TEXT_TYPES = (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()))
AMOUNT_TYPES = (
    pa.decimal128(18, 8),
    pa.decimal128(38, 8),
    pa.decimal128(38, 12),
    pa.decimal128(20, 10),
    pa.decimal256(76, 8),
    pa.decimal256(50, 20),
    pa.decimal64(18, 8),
    pa.string(),
    pa.large_string(),
)
WRONG_TYPES = (
    pa.float64(),
    pa.float32(),
    pa.bool_(),
    pa.binary(),
    pa.date64(),
    pa.timestamp("us"),
    pa.timestamp("ns", "UTC"),
    pa.time64("us"),
    pa.duration("s"),
    pa.null(),
    pa.int8(),
    pa.uint64(),
    pa.int64(),
    pa.string(),
    pa.decimal128(38, 0),
    pa.list_(pa.int64()),
    pa.struct([("a", pa.int64())]),
    pa.map_(pa.string(), pa.int64()),
    pa.decimal256(76, 70),
)


def valid_parquet(rng: random.Random, site: Site) -> Case:
    """Load valid rows in any of the accepted types, codecs and layouts; loading again adds nothing."""
    count = rng.randint(1, 50)
    table = _table(rng, count)
    path = site.case / rng.choice(("trades.parquet", "trades", "trades.csv"))
    options: dict[str, Any] = {
        "compression": rng.choice(CODECS),
        "version": rng.choice(("1.0", "2.4", "2.6")),
        "data_page_version": rng.choice(("1.0", "2.0")),
        "row_group_size": rng.choice((1, 7, 10_000)),
        "use_dictionary": chance(rng, 0.5),
        "store_schema": chance(rng, 0.5),
    }
    in_child(lambda: pq.write_table(table, path, **options))
    again = ["--json", str(path)]
    note = "; ".join(f"{field.name} {field.type}" for field in table.schema) + f"; {options}"
    return Case("valid Parquet", [load(str(path)), load(*again)], codes=frozenset({0}), new_rows=count, note=note)


def _table(rng: random.Random, count: int) -> pa.Table:
    ids = [f"t{number}" for number in range(count)]
    price = rng.choice((Decimal("84100.5"), Decimal("0.00000001"), Decimal("9999999999.99999999")))
    amounts = [rng.choice(AMOUNT_TYPES) for _ in range(2)]
    columns = {
        "trade_id": _texts(rng, ids),
        "exchange": _texts(rng, ["acme"] * count),
        "symbol": _texts(rng, ["BTC-USD"] * count),
        "timestamp": pa.array([FIRST_TIME + number for number in range(count)], rng.choice((pa.int64(), pa.uint64()))),
        "price": _amounts([price] * count, amounts[0]),
        "quantity": _amounts([Decimal("0.25")] * count, amounts[1]),
        "side": _texts(rng, ["BUY"] * count),
    }
    if chance(rng, 0.3):
        columns["vendor_data"] = pa.array([[("a", "1"), ("b", None)]] * count, pa.map_(pa.string(), pa.string()))
    if chance(rng, 0.3):
        columns["trade_conditions"] = pa.array([["x", "y"]] * count, pa.list_(pa.string()))
    if chance(rng, 0.3):
        columns["currency"] = pa.nulls(count)
    names = list(columns)
    rng.shuffle(names)
    return pa.table({name: columns[name] for name in names})


def _texts(rng: random.Random, values: list[str]) -> pa.Array:
    kind = rng.choice(TEXT_TYPES)
    array = pa.array(values)
    return array.dictionary_encode() if pa.types.is_dictionary(kind) else array.cast(kind)


def _amounts(values: list[Decimal], kind: pa.DataType) -> pa.Array:
    return pa.array([format(value, "f") for value in values] if not pa.types.is_decimal(kind) else values, kind)


def odd_parquet(rng: random.Random, site: Site) -> Case:
    """Load Parquet files with wrong types, odd columns, odd values or damaged bytes."""
    change: Callable[[random.Random, pa.Table], pa.Table]
    note, change = rng.choice(
        (
            ("type", _with_wrong_type),
            ("column", _with_odd_column),
            ("empty", lambda rng, table: table.slice(0, 0)),
            ("invalid UTF-8", _with_invalid_text),
            ("map keys", _with_repeated_keys),
            ("blank", _with_blanks),
            ("nulls", _with_nulls),
            ("amount", _with_large_amounts),
            ("bytes", lambda rng, table: table),
            ("bytes", lambda rng, table: table),
        )
    )
    path = site.case / "trades.parquet"

    def write() -> None:
        pq.write_table(change(rng, _table(rng, 20)), path, compression=rng.choice(CODECS))

    # In a child, because Arrow starts threads. The state of `rng` stays as it was: the case does not use it afterwards.
    options = rng.choice(([], ["--skip-refused"], ["--format", "kraken", "--symbol", "X"]))
    damage_seed = rng.random()
    in_child(write)
    if note == "bytes":
        path.write_bytes(damage(random.Random(damage_seed), path.read_bytes()))
    return Case("odd Parquet", [load(*options, str(path))], note=note)


def _with_wrong_type(rng: random.Random, table: pa.Table) -> pa.Table:
    name = rng.choice(table.column_names)
    index = table.column_names.index(name)
    kind = rng.choice(WRONG_TYPES)
    try:
        column = pa.nulls(len(table), kind) if chance(rng, 0.3) else table.column(index).cast(kind)
    except (pa.ArrowException, NotImplementedError):
        column = pa.nulls(len(table), kind)
    return table.set_column(index, name, column)


def _with_odd_column(rng: random.Random, table: pa.Table) -> pa.Table:
    name = rng.choice(
        ("line", "problem", "", "\x1b[31m", "x" * 10_000, 'a"b', "price", "Price", "PRICE ", "a.b", "\u20ac")
    )
    return table.append_column(name, table.column(0))


def _with_invalid_text(rng: random.Random, table: pa.Table) -> pa.Table:
    name = rng.choice(("symbol", "trade_id", "exchange", "side"))
    value = rng.choice((b"\xff\xfe", b"\xed\xa0\x80", b"a\x00b", b"\xc3", b"\x1b[31m"))
    texts = pa.array([value] * len(table), pa.binary())
    return table.set_column(
        table.column_names.index(name), name, pa.StringArray.from_buffers(len(texts), *texts.buffers()[1:])
    )


def _with_repeated_keys(rng: random.Random, table: pa.Table) -> pa.Table:
    if "vendor_data" in table.column_names:
        table = table.drop_columns(["vendor_data"])
    entries = rng.choice(([("a", "1"), ("a", "2")], [("", None)], [(f"k{n}", "v") for n in range(5000)]))
    return table.append_column("vendor_data", pa.array([entries] * len(table), pa.map_(pa.string(), pa.string())))


def _with_blanks(rng: random.Random, table: pa.Table) -> pa.Table:
    name = rng.choice(("symbol", "exchange", "trade_id"))
    text = rng.choice(("", " ", "  BTC-USD ", "\t", "\u00a0", "\n", "a\nb", "\u200b"))
    return table.set_column(table.column_names.index(name), name, pa.array([text] * len(table)))


def _with_nulls(rng: random.Random, table: pa.Table) -> pa.Table:
    name = rng.choice(table.column_names)
    index = table.column_names.index(name)
    return table.set_column(index, name, pa.nulls(len(table), table.schema.field(index).type))


def _with_large_amounts(rng: random.Random, table: pa.Table) -> pa.Table:
    name = rng.choice(("price", "quantity"))
    value, kind = rng.choice(
        (
            (Decimal(10) ** 60, pa.decimal256(76, 8)),
            (Decimal(10) ** 29, pa.decimal128(38, 8)),
            (Decimal("1e-30"), pa.decimal256(76, 40)),
            (Decimal(-1), pa.decimal128(18, 8)),
            (Decimal(0), pa.decimal256(76, 76)),
            (Decimal("10000000000"), pa.decimal128(38, 8)),
            (Decimal("0.000000001"), pa.decimal128(38, 9)),
        )
    )
    return table.set_column(table.column_names.index(name), name, pa.array([value] * len(table), kind))
