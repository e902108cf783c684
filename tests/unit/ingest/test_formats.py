"""Trade file formats: generic headers, the dumps of Binance and Kraken, and Parquet."""

from __future__ import annotations

import gzip
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ohlcv.config.settings import Settings
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.ingest.loader import load_trades
from ohlcv.model.errors import InputError
from support.trade_files import HEADER, NOON, refusals, stored_trades, write_generic, write_lines


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER.replace("price", "prices"), "unknown column 'prices': did you mean price?"),
        (HEADER.replace(",price", ""), "has no column price"),
        (HEADER.replace(",trade_id", ""), "has no column trade_id or message_id"),
        (HEADER.replace("exchange,", ""), "has no column exchange: give --exchange"),
        (HEADER.replace("symbol,", ""), "has no column symbol: give --symbol"),
        (f"{HEADER},price", "has the column 'price' twice"),
    ],
)
def test_an_invalid_header_is_an_input_error(settings: Settings, tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(InputError, match=".*".join(message.split("'"))):
        load_trades(settings, [write_generic(tmp_path, header=header)])


def write_compressed(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inside.csv", text)
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "zip"])
@pytest.mark.parametrize("header", ["", "id,price,qty,quoteQty,time,isBuyerMaker,isBestMatch\n"])
def test_a_binance_dump_is_loaded_with_and_without_header(
    settings: Settings, tmp_path: Path, suffix: str, header: str
) -> None:
    rows = f"7,1.5,2.00000000,3,{NOON // 1000},True,True\n8,1.6,2.0,3,{NOON + 1},False,True\n"
    load_trades(
        settings, [write_compressed(tmp_path / f"t.{suffix}", header + rows)], format="binance", symbol="BTC-USDT"
    )
    assert [
        (r["trade_id"], r["timestamp"], r["side"], r["exchange"], r["currency"]) for r in stored_trades(settings)
    ] == [
        ("7", NOON, "SELL", "binance", "USDT"),
        ("8", NOON + 1, "BUY", "binance", "USDT"),
    ]


def test_a_binance_futures_header_has_no_best_match_column(settings: Settings, tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "f.csv", "id,price,qty,quote_qty,time,is_buyer_maker", f"7,1.5,2,3,{NOON // 1000},true"
    )
    load_trades(settings, [file], format="binance", symbol="BTC-USDT", exchange="binance-futures")
    assert [(row["exchange"], row["side"]) for row in stored_trades(settings)] == [("binance-futures", "SELL")]


def test_invalid_binance_rows_are_refused(settings: Settings, tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "b.csv",
        f"1,1,1,1,{NOON},maybe,True",
        f",1,1,1,{NOON},True,True",
        "3,1,1,1,1769860800,True,True",
        "4,1,1,1,noon,True,True",
    )
    report = load_trades(settings, [file], format="binance", symbol="BTC-USDT")
    assert refusals(report) == [
        (1, "isBuyerMaker maybe is not True or False"),
        (2, "id is empty"),
        (
            3,
            "timestamp 1769860800 is outside 2009 to 2100: expected a whole number of milliseconds or microseconds",
        ),
        (4, "timestamp noon is not a whole number of milliseconds or microseconds"),
    ]
    with pytest.raises(InputError, match="has 3 columns: a binance trade file has 6 or 7"):
        load_trades(settings, [write_lines(tmp_path / "c.csv", "1,2,3")], format="binance", symbol="BTC-USDT")


def test_kraken_rows_with_equal_timestamps_are_numbered(settings: Settings, tmp_path: Path) -> None:
    second = NOON // 10**6
    rows = [f"{second},1,1", f"{second}.25,1,1", f"{second},1,1", f"{second},2,1", f"{second}.000001,5,1"]
    load_trades(settings, [write_lines(tmp_path / "k.csv", *rows)], format="kraken", symbol="XBT/USD")
    assert sorted((r["timestamp"] - NOON, r["source_sequence"], r["price"]) for r in stored_trades(settings)) == [
        (0, 1, 1),
        (0, 2, 1),
        (0, 3, 2),
        (1, 1, 5),
        (250_000, 1, 1),
    ]
    assert {(r["trade_id"], r["side"], r["exchange"], r["currency"]) for r in stored_trades(settings)} == {
        (None, None, "kraken", "USD")
    }
    # The edges of the file, between which its times are complete.
    edges = {row["timestamp"] - NOON: row["vendor_data"] for row in stored_trades(settings)}
    assert edges == {0: [("file_edge", "first")], 1: None, 250_000: [("file_edge", "last")]}


