"""JSON, CSV and number texts, compared with those of the standard library."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ohlcv.model.intervals import iso
from ohlcv.web.encoding import csv_lines, json_list, json_objects, json_rows, json_texts
from ohlcv.web.texts import decimal_texts, number_texts, time_texts
from support.candle_rows import MINUTE, candle
from support.memory_candles import SCHEMA, TIME

ODD_SYMBOLS = [
    'a"b',
    "back\\slash",
    "line\nbreak",
    "\x00",
    "ü€😀",
    "\u2028",
    "</script>",
    "=1+1",
    "a,b",
    "",
    " x ",
    "null",
]
SMALL = ["0", "0.00000001", "0.00000099", "0.000001", "0.1", "1", "84100.5", "9999999999.99999999"]


def text(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return iso(value)
    return value.isoformat() if isinstance(value, date) else value


def odd_table() -> pa.Table:
    rows = [candle(MINUTE, "2026-03-01", symbol=symbol, exchange=symbol[::-1]) for symbol in ODD_SYMBOLS]
    rows += [
        {**candle(MINUTE, "2026-03-01"), **dict.fromkeys(("volume", "vwap", "close_price"), Decimal(number))}
        for number in SMALL
    ]
    rows += [
        {**rows[0], "vwap": None, "created_at": None, "updated_at": None},
        {**rows[0], "window_start": datetime(1, 1, 1, tzinfo=UTC), "window_date": date(1, 1, 1)},
        {**rows[0], "window_start": datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), "window_date": date.max},
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def large_texts(table: pa.Table) -> pa.Table:
    """Return the table as it is read from Iceberg."""
    return table.cast(
        pa.schema([(each.name, pa.large_string() if each.type == pa.string() else each.type) for each in SCHEMA])
    )


@pytest.mark.parametrize("chunks", [1, 3], ids="{} rows per chunk".format)
def test_objects_equal_those_of_json_dumps(chunks: int) -> None:
    table = odd_table()
    table = pa.concat_tables([table.slice(start, chunks) for start in range(0, len(table), chunks)])
    expected = [{name: text(value) for name, value in row.items()} for row in table.to_pylist()]
    assert json_objects(table).decode() == json.dumps(expected, separators=(",", ":"))
    assert json_objects(large_texts(table)) == json_objects(table)


def test_a_part_of_a_table_is_encoded_alone() -> None:
    table = odd_table().slice(3, 2)
    assert [row["symbol"] for row in json.loads(json_objects(table))] == ODD_SYMBOLS[3:5]
    assert json_objects(table.slice(0, 0)) == b"[]"


def test_a_widened_volume_has_all_digits() -> None:
    wide = pa.decimal128(38, 8)
    values = [Decimal("123456789012345678901234567890.12345678"), Decimal("0.00000001"), Decimal(0), None]
    table = pa.table({"volume": pa.array(values, wide)})
    assert [row["volume"] for row in json.loads(json_objects(table))] == [
        None if value is None else f"{value:.8f}" for value in values
    ]


def test_a_quote_volume_has_all_digits() -> None:
    texts = ["1234567890123456789012.1234567890123456", "0.0000001234567890", "0.0000000000000001", f"{0:.16f}"]
    column = pa.array([*map(Decimal, texts), None], pa.decimal128(38, 16))
    assert json_texts(column).to_pylist() == [*(f'"{text}"' for text in texts), "null"]


def test_csv_equals_that_of_the_csv_module() -> None:
    table = odd_table()
    for batch in [*table.to_batches(), *large_texts(table).to_batches()]:
        lines = csv_lines(batch).decode()
        expected = [[text(value) for value in row.values()] for row in table.to_pylist()]
        assert list(csv.reader(io.StringIO(lines, newline=""))) == [
            ["" if value is None else str(value) for value in row] for row in expected
        ]


@pytest.mark.parametrize("number", [*SMALL, "-0.00000001", "-1.5"])
def test_numbers_are_exact_and_have_no_exponent(number: str) -> None:
    column = pa.array([Decimal(number)], pa.decimal128(18, 8))
    assert decimal_texts(column).to_pylist() == [f"{Decimal(number):.8f}"]
    shortest = number_texts(column)[0].as_py()
    assert Decimal(shortest) == Decimal(number)
    assert json.loads(shortest, parse_float=str, parse_int=str) == shortest


@pytest.mark.parametrize("step", [timedelta(0), timedelta(hours=7), timedelta(microseconds=1), timedelta(seconds=0.5)])
def test_times_equal_those_of_the_command_line(step: timedelta) -> None:
    begin = datetime(1969, 12, 31, 23, 59, 58, tzinfo=UTC)
    times = [begin + number * step for number in range(40)] + [None]
    assert time_texts(pa.array(times, TIME)).to_pylist() == [time and iso(time) for time in times]


def test_lists_and_rows_contain_numbers() -> None:
    columns = [pa.array(["1", "2"]), pa.array(["0.5", "100"])]
    assert json_rows(columns) == b"[[1,0.5],[2,100]]"
    assert json_rows([column.slice(0, 0) for column in columns]) == b"[]"
    assert json_list(columns[1].slice(1)) == b"[100]"
