"""What each format makes of a row: the contract's columns, or a reason."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.ingest.loader import LoadReport, load_trades
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import from_microseconds
from ohlcv.model.table_contracts import TRADES

NOON = 1_769_860_800_000_000  # 2026-01-31T12:00:00Z
HEADER = "exchange,symbol,timestamp,price,quantity,trade_id"


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    found = load_settings({"OHLCV_HOME": str(tmp_path / "home")})
    create_tables(found)
    return found


def stored(home: Settings) -> list[dict[str, Any]]:
    table = load_table(open_catalog(home), TRADES).scan().to_arrow()
    return table.sort_by([("timestamp", "ascending"), ("message_id", "ascending")]).to_pylist()  # type: ignore[no-any-return]


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def generic(*rows: str, header: str = HEADER) -> Callable[[Path], Path]:
    return lambda folder: write(folder / "trades.csv", header, *rows)


def reasons(report: LoadReport) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in report.refused]


def test_a_generic_row_gets_every_derived_column(home: Settings, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    report = load_trades(home, [generic(f"kraken,BTC-USD,{NOON + 1},95000.12,0.5,17")(tmp_path)])
    assert (report.rows_read, report.loaded, report.refused_count) == (1, 1, 0)
    [row] = stored(home)
    assert before - timedelta(seconds=1) <= from_microseconds(row.pop("ingestion_timestamp")) <= datetime.now(UTC)
    assert len(row.pop("message_id")) == 32
    assert row == {
        "trade_id": "17",
        "symbol": "BTC-USD",
        "exchange": "kraken",
        "asset_class": "crypto",
        "timestamp": NOON + 1,
        "price": Decimal("95000.12000000"),
        "quantity": Decimal("0.50000000"),
        "currency": "USD",
        "side": None,
        "trade_conditions": None,
        "source_sequence": None,
        "platform_sequence": None,
        "vendor_data": None,
        "exchange_date": date(2026, 1, 31),
        "exchange_hour": 12,
    }


def test_optional_columns_are_taken_as_they_are(home: Settings, tmp_path: Path) -> None:
    conditions, vendor = '"[""a"",""b""]"', '"{""fee"": 1.10, ""note"": ""x,y""}"'
    header = (
        f"{HEADER},message_id,side,source_sequence,platform_sequence,ingestion_timestamp,trade_conditions,vendor_data"
    )
    file = generic(f"x,BTC/EUR,{NOON},1,1,,m1,buy,5,6,{NOON + 9},{conditions},{vendor}", header=header)(tmp_path)
    load_trades(home, [file])
    [row] = stored(home)
    assert (row["message_id"], row["trade_id"], row["side"], row["currency"]) == ("m1", None, "BUY", "EUR")
    assert (row["source_sequence"], row["platform_sequence"], row["ingestion_timestamp"]) == (5, 6, NOON + 9)
    assert row["trade_conditions"] == ["a", "b"]
    assert row["vendor_data"] == [("fee", "1.10"), ("note", "x,y")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1.123456789", "price 1.123456789 has more than 8 decimals"),
        ("12345678901", "price 12345678901 has more than 10 digits before the point"),
        ("NaN", "price NaN is not a decimal number"),
        ("", "price is empty"),
        ("1e-5", "price 1e-5 is in scientific notation: write out its digits"),
        ("0.0", "price 0.0 is not above zero"),
        ("-1", "price -1 is not above zero"),
        ("1_000", "price 1_000 is not a decimal number"),
        (".", "price . is not a decimal number"),
        ("Infinity", "price Infinity is not a decimal number"),
        ("0.000000001", "price 0.000000001 has more than 8 decimals"),
    ],
)
def test_an_amount_that_is_not_exact_is_refused(home: Settings, tmp_path: Path, text: str, reason: str) -> None:
    rows = generic(f"x,BTC-USD,{NOON},{text},1,1", f"x,BTC-USD,{NOON},1,{text},2")(tmp_path)
    report = load_trades(home, [rows])
    assert reasons(report) == [(2, reason), (3, reason.replace("price", "quantity"))]
    assert stored(home) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.00000001", "0.00000001"),
        ("9999999999.99999999", "9999999999.99999999"),
        ("1.10000000000000", "1.1"),
        ("0000000000001.5", "1.5"),
        (".5", "0.5"),
        ("7.", "7"),
    ],
)
def test_an_exact_amount_is_kept_digit_by_digit(home: Settings, tmp_path: Path, text: str, value: str) -> None:
    load_trades(home, [generic(f"x,BTC-USD,{NOON},{text},{text},1")(tmp_path)])
    [row] = stored(home)
    assert row["price"] == row["quantity"] == Decimal(value)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f",BTC-USD,{NOON},1,1,1,", "exchange is empty"),
        (f"x,,{NOON},1,1,1,", "symbol is empty"),
        (f"x,BTC-USD,{NOON},1,1,,", "trade_id is empty"),
        ("x,BTC-USD,,1,1,1,", "timestamp is empty"),
        ("x,BTC-USD,noon,1,1,1,", "timestamp noon is not a whole number of microseconds"),
        (f"x,BTC-USD,{NOON}.5,1,1,1,", f"timestamp {NOON}.5 is not a whole number of microseconds"),
        (f"x,BTC-USD,{NOON // 1000},1,1,1,", "it looks like milliseconds"),
        (f"x,BTC-USD,{NOON // 10**6},1,1,1,", "it looks like seconds"),
        (f"x,BTC-USD,{NOON * 1000},1,1,1,", "it looks like nanoseconds"),
        (f"x,BTC-USD,{'9' * 30},1,1,1,", "lies outside 2009 to 2100"),
        (f"x,BTC-USD,{NOON},1,1,1,short", "side SHORT is neither BUY nor SELL"),
        (f"x,BTC-USD,{NOON},1,1,1", "6 fields where 7 are wanted"),
        (f'x,"BTC-USD,{NOON},1,1,1,', "quotation marks do not close"),
    ],
)
def test_a_row_that_cannot_be_meant_is_refused(home: Settings, tmp_path: Path, row: str, reason: str) -> None:
    report = load_trades(home, [generic(row, header=f"{HEADER},side")(tmp_path)])
    [(line, said)] = reasons(report)
    assert line == 2
    assert reason in said
    assert report.loaded == 0


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("source_sequence", "1.5", "source_sequence 1.5 is not a whole number"),
        ("ingestion_timestamp", "5", "lies outside 2009 to 2100"),
        ("exchange_date", "2026-01-30", "is not the timestamp's UTC date, 2026-01-31"),
        ("exchange_hour", "11", "is not the timestamp's UTC hour, 12"),
        ("trade_conditions", "{}", "trade_conditions is not a JSON list of text"),
        ("vendor_data", "[1", "vendor_data is not JSON"),
    ],
)
def test_an_optional_value_that_is_wrong_is_refused(
    home: Settings, tmp_path: Path, column: str, value: str, reason: str
) -> None:
    report = load_trades(home, [generic(f"x,BTC-USD,{NOON},1,1,1,{value}", header=f"{HEADER},{column}")(tmp_path)])
    assert reason in report.refused[0].reason


def test_lines_are_counted_as_an_editor_shows_them(home: Settings, tmp_path: Path) -> None:
    file = tmp_path / "trades.csv"
    lines = [HEADER, "", f"x,BTC-USD,{NOON},1,1,1", "", f'"x",BTC-USD,{NOON},bad,1,2', f"x,BTC-USD,{NOON},worse,1,3"]
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    report = load_trades(home, [file])
    assert reasons(report) == [(5, "price bad is not a decimal number"), (6, "price worse is not a decimal number")]
    assert report.rows_read == 3


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER.replace("price", "prices"), "unknown column 'prices': did you mean price?"),
        (HEADER.replace(",price", ""), "has no column price"),
        (HEADER.replace(",trade_id", ""), "neither a column trade_id nor message_id"),
        (HEADER.replace("exchange,", ""), "has no column exchange: give --exchange"),
        (HEADER.replace("symbol,", ""), "has no column symbol: give --symbol"),
        (f"{HEADER},price", "has the column 'price' twice"),
    ],
)
def test_a_header_that_cannot_be_loaded_is_an_error(home: Settings, tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(InputError, match=".*".join(message.split("'"))):
        load_trades(home, [generic(header=header)(tmp_path)])


def test_options_fill_missing_columns_and_contradict_wrong_ones(home: Settings, tmp_path: Path) -> None:
    bare = write(tmp_path / "bare.csv", "timestamp,price,quantity,trade_id", f"{NOON},1,1,1")
    load_trades(home, [bare], exchange="x", symbol="ETH-USD")
    assert [(row["exchange"], row["symbol"]) for row in stored(home)] == [("x", "ETH-USD")]
    report = load_trades(home, [generic(f"x,BTC-USD,{NOON},1,1,1")(tmp_path)], symbol="ETH-USD")
    assert reasons(report) == [(2, "symbol BTC-USD is not ETH-USD, as --symbol says")]


def packed(path: Path, text: str) -> Path:
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
def test_binance_dumps(home: Settings, tmp_path: Path, suffix: str, header: str) -> None:
    rows = f"7,1.5,2.00000000,3,{NOON // 1000},True,True\n8,1.6,2.0,3,{NOON + 1},False,True\n"
    load_trades(home, [packed(tmp_path / f"t.{suffix}", header + rows)], format="binance", symbol="BTC-USDT")
    assert [(r["trade_id"], r["timestamp"], r["side"], r["exchange"], r["currency"]) for r in stored(home)] == [
        ("7", NOON, "SELL", "binance", "USDT"),
        ("8", NOON + 1, "BUY", "binance", "USDT"),
    ]


def test_binance_futures_header_without_best_match(home: Settings, tmp_path: Path) -> None:
    file = write(tmp_path / "f.csv", "id,price,qty,quote_qty,time,is_buyer_maker", f"7,1.5,2,3,{NOON // 1000},true")
    load_trades(home, [file], format="binance", symbol="BTC-USDT", exchange="binance-futures")
    assert [(row["exchange"], row["side"]) for row in stored(home)] == [("binance-futures", "SELL")]


def test_binance_rows_that_are_refused(home: Settings, tmp_path: Path) -> None:
    file = write(
        tmp_path / "b.csv",
        f"1,1,1,1,{NOON},maybe,True",
        f",1,1,1,{NOON},True,True",
        "3,1,1,1,1769860800,True,True",
        "4,1,1,1,noon,True,True",
    )
    report = load_trades(home, [file], format="binance", symbol="BTC-USDT")
    assert reasons(report) == [
        (1, "isBuyerMaker maybe is neither True nor False"),
        (2, "id is empty"),
        (
            3,
            "timestamp 1769860800 lies outside 2009 to 2100: a whole number of milliseconds or microseconds is wanted",
        ),
        (4, "timestamp noon is not a whole number of milliseconds or microseconds"),
    ]
    with pytest.raises(InputError, match="has 3 columns; a binance file of trades has 6 or 7"):
        load_trades(home, [write(tmp_path / "c.csv", "1,2,3")], format="binance", symbol="BTC-USDT")


def test_kraken_numbers_the_rows_of_one_time(home: Settings, tmp_path: Path) -> None:
    second = NOON // 10**6
    rows = [f"{second},1,1", f"{second}.25,1,1", f"{second},1,1", f"{second},2,1", f"{second}.000001,5,1"]
    load_trades(home, [write(tmp_path / "k.csv", *rows)], format="kraken", symbol="XBT/USD")
    assert sorted((r["timestamp"] - NOON, r["source_sequence"], r["price"]) for r in stored(home)) == [
        (0, 1, 1),
        (0, 2, 1),
        (0, 3, 2),
        (1, 1, 5),
        (250_000, 1, 1),
    ]
    assert {(r["trade_id"], r["side"], r["exchange"], r["currency"]) for r in stored(home)} == {
        (None, None, "kraken", "USD")
    }
    # A dump that overlaps brings only what is new.
    overlapping = write(tmp_path / "l.csv", "time,price,volume", *(rows[at] for at in (0, 2, 3)), f"{second},1,1")
    report = load_trades(home, [overlapping], format="kraken", symbol="XBT/USD")
    assert (report.loaded, report.already_there) == (1, 3)


def test_kraken_numbers_on_across_chunks(home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohlcv.ingest.file_readers.BLOCK_BYTES", 64)
    rows = [f"{NOON // 10**6 + number // 50},1,1" for number in range(100)]
    load_trades(home, [write(tmp_path / "k.csv", *rows)], format="kraken", symbol="XBT/USD")
    expected = sorted([*range(1, 51), *range(1, 51)])
    assert sorted(row["source_sequence"] for row in stored(home)) == expected


@pytest.mark.parametrize("time", ["1e9", "-5", "abc1", "1769860800.12x", "17698608000"])
def test_kraken_times_that_are_refused(home: Settings, tmp_path: Path, time: str) -> None:
    file = write(tmp_path / "k.csv", f"{NOON // 10**6},1,1", f"{time},1,1")
    report = load_trades(home, [file], format="kraken", symbol="XBT/USD")
    [(line, reason)] = reasons(report)
    assert line == 2
    assert reason.startswith(f"timestamp {time} ")


@pytest.mark.parametrize("name", ["binance", "kraken"])
def test_a_dump_needs_its_symbol(home: Settings, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="give --symbol"):
        load_trades(home, [write(tmp_path / "k.csv", "1,1,1")], format=name)


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
    }
    return pa.Table.from_pylist([row], schema=pa.schema([TRADE_SCHEMA.field(name) for name in row]))


def test_parquet_is_taken_as_it_is(home: Settings, tmp_path: Path) -> None:
    pq.write_table(parquet_row(), tmp_path / "t.parquet")
    load_trades(home, [tmp_path / "t.parquet"])
    [row] = stored(home)
    assert (row["message_id"], row["price"], row["quantity"]) == ("m1", Decimal("0.00000001"), Decimal(2))
    assert (row["trade_conditions"], row["vendor_data"]) == (["a"], [("k", "v")])


def test_parquet_types_are_checked(home: Settings, tmp_path: Path) -> None:
    for name, kind, message in [
        ("price", pa.float64(), "column price is double: decimals"),
        ("timestamp", pa.timestamp("us"), "column timestamp is timestamp.us.: an integer is required: microseconds"),
        ("vendor_data", pa.string(), "a map of text to text is required"),
        ("trade_conditions", pa.string(), "a list of text is required"),
        ("symbol", pa.int64(), "text is required"),
    ]:
        table = parquet_row()
        table = table.set_column(table.column_names.index(name), name, pa.nulls(1, kind))
        pq.write_table(table, tmp_path / "t.parquet")
        with pytest.raises(InputError, match=message):
            load_trades(home, [tmp_path / "t.parquet"])


def test_parquet_decimals_with_more_digits_are_judged_like_text(home: Settings, tmp_path: Path) -> None:
    for kind, value, count in [
        (pa.decimal128(38, 18), "1.5", 0),
        (pa.decimal128(38, 18), "0.000000001", 1),
        (pa.decimal256(60, 18), "0.00000001", 0),
    ]:
        table = parquet_row()
        price = pa.array([Decimal(value)], kind)
        pq.write_table(table.set_column(table.column_names.index("price"), "price", price), tmp_path / "t.parquet")
        report = load_trades(home, [tmp_path / "t.parquet"])
        assert report.refused_count == count
        assert all("has more than 8 decimals" in row.reason and row.line == 1 for row in report.refused)


AMOUNTS = st.integers(1, 10**18 - 1).map(lambda units: Decimal(units).scaleb(-8))
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=8)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "exchange": WORDS,
            "symbol": WORDS,
            "timestamp": st.integers(NOON, NOON + 3 * 10**9),
            "price": AMOUNTS,
            "quantity": AMOUNTS,
            "trade_id": WORDS,
            "side": st.sampled_from(["BUY", "SELL", None]),
            "source_sequence": st.none() | st.integers(-(2**63), 2**63 - 1),
            "vendor_data": st.none() | st.dictionaries(WORDS, WORDS, max_size=2),
        }
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda row: tuple(row[name] for name in ("exchange", "symbol", "trade_id")),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("round")
    home = load_settings({"OHLCV_HOME": str(folder / "home")})
    create_tables(home)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    for row in rows:
        vendor = None if row["vendor_data"] is None else json.dumps(row["vendor_data"])
        writer.writerow(row | {"vendor_data": vendor, "price": f"{row['price']:f}", "quantity": f"{row['quantity']:f}"})
    (folder / "t.csv").write_text(text.getvalue(), newline="")
    report = load_trades(home, [folder / "t.csv"])
    assert report.refused == []

    def key(row: dict[str, Any]) -> tuple[str, ...]:
        return row["exchange"], row["symbol"], row["trade_id"]

    found = [{name: row[name] for name in rows[0]} for row in stored(home)]
    for row in found:
        row["vendor_data"] = None if row["vendor_data"] is None else dict(row["vendor_data"])
    assert sorted(found, key=key) == sorted(rows, key=key)