def test_kraken_numbering_continues_across_chunks(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ohlcv.ingest.file_readers.BLOCK_BYTES", 64)
    rows = [f"{NOON // 10**6 + number // 50},1,1" for number in range(100)]
    load_trades(settings, [write_lines(tmp_path / "k.csv", *rows)], format="kraken", symbol="XBT/USD")
    expected = sorted([*range(1, 51), *range(1, 51)])
    assert sorted(row["source_sequence"] for row in stored_trades(settings)) == expected


@pytest.mark.parametrize("time", ["1e9", "-5", "abc1", "1769860800.12x", "17698608000"])
def test_invalid_kraken_timestamps_are_refused(settings: Settings, tmp_path: Path, time: str) -> None:
    file = write_lines(tmp_path / "k.csv", f"{NOON // 10**6},1,1", f"{time},1,1")
    report = load_trades(settings, [file], format="kraken", symbol="XBT/USD")
    [(line, reason)] = refusals(report)
    assert line == 2
    assert reason.startswith(f"timestamp {time} ")


@pytest.mark.parametrize("name", ["binance", "kraken"])
def test_a_dump_without_a_symbol_option_is_an_input_error(settings: Settings, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="give --symbol"):
        load_trades(settings, [write_lines(tmp_path / "k.csv", "1,1,1")], format=name)


def parquet_row(**changes: Any) -> pa.Table:
    row: dict[str, Any] = {
        "message_id": "m1",
        "symbol": "BTC-USD",
        "exchange": "x",
        "timestamp": NOON,
        "price": Decimal("0.00000001"),
        "quantity": Decimal(2),
        "trade_conditions": ["a"],
        "vendor_data": [("k", "v")],
        "exchange_hour": 12,
    } | changes
    return pa.Table.from_pylist([row], schema=pa.schema([TRADE_SCHEMA.field(name) for name in row]))


def test_parquet_values_are_stored_unchanged(settings: Settings, tmp_path: Path) -> None:
    pq.write_table(parquet_row(), tmp_path / "t.parquet")
    load_trades(settings, [tmp_path / "t.parquet"])
    [row] = stored_trades(settings)
    assert (row["message_id"], row["price"], row["quantity"]) == ("m1", Decimal("0.00000001"), Decimal(2))
    assert (row["trade_conditions"], row["vendor_data"]) == (["a"], [("k", "v")])


def test_unsupported_parquet_types_are_an_input_error(settings: Settings, tmp_path: Path) -> None:
    for name, kind, message in [
        ("price", pa.float64(), "column price is double: decimal"),
        ("timestamp", pa.timestamp("us"), "column timestamp is timestamp.us.: an integer is required: microseconds"),
        ("vendor_data", pa.string(), "a map of text to text is required"),
        ("trade_conditions", pa.string(), "a list of text is required"),
        ("symbol", pa.int64(), "text is required"),
    ]:
        table = parquet_row()
        table = table.set_column(table.column_names.index(name), name, pa.nulls(1, kind))
        pq.write_table(table, tmp_path / "t.parquet")
        with pytest.raises(InputError, match=message):
            load_trades(settings, [tmp_path / "t.parquet"])


def write_rows(path: Path, **columns: pa.Array) -> Path:
    """Write a Parquet file of valid rows whose columns are replaced by the given ones."""
    count = len(next(iter(columns.values())))
    table = pa.concat_tables([parquet_row(message_id=str(number)) for number in range(count)])
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table, path)
    return path


def test_parquet_decimals_with_more_digits_are_validated_like_text(settings: Settings, tmp_path: Path) -> None:
    for kind, valid, invalid, reason in [
        (pa.decimal128(38, 18), "1.5", "0.000000001", "has more than 8 decimals"),
        (pa.decimal256(76, 66), "9999999999.99999999", "0.0000000000000001", "has more than 8 decimals"),
        (pa.decimal256(76, 0), "15", "1" + "0" * 60, "has more than 10 digits before the decimal point"),
    ]:
        price, symbol = pa.array([Decimal(valid), Decimal(invalid)], kind), pa.array([str(kind)] * 2)
        file = write_rows(tmp_path / "t.parquet", price=price, symbol=symbol)
        report = load_trades(settings, [file], skip_refused=True)
        [(line, found)] = refusals(report)
        assert (line, found.endswith(reason)) == (2, True)
        assert [row["price"] for row in stored_trades(settings) if row["symbol"] == str(kind)] == [Decimal(valid)]


def test_invalid_text_in_parquet_is_an_input_error(settings: Settings, tmp_path: Path) -> None:
    text, one_each = pa.array(["x"]), pa.array([0, 1], pa.int32())
    invalid = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
    for name, values in [
        ("symbol", invalid),
        ("trade_conditions", pa.ListArray.from_arrays(one_each, invalid)),
        ("vendor_data", pa.MapArray.from_arrays(one_each, invalid, text)),
        ("vendor_data", pa.MapArray.from_arrays(one_each, text, invalid)),
    ]:
        with pytest.raises(InputError, match=f"t.parquet: column {name} contains text that is not UTF-8$"):
            load_trades(settings, [write_rows(tmp_path / "t.parquet", **{name: values})])


def test_duplicate_keys_in_a_parquet_map_are_refused(settings: Settings, tmp_path: Path) -> None:
    maps = [[("a", "1")], None, [("a", "1"), ("b", "1"), ("a", "2")], [], [("a", "1"), ("b", None)]]
    values = pa.array(maps, pa.map_(pa.string(), pa.string()))
    report = load_trades(settings, [write_rows(tmp_path / "t.parquet", vendor_data=values)], skip_refused=True)
    assert refusals(report) == [(3, "vendor_data has the key 'a' twice")]
    assert [row["vendor_data"] for row in stored_trades(settings)] == [maps[0], None, [], maps[4]]
